package e2e

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// attackWord as its first argument makes the test binary an attacker without a token. It is a program of its own so that it
// can run in a host, with the lowest priority: the machine is the server's, too.
const attackWord = "attack"

// beAttacker is the program that startAttack starts.
func beAttacker(args []string) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	flags := flag.NewFlagSet(attackWord, flag.ExitOnError)
	target := flags.String("target", "", "HOST:PORT")
	from := flags.String("from", "", "addresses, with commas between")
	rate := flags.Int("rate", 0, "connections a second")
	kind := flags.String("kind", "", "silent, hello or get")
	_ = flags.Parse(args)
	a := attacker{target: *target, kind: *kind, hello: clientHello(), left: make(chan time.Time, *rate)}
	for text := range strings.SplitSeq(*from, ",") {
		a.from = append(a.from, netip.MustParseAddr(text))
	}
	a.run(ctx, *rate)
}

type attacker struct {
	target string
	kind   string
	from   []netip.Addr
	hello  []byte
	left   chan time.Time // what has to be opened
	opened atomic.Int64
	failed atomic.Int64
	answer atomic.Int64 // bytes came back
}

// clientHello returns the first record of a client's, to be sent again and again.
func clientHello() []byte {
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		defer client.Close()
		//nolint:gosec // nobody answers
		_ = tls.Client(client, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}).HandshakeContext(context.Background())
	}()
	buf := make([]byte, 16<<10)
	n, _ := server.Read(buf)
	return buf[:n]
}

// run opens rate connections a second until ctx ends, and says every second what it has done.
func (a *attacker) run(ctx context.Context, rate int) {
	var workers sync.WaitGroup
	for i := range 64 {
		workers.Go(func() {
			for n := i; ; n += 64 {
				select {
				case <-ctx.Done():
					return
				case <-a.left:
					a.one(ctx, a.from[n%len(a.from)])
				}
			}
		})
	}
	began, said, sent := time.Now(), time.Now(), 0
	for ctx.Err() == nil {
		for ; sent < int(time.Since(began).Seconds()*float64(rate)); sent++ {
			select {
			case a.left <- time.Now():
			default: // this machine does not keep up
			}
		}
		if time.Since(said) >= time.Second {
			said = time.Now()
			fmt.Printf("opened %d, failed %d, answered %d\n", a.opened.Load(), a.failed.Load(), a.answer.Load())
		}
		time.Sleep(2 * time.Millisecond)
	}
	workers.Wait()
}

// one opens a connection. A silent one is held for ten seconds; the others are closed when an answer has come.
func (a *attacker) one(ctx context.Context, from netip.Addr) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Timeout: 2 * time.Second, KeepAlive: -1}
	conn, err := d.DialContext(ctx, "tcp", a.target)
	if err != nil {
		a.failed.Add(1)
		return
	}
	a.opened.Add(1)
	tcp, _ := conn.(*net.TCPConn)
	_ = tcp.SetLinger(0)
	switch a.kind {
	case "silent":
		time.AfterFunc(10*time.Second, func() { _ = conn.Close() })
		return
	case "hello":
		_, _ = conn.Write(a.hello)
	case "get":
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	}
	_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, _ := conn.Read(make([]byte, 4096)); n > 0 {
		a.answer.Add(1)
	}
	_ = conn.Close()
}

// startAttack starts an attacker on a host and waits until it is at work.
func startAttack(t *testing.T, h *lab.Host, kind, target string, rate int, from ...string) *lab.Proc {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := watch(t, h.Start("nice", "-n", "19", exe, attackWord, "-kind", kind, "-target", target, "-rate", fmt.Sprint(rate), "-from", strings.Join(from, ",")))
	p.WaitFor("opened ", soon)
	return p
}

// siteOf gives an attacker's host n addresses, each in a /64 of its own of one /48, and the server a way there. It returns
// the addresses, and the server's at which they reach it.
func siteOf(t *testing.T, server, attacker *lab.Host, n int) (from []string, target string) {
	t.Helper()
	const own = "2001:db8:ffff::1"
	server.Run("ip", "-6", "addr", "add", own+"/64", "dev", "eth0", "nodad")
	server.Run("ip", "-6", "route", "add", "2001:db8:a::/48", "dev", "eth0")
	attacker.Run("ip", "-6", "route", "add", own+"/128", "dev", "eth0")
	for i := range n {
		addr := fmt.Sprintf("2001:db8:a:%x::1", i+1)
		attacker.Run("ip", "-6", "addr", "add", addr+"/64", "dev", "eth0", "nodad")
		from = append(from, addr)
	}
	return from, net.JoinHostPort(own, "8443")
}
