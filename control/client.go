package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tunnel/admin/audit"
	"tunnel/auth"
	"tunnel/certs"
	"tunnel/server"
	"tunnel/transport/fq/meter"
)

// Errors of a Client.
var (
	ErrNoServer = errors.New("no server runs on this state directory")
	ErrRefused  = errors.New("refused") // what was asked for cannot be
	// ErrAnswer is that of an answer which is not the documented one: another program's, or that of a
	// server that was broken into.
	ErrAnswer = errors.New("this is not the answer of a tunnel server")
)

// Client talks to the server that runs on a state directory.
type Client struct {
	web  *http.Client
	name string // of the socket, for errors
	by   string // the audit.Actor who runs the command; "" is who connects
}

// What a server can have root's client keep in memory, in bytes: it may be another user's, or
// broken into.
const (
	maxHeader = 16 << 10
	maxAnswer = 64 << 10
	maxList   = 16 << 20 // some ten thousand tokens and their clients
)

// NewClient returns a Client for dir. It connects with each call; the error is then ErrNoServer if
// there is none.
func NewClient(dir string) *Client { return newClient(dir, SocketName) }

// By has c tell who runs the command, for the audit log: root's acts as the server's user. It
// returns c.
func (c *Client) By(a audit.Actor) *Client {
	c.by = a.String()
	return c
}

// newClient is NewClient for a socket of another name.
func newClient(dir, socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
		err = reach(dir, socket, func(name string) error {
			file, err := openSocket(name)
			if err != nil {
				return err
			}
			defer func() { _ = file.Close() }()
			// This name is of the socket itself, whatever has its place in dir by now.
			name = filepath.Join(ownFiles, strconv.Itoa(int(file.Fd())))
			conn, err = new(net.Dialer).DialContext(ctx, "unix", name)
			return err
		})
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
			err = ErrNoServer
		}
		if errors.Is(err, os.ErrPermission) { // by the name that a person knows
			err = &os.PathError{Op: "open", Path: filepath.Join(dir, socket), Err: unix.EACCES}
		}
		return conn, err
	}
	return &Client{name: socket, web: &http.Client{Timeout: requestTimeout,
		Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true,
			MaxResponseHeaderBytes: maxHeader}}}
}

