package machine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"tunnel/cli/failure"
)

const (
	flagListen   = "listen"
	flagFreebind = "freebind"
)

// listen returns a listener at the address of a flag. With freebind the address need not exist yet
// (IP_FREEBIND in ip(7)): clients can connect as soon as it does.
func listen(ctx context.Context, flag, address string, freebind bool) (net.Listener, error) {
	advice := "choose another --" + flag
	var config net.ListenConfig
	// No client of ours uses it, the kernel would do more for each connection, and what the program
	// reads and sets on a connection is plain TCP's.
	config.SetMultipathTCP(false)
	if freebind {
		config.Control = allowFreebind
	}
	if at, err := netip.ParseAddrPort(address); err == nil && at.Addr().Zone() != "" {
		if zone := at.Addr().Zone(); !hasLink(zone) { // the kernel only says that something is invalid
			return nil, failure.New(failure.StepListen,
				fmt.Errorf("listen on %s: this machine has no interface %s", address, zone),
				"start when it is there, or "+advice)
		}
	}
	ln, err := config.Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return nil, failure.New(failure.StepListen, fmt.Errorf("%s is in use", address),
			"end what listens there, or "+advice)
	case errors.Is(err, unix.EACCES):
		return nil, failure.New(failure.StepListen, fmt.Errorf("%s is not allowed", address),
			"ports below 1024 need root or CAP_NET_BIND_SERVICE")
	case errors.Is(err, unix.EADDRNOTAVAIL):
		if flag == flagListen {
			advice += ", or give --" + flagFreebind + " if the address comes later"
		}
		return nil, failure.New(failure.StepListen,
			fmt.Errorf("this machine does not have the address of %s", address), advice)
	case err != nil:
		return nil, failure.New(failure.StepListen, err, advice)
	}
	return ln, nil
}

// hasLink reports whether an interface has that name or index.
func hasLink(zone string) bool {
	if index, err := strconv.Atoi(zone); err == nil {
		_, err = net.InterfaceByIndex(index)
		return err == nil
	}
	_, err := net.InterfaceByName(zone)
	return err == nil
}

// allowFreebind is a net.ListenConfig's Control.
func allowFreebind(network, _ string, raw syscall.RawConn) error {
	level, option := unix.SOL_IP, unix.IP_FREEBIND
	if network == "tcp6" {
		level, option = unix.SOL_IPV6, unix.IPV6_FREEBIND
	}
	var failed error
	if err := raw.Control(
		func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, option, 1) }); err != nil {
		return err
	}
	return failed
}
