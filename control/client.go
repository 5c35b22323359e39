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

	"golang.org/x/sys/unix"

	"tunnel/auth"
	"tunnel/server"
)

// Errors of a Client.
var (
	ErrNoServer = errors.New("no server runs on this state directory")
	ErrRefused  = errors.New("refused") // what was asked for cannot be
)

// Client talks to the server that runs on a state directory.
type Client struct {
	web *http.Client
}

// What a server can have root's client keep in memory, in bytes: it may be another user's, or
// broken into.
const (
	maxHeader = 16 << 10
	maxAnswer = 64 << 20 // a list of a hundred thousand tokens
)

// NewClient returns a Client for dir. It connects with each call; the error is then ErrNoServer if
// there is none.
func NewClient(dir string) *Client {
	dial := func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
		err = reach(dir, func(name string) (err error) {
			conn, err = new(net.Dialer).DialContext(ctx, "unix", name)
			return err
		})
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
			err = ErrNoServer
		}
		return conn, err
	}
	return &Client{&http.Client{Timeout: requestTimeout,
		Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true,
			MaxResponseHeaderBytes: maxHeader}}}
}

// List returns all tokens by name.
func (c *Client) List(ctx context.Context) (all []server.TokenStatus, err error) {
	return all, c.call(ctx, http.MethodGet, "/tokens", nil, &all)
}

// Create makes a token and returns it with its text.
func (c *Client) Create(ctx context.Context, spec auth.Spec) (auth.Token, string, error) {
	var made Made
	err := c.call(ctx, http.MethodPost, "/tokens", spec, &made)
	return made.Token, made.Text, err
}

// Revoke ends a token and its sessions.
func (c *Client) Revoke(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/tokens/"+url.PathEscape(name), nil, nil)
}

// call sends one request and reads its answer.
func (c *Client) call(ctx context.Context, method, path string, send, receive any) error {
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
	resp, err := c.web.Do(r)
	if err != nil {
		var request *url.Error
		if errors.As(err, &request) {
			err = request.Err // the URL is none that a person knows
		}
		return fmt.Errorf("%s: %w", SocketName, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= http.StatusBadRequest {
		var answer failed
		if err := json.NewDecoder(io.LimitReader(resp.Body,
			maxAnswer)).Decode(&answer); err != nil || answer.Error == "" {
			return fmt.Errorf("%s answered %s", SocketName, resp.Status)
		}
		if resp.StatusCode < http.StatusInternalServerError {
			return fmt.Errorf("%w: %s", ErrRefused, answer.Error)
		}
		return errors.New(answer.Error)
	}
	if receive == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(receive); err != nil {
		return fmt.Errorf("%s: %w", SocketName, err)
	}
	return nil
}
