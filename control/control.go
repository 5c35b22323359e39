// Package control is how the commands of a machine talk to the server or client that runs on it:
// JSON over HTTP over a Unix socket, for root and the program's own user only. That of a server is
// in the state directory:
//
//	GET    /tokens        → 200 [TokenStatus…]
//	POST   /tokens        auth.Spec → 201 Made
//	PATCH  /tokens/NAME   auth.Change → 204
//	DELETE /tokens/NAME   → 204
//	GET    /join          → 200 Join
//	GET    /status        → 200 status.Hub
//	GET    /flows?for=T   → 200 status.Flows, after that time, such as 1.5s
//	POST   /web           → 200 Link
//	GET    /state         → 200 state.Content
//	GET    /reload        → 200 Reloads
//	POST   /reload        → 200 Changes
//	POST   /kick          {"client": NAME or ADDRESS, "seconds": N} → 200 {"sessions": N}
//
// A client has one in the directory of the journals, JOURNAL.control:
//
//	GET    /status        → 200 status.Client
//	GET    /flows?for=T   → 200 status.Flows
//	GET, POST /reload     as a server's
//
// With --confirm it has another, JOURNAL.sock, which its parent process answers:
//
//	POST   /confirm       → 204
//
// Failures are {"error": "…"}: 400 when what was asked for cannot be, 429 when too many measure
// flows, 500 when the server could not do it.
package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"tunnel/admin/audit"
	"tunnel/auth"
)

// SocketName is the socket's name in the state directory.
const SocketName = "control.sock"

// Join is how clients reach a server.
type Join struct {
	URL string `json:"url,omitempty"` // "" if the server does not know it
	Pin string `json:"pin,omitempty"` // "" if it has a certificate
}

// Made is a new token with its text.
type Made struct {
	Token auth.Token `json:"token"`
	Text  string     `json:"text"`
}

// failed is the body of an answer that is a failure.
type failed struct {
	Error string `json:"error"`
}

// ownFiles has links to the files that this process has open.
const ownFiles = "/proc/self/fd"

// reach calls f with a name for a socket in dir that fits into a sockaddr_un, however long the
// directory's own is.
func reach(dir, socket string, f func(name string) error) error {
	d, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return f(filepath.Join(ownFiles, strconv.Itoa(int(d.Fd())), socket))
}

// allowed returns an error unless the process at the other end of conn is root's, or of the user
// who runs the server.
func allowed(conn net.Conn) error {
	uid, err := peerOf(conn)
	if err != nil {
		return err
	}
	if uid != 0 && int(uid) != os.Geteuid() {
		return fmt.Errorf("user %d may not", uid)
	}
	return nil
}

// peerOf returns the user of the process that has connected conn.
func peerOf(conn net.Conn) (uid uint32, err error) {
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, errors.New("not a Unix socket")
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		cred, failed = unix.GetsockoptUcred(int(fd),
			unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if failed != nil {
		return 0, failed
	}
	return cred.Uid, nil
}

// callerKey is that of the caller in a request's context.
type callerKey struct{}

// withCaller is an http.Server's ConnContext.
func withCaller(ctx context.Context, conn net.Conn) context.Context {
	uid, err := peerOf(conn)
	if err != nil {
		return ctx
	}
	return context.WithValue(ctx, callerKey{}, uid)
}

// byHeader has the audit.Actor who runs a command, see Client.By.
const byHeader = "Tunnel-By"

// caller returns who has sent r. The user is the one whom the kernel knows; only of a process of
// the server's own user is believed what it says, because root's commands act as it.
func caller(r *http.Request) (by audit.Actor) {
	uid, ok := r.Context().Value(callerKey{}).(uint32)
	if !ok {
		return by
	}
	said, err := audit.ParseActor(r.Header.Get(byHeader))
	if err == nil {
		by = said
	}
	if by.UID == nil || int(uid) != os.Geteuid() {
		by.UID = &uid
	}
	return by
}