// openSocket opens a socket with O_PATH. A symbolic link is refused: the directory may be another
// user's, and the link lead to any service that answers root.
func openSocket(name string) (*os.File, error) {
	socket, err := os.OpenFile(name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	info, err := socket.Stat()
	if err == nil && info.Mode().Type() != os.ModeSocket {
		err = errors.New("it is not a socket: delete it, and restart the server")
	}
	if err != nil {
		_ = socket.Close()
		return nil, err
	}
	return socket, nil
}

// List returns all tokens by name.
func (c *Client) List(ctx context.Context) (all []server.TokenStatus, err error) {
	return all, c.call(ctx, http.MethodGet, "/tokens", nil, http.StatusOK, func(body io.Reader) error {
		all, err = readList(json.NewDecoder(limited(body, maxList)))
		return err
	})
}

// readList reads an array of tokens, or null for none. It ends at the first that is not one, so
// that a long list of nothing does not take much more memory than it has bytes.
func readList(d *json.Decoder) (all []server.TokenStatus, err error) {
	switch first, err := d.Token(); {
	case err != nil || first == nil:
		return nil, err
	case first != json.Delim('['):
		return nil, errors.New("not a list")
	}
	for d.More() {
		var t server.TokenStatus
		if err := d.Decode(&t); err != nil {
			return nil, err
		}
		if t.Name == "" || t.ID == "" {
			return nil, errors.New("a token without a name or an ID")
		}
		all = append(all, t)
	}
	_, err = d.Token()
	return all, err
}

// Create makes a token and returns it with its text.
func (c *Client) Create(ctx context.Context, spec auth.Spec) (auth.Token, string, error) {
	var made Made
	const created = http.StatusCreated
	err := c.call(ctx, http.MethodPost, "/tokens", spec, created, func(body io.Reader) error {
		err := json.NewDecoder(limited(body, maxAnswer)).Decode(&made)
		if err == nil && (made.Token.Name != spec.Name || !made.Token.Is(made.Text)) {
			err = errors.New("not the token that was asked for")
		}
		return err
	})
	if err != nil {
		return auth.Token{}, "", err
	}
	return made.Token, made.Text, nil
}

// Set changes a token.
func (c *Client) Set(ctx context.Context, name string, change auth.Change) error {
	return c.call(ctx, http.MethodPatch, "/tokens/"+url.PathEscape(name), change,
		http.StatusNoContent, nil)
}

// Join returns how clients reach the server. What is not of that form is an error, because the user
// runs it as a command.
func (c *Client) Join(ctx context.Context) (join Join, err error) {
	err = c.call(ctx, http.MethodGet, "/join", nil, http.StatusOK, func(body io.Reader) error {
		if err := json.NewDecoder(limited(body, maxAnswer)).Decode(&join); err != nil {
			return err
		}
		return join.check()
	})
	if err != nil {
		return Join{}, err
	}
	return join, nil
}

// check returns an error if j has anything but what a server tells; both parts may be missing.
func (j Join) check() error {
	if j.Pin != "" {
		if _, err := certs.ParsePin(j.Pin); err != nil {
			return err
		}
	}
	if j.URL == "" {
		return nil
	}
	at, err := url.Parse(j.URL)
	if err != nil || at.Scheme != "wss" || at.Hostname() == "" || at.User != nil ||
		at.RawQuery != "" || strings.ContainsFunc(j.URL, unprintable) {
		return errors.New("not the URL of a server")
	}
	return nil
}

// unprintable reports whether r may not be in a URL.
func unprintable(r rune) bool { return r <= ' ' || r > '~' }

// Revoke ends a token and its sessions.
func (c *Client) Revoke(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/tokens/"+url.PathEscape(name), nil,
		http.StatusNoContent, nil)
}

// call sends one request, whose answer must have the status want, and has read read its body; nil
// reads none.
func (c *Client) call(ctx context.Context, method, path string, send any, want int,
	read func(io.Reader) error) error {
	var body bytes.Buffer
	if send != nil {
		if err := json.NewEncoder(&body).Encode(send); err != nil {
			return err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://tunnel"+path, &body)
	if err != nil {
		return err
	}
	if c.by != "" {
		r.Header.Set(byHeader, c.by)
	}
	resp, err := c.web.Do(r)
	if err != nil {
		var request *url.Error
		if errors.As(err, &request) {
			err = request.Err // the URL is none that a person knows
		}
		return fmt.Errorf("%s: %w", c.name, err)
	}
	defer func() { _ = resp.Body.Close() }()
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		return meter.ErrBusy
	case resp.StatusCode >= http.StatusBadRequest:
		var answer failed
		if err := json.NewDecoder(limited(resp.Body, maxAnswer)).Decode(&answer); err != nil ||
			answer.Error == "" {
			return fmt.Errorf("%s answered %s", c.name, resp.Status)
		}
		if resp.StatusCode < http.StatusInternalServerError {
			return &refusedError{answer.Error}
		}
		return errors.New(answer.Error)
	case resp.StatusCode != want:
		return fmt.Errorf("%s answered %s: %w", c.name, resp.Status, ErrAnswer)
	case read == nil:
		return nil
	}
	if err := read(resp.Body); err != nil {
		return fmt.Errorf("%s: %w: %w", c.name, ErrAnswer, err)
	}
	return nil
}

// limited returns a reader of at most most bytes of r; more are an error.
func limited(r io.Reader, most int64) io.Reader {
	return http.MaxBytesReader(nil, io.NopCloser(r), most)
}

// refusedError is an ErrRefused with the text of the answer.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return ErrRefused.Error() + ": " + e.text }

func (e *refusedError) Is(target error) bool { return target == ErrRefused }
