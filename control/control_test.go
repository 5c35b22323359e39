package control_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/auth"
	"tunnel/control"
	"tunnel/lease"
	"tunnel/server"
	"tunnel/state"
	"tunnel/tun/tuntest"
)

func listen(t *testing.T, dir string) net.Listener {
	t.Helper()
	s, err := control.NewSocket()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := s.Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// start answers in dir for a server that has no clients; stop ends it.
func start(t *testing.T, dir string) (stop func()) {
	t.Helper()
	file, err := state.Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := auth.Open(file.Bucket("token"))
	if err != nil {
		t.Fatal(err)
	}
	leases, err := lease.Open(file.Bucket("lease"), netip.MustParsePrefix("10.1.1.0/24"),
		lease.Options{})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	hub, err := server.New(server.Config{
		Device: tuntest.New(), Leases: leases, Auth: tokens, Log: log,
		Sever: func(context.Context, ...netip.Prefix) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t, dir)
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { control.Serve(ctx, ln, hub, theJoin, log) })
	stop = sync.OnceFunc(func() {
		cancel()
		group.Wait()
		_ = file.Close()
	})
	t.Cleanup(stop)
	return stop
}

var theJoin = control.Join{URL: "wss://hub.example:8443", Pin: "sha256:" + strings.Repeat("7a", 32)}

func TestControl(t *testing.T) {
	// longer than a socket's name may be
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 40))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	c, ctx := control.NewClient(dir), t.Context()
	if _, err := c.List(ctx); !errors.Is(err, control.ErrNoServer) {
		t.Errorf("nobody is there: %v", err)
	}
	// A killed server's socket is in nobody's way.
	socket := filepath.Join(dir, control.SocketName)
	ln := listen(t, dir)
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v", info, err)
	}
	if err := os.Rename(socket, socket+".kept"); err != nil { // Close would remove it
		t.Fatal(err)
	}
	_ = ln.Close()
	if err := os.Rename(socket+".kept", socket); err != nil {
		t.Fatal(err)
	}
	if _, err := c.List(ctx); !errors.Is(err, control.ErrNoServer) {
		t.Errorf("a socket without a server: %v", err)
	}
	stop := start(t, dir)
	made, text, err := c.Create(ctx,
		auth.Spec{Name: "laptop", Address: netip.MustParseAddr("10.1.1.9"),
			Routes: []netip.Prefix{netip.MustParsePrefix("fd07::/48")}})
	if err != nil || made.Name != "laptop" || auth.ID(text) != made.ID {
		t.Errorf("made %+v, %q, %v", made, text, err)
	}
	if got, err := c.Join(ctx); err != nil || got != theJoin {
		t.Errorf("to join: %+v, %v; want %+v", got, err, theJoin)
	}
	for what, spec := range map[string]auth.Spec{
		"the name again": {Name: "laptop"}, "no name": {},
		"elsewhere": {Name: "x", Address: netip.MustParseAddr("10.9.1.9")},
	} {
		if _, _, err := c.Create(ctx, spec); !errors.Is(err, control.ErrRefused) {
			t.Errorf("%s: %v", what, err)
		}
	}
	all, err := c.List(ctx)
	if err != nil || len(all) != 1 || all[0].ID != made.ID || all[0].Address != made.Address ||
		len(all[0].Routes) != 1 {
		t.Errorf("%+v, %v", all, err)
	}
	if err := c.Revoke(ctx, "nobody"); !errors.Is(err, control.ErrRefused) ||
		!strings.Contains(err.Error(), "nobody") {
		t.Errorf("revoke of nobody: %v", err)
	}
	if err := c.Revoke(ctx, "laptop"); err != nil {
		t.Error(err)
	}
	if all, err := c.List(ctx); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
	stop()
	if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	if err := os.WriteFile(socket, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := control.NewSocket()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Listen(dir); err == nil {
		t.Error("a file in the way was removed")
	}
}

// Another user gets no answer, whatever the socket's mode.
func TestAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("only root can be another user: run the tests as root, or through sudo")
	}
	dir := t.TempDir()
	start(t, dir)
	if err := os.Chmod(filepath.Join(dir, control.SocketName), 0o666); err != nil {
		t.Fatal(err)
	}
	dial := func(uid int) error {
		result := make(chan error)
		go func() {
			// for good: the thread ends with this goroutine, and its user with it
			runtime.LockOSThread()
			if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uintptr(uid),
				^uintptr(0)); e != 0 {
				result <- e
				return
			}
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			if err == nil {
				defer func() { _ = unix.Close(fd) }()
				err = unix.Connect(fd,
					&unix.SockaddrUnix{Name: filepath.Join(dir, control.SocketName)})
			}
			if err == nil {
				_, err = unix.Write(fd, []byte("GET /tokens HTTP/1.0\r\n\r\n"))
			}
			n := 0
			if err == nil {
				n, err = unix.Read(fd, make([]byte, 100))
			}
			if err == nil && n == 0 {
				err = errors.New("hung up")
			}
			result <- err
		}()
		return <-result
	}
	// so that nothing but the check is in the way
	for _, up := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(up, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := dial(0); err != nil {
		t.Errorf("root: %v", err)
	}
	if err := dial(65534); err == nil {
		t.Error("another user was answered")
	} else if errors.Is(err, unix.EACCES) {
		t.Errorf("nothing was tried: %v", err)
	}
}
