package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

const flagFreebind = "freebind"

// listen returns a listener at address. freebind takes an address that this machine does not have (IP_FREEBIND in ip(7)):
// who connects is served from the moment at which it has it.
func listen(ctx context.Context, address string, freebind bool) (net.Listener, error) {
	// Sessions have signs of life of their own; the kernel's would cost each connection four system calls, also those that are
	// turned away.
	config := net.ListenConfig{KeepAlive: -1}
	if freebind {
		config.Control = allowFreebind
	}
	ln, err := config.Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return nil, fail(stepListen, fmt.Errorf("%s is in use", address), "end what listens there, or choose another --listen")
	case errors.Is(err, unix.EACCES):
		return nil, fail(stepListen, fmt.Errorf("%s is not allowed", address), "ports below 1024 need root or CAP_NET_BIND_SERVICE")
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return nil, fail(stepListen, fmt.Errorf("this machine does not have the address of %s", address),
			"choose another --listen, or give --"+flagFreebind+" if the address comes later")
	case err != nil:
		return nil, fail(stepListen, err, "choose another --listen")
	}
	return ln, nil
}

// allowFreebind is a net.ListenConfig's Control.
func allowFreebind(network, _ string, raw syscall.RawConn) error {
	level, option := unix.SOL_IP, unix.IP_FREEBIND
	if network == "tcp6" {
		level, option = unix.SOL_IPV6, unix.IPV6_FREEBIND
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, option, 1) }); err != nil {
		return err
	}
	return failed
}

func isLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// listenAddress returns text, of --listen, as an address that nobody needs to resolve: the process that listens may be
// root, which reads no strangers' bytes, so not those of a name server either.
func listenAddress(ctx context.Context, text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", usage("--listen %s is not [HOST]:PORT", text)
	}
	// A number, or a name that this machine's /etc/services has.
	if _, err := net.DefaultResolver.LookupPort(ctx, "tcp", port); err != nil || port == "" {
		return "", usage("--listen %s: %q is no port, which is 0 to 65535", text, port)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" {
		return "", usage("--listen %s: %q is no address, and names are not resolved: give one of this machine's "+
			"(`ip addr`), or none for all", text, host)
	}
	return net.JoinHostPort(host, port), nil
}
