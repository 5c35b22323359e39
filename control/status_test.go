package control_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"tunnel/admin/status"
	"tunnel/control"
)

func TestStatus(t *testing.T) {
	dir := t.TempDir()
	c := control.NewClient(dir)
	if _, err := c.Status(t.Context()); !errors.Is(err, control.ErrNoServer) {
		t.Errorf("nobody is there: %v", err)
	}
	start(t, dir)
	hub, err := c.Status(t.Context())
	if err != nil || hub.Network.String() != "10.1.1.0/24" || hub.Peers == nil || hub.Limits == nil {
		t.Errorf("%+v, %v", hub, err)
	}
	for _, wrong := range []time.Duration{-time.Second, 25 * time.Hour} {
		if _, err := c.Kick(t.Context(), "laptop", wrong); !errors.Is(err, control.ErrRefused) {
			t.Errorf("for %v: %v", wrong, err)
		}
	}
	if _, err := c.Kick(t.Context(), "laptop", 0); !errors.Is(err, control.ErrRefused) ||
		!strings.Contains(err.Error(), "no such client is connected: laptop") {
		t.Errorf("nobody of that name: %v", err)
	}
}

// A client answers in its own process, or, by a copy of the socket, in another.
func TestClientStatus(t *testing.T) {
	dir := t.TempDir()
	if _, err := control.ClientStatus(t.Context(), dir, "j"); !errors.Is(err, control.ErrNoClient) {
		t.Errorf("nobody is there: %v", err)
	}
	for _, copied := range []bool{false, true} {
		ln, err := control.ListenClient(dir, "j")
		if err != nil {
			t.Fatal(err)
		}
		serving := ln
		if copied {
			file, err := control.File(ln)
			if err != nil {
				t.Fatal(err)
			}
			if serving, err = net.FileListener(file); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			control.ServeClient(ctx, serving, asked{status: func() status.Client {
				return status.Client{Dev: "tun7"}
			}}, control.Reloads{}, slog.New(slog.DiscardHandler))
		})
		if c, err := control.ClientStatus(t.Context(), dir, "j"); err != nil || c.Dev != "tun7" {
			t.Errorf("copied %v: %+v, %v", copied, c, err)
		}
		cancel()
		group.Wait()
		_ = ln.Close()
		if _, err := control.ClientStatus(t.Context(), dir, "j"); !errors.Is(err, control.ErrNoClient) {
			t.Errorf("after the end: %v", err)
		}
	}
}

// A server that was broken into answers without an end, or with what is no status.
func TestWrongStatus(t *testing.T) {
	for name, body := range map[string]string{
		"no object": "[]", "half": `{"peers":[`, "an address that is none": `{"address":"\u001b[2J"}`,
		"endless": `{"version":"` + strings.Repeat("x", 17<<20) + `"}`,
	} {
		dir := answering(t, 200, func(w io.Writer) { _, _ = io.WriteString(w, body) })
		if _, err := control.NewClient(dir).Status(t.Context()); !errors.Is(err, control.ErrAnswer) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
