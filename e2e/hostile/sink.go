package hostile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Listening is the line that a sink prints when it accepts connections.
const Listening = "listening"

// backlog is that of Go's listeners where the kernel allows it (net.core.somaxconn).
const backlog = 4096

// drop resets each connection to address as soon as it is accepted, until ctx ends. No server that
// has to accept connections to tell them apart does less: SO_LINGER is inherited, so that is two
// system calls for each.
func drop(ctx context.Context, address string, out io.Writer) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	family := unix.AF_INET
	if at.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}),
		unix.Bind(fd, sockaddr(at)),
		unix.Listen(fd, backlog),
	)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", address, err)
	}
	_, _ = fmt.Fprintln(out, Listening)
	defer context.AfterFunc(ctx, func() { _ = unix.Shutdown(fd, unix.SHUT_RDWR) })()
	for ctx.Err() == nil {
		if conn, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC); err == nil {
			_ = unix.Close(conn)
		}
	}
	return nil
}

// The pace at which a server reads sessions that read nothing (transport/ws/pause.go).
const (
	readAfter = time.Second
	readPause = time.Second
	readRoom  = 8 << 10
)

// read accepts connections and reads them at the pace at which a server reads greedy sessions, but
// does nothing with what it reads, until ctx ends.
func read(ctx context.Context, address string, out io.Writer) error {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
	_, _ = fmt.Fprintln(out, Listening)
	var readers sync.WaitGroup
	defer readers.Wait()
	for {
		conn, err := ln.Accept()
		if err != nil {
			return nil // ctx has ended
		}
		readers.Go(func() {
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			readSlowly(ctx, conn)
		})
	}
}

// readSlowly reads at full speed for readAfter, then slowly, until conn is closed or ctx ends.
func readSlowly(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	buffer := make([]byte, 8*readRoom)
	for slow := time.Now().Add(readAfter); time.Now().Before(slow); {
		if _, err := conn.Read(buffer); err != nil {
			return
		}
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(len(buffer))
	}
	for ctx.Err() == nil {
		if _, err := conn.Read(buffer[:readRoom]); err != nil {
			return
		}
		select {
		case <-time.After(readPause):
		case <-ctx.Done():
		}
	}
}
