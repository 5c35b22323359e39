package hostile

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Command as its first argument makes a program run Main: an attacker is a process of its own, so
// that it can run in a host.
const Command = "attack"

// Kinds of attacks.
const (
	Silent = "silent" // silent connections, held for ten seconds
	Hello  = "hello"  // a replayed ClientHello
	Greedy = "greedy" // sessions that send pings and do not read the replies

	// No attacks, but targets that do nothing: what an attack on one costs, the attackers and the
	// kernel cost. The target is the address to listen on.
	Drop = "drop" // resets each connection at once, for Silent and Hello
	Read = "read" // reads as a server reads greedy sessions, for Greedy without tokens
)

const (
	holdTime    = 10 * time.Second
	answerWait  = 200 * time.Millisecond
	connectWait = 2 * time.Second
	openers     = 64 // connections that are being opened at once
)

// Main runs an attacker until ctx ends, and prints its counters on out once a second.
func Main(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet(Command, flag.ContinueOnError)
	target := flags.String("target", "", "ADDRESS:PORT")
	from := flags.String("from", "", "source addresses, with commas between")
	rate := flags.Int("rate", 0, "connections a second")
	kind := flags.String("kind", "", strings.Join([]string{Silent, Hello, Greedy, Drop, Read}, ", "))
	tokens := flags.String("tokens", "", "file with a token a line, for "+Greedy+"; \"\" if the "+
		"target is a "+Read)
	sessions := flags.Int("sessions", 0, "how many, for "+Greedy)
	gateway := flags.String("gateway", "", "address in the tunnel that is pinged, for "+Greedy)
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch *kind {
	case Drop:
		return drop(ctx, *target, out)
	case Read:
		return read(ctx, *target, out)
	case Greedy:
		var text []byte
		if *tokens != "" {
			var err error
			if text, err = os.ReadFile(*tokens); err != nil {
				return err
			}
		}
		to, err := netip.ParseAddr(*gateway)
		if err != nil {
			return err
		}
		return greedy(ctx, *target, strings.Fields(string(text)), *sessions, to, out)
	}
	to, err := netip.ParseAddrPort(*target)
	if err != nil {
		return err
	}
	a := attacker{target: to, kind: *kind, hello: clientHello(ctx), due: make(chan struct{}, *rate)}
	for text := range strings.SplitSeq(*from, ",") {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return err
		}
		a.from = append(a.from, addr)
	}
	a.run(ctx, *rate, out)
	return nil
}

// Opened returns the number of connections in the last line of an attacker's output.
func Opened(output string) (n int) {
	if i := strings.LastIndex(output, "opened "); i >= 0 {
		_, _ = fmt.Sscanf(output[i:], "opened %d,", &n) // 0 if the line is incomplete
	}
	return n
}

type attacker struct {
	target netip.AddrPort
	kind   string
	from   []netip.Addr
	hello  []byte
	due    chan struct{} // one value for each connection to open
	opened atomic.Int64
	failed atomic.Int64
	answer atomic.Int64 // connections on which the server answered
}

// clientHello returns the first record of a TLS client.
func clientHello(ctx context.Context) []byte {
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		defer client.Close()
		//nolint:gosec // there is no server
		_ = tls.Client(client, &tls.Config{InsecureSkipVerify: true,
			NextProtos: []string{"http/1.1"}}).HandshakeContext(ctx)
	}()
	buf := make([]byte, 16<<10)
	n, _ := server.Read(buf)
	return buf[:n]
}

// run opens rate connections a second until ctx ends.
func (a *attacker) run(ctx context.Context, rate int, out io.Writer) {
	var workers sync.WaitGroup
	for i := range openers {
		workers.Go(func() {
			for n := i; ; n += openers {
				select {
				case <-ctx.Done():
					return
				case <-a.due:
					a.one(a.from[n%len(a.from)])
				}
			}
		})
	}
	began, said, sent := time.Now(), time.Now(), 0
	for ctx.Err() == nil {
		for ; sent < int(time.Since(began).Seconds()*float64(rate)); sent++ {
			select {
			case a.due <- struct{}{}:
			default: // this machine is too slow
			}
		}
		if time.Since(said) >= time.Second {
			said = time.Now()
			_, _ = fmt.Fprintf(out, "opened %d, failed %d, answered %d\n", a.opened.Load(),
				a.failed.Load(), a.answer.Load())
		}
		time.Sleep(2 * time.Millisecond)
	}
	workers.Wait()
}

// one opens a connection by plain system calls, so that the attacker uses less CPU than the server.
func (a *attacker) one(from netip.Addr) {
	fd, err := a.connect(from)
	if errors.Is(err, unix.ECONNRESET) { // accepted, and reset before it was used
		a.opened.Add(1)
		return
	}
	if err != nil {
		a.failed.Add(1)
		return
	}
	a.opened.Add(1)
	if a.kind == Silent {
		time.AfterFunc(holdTime, func() { _ = unix.Close(fd) })
		return
	}
	defer func() { _ = unix.Close(fd) }()
	_, _ = unix.Write(fd, a.hello)
	if n, _ := unix.Read(fd, make([]byte, 4096)); n > 0 {
		a.answer.Add(1)
	}
}

// connect returns a connected socket, which sends a reset when it is closed.
func (a *attacker) connect(from netip.Addr) (fd int, err error) {
	family := unix.AF_INET
	if from.Is6() {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	answer, dial := unix.NsecToTimeval(answerWait.Nanoseconds()), unix.NsecToTimeval(
		connectWait.Nanoseconds())
	err = errors.Join(
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &answer),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &dial), // also limits connect(2)
		unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1),
		unix.Bind(fd, sockaddr(netip.AddrPortFrom(from, 0))),
	)
	if err == nil {
		err = unix.Connect(fd, sockaddr(a.target))
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}
