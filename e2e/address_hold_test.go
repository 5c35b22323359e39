package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nhooyr.io/websocket"

	"tunnel/packet"
	"tunnel/state"
)

// asks sends a connect with a wish, and returns the address that it got, or the code with which it
// was refused.
func (c *rawClient) asks(address string) (got string, code websocket.StatusCode) {
	c.t.Helper()
	c.send(fmt.Sprintf(`{"state":"connect","version":1,"framings":["ip"],"address":%q}`, address))
	ctx, cancel := context.WithTimeout(c.t.Context(), soon)
	defer cancel()
	_, data, err := c.conn.Read(ctx)
	var closed websocket.CloseError
	if errors.As(err, &closed) {
		return "", closed.Code
	}
	var answer struct{ Address string }
	if err := errors.Join(err, json.Unmarshal(data, &answer)); err != nil {
		c.t.Fatal(err)
	}
	return answer.Address, 0
}

// overhears reads for some time, and returns how many packets came that are for address.
func (c *rawClient) overhears(address string, d time.Duration) (n int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), d)
	defer cancel()
	for {
		_, data, err := c.conn.Read(ctx)
		if err != nil {
			return n
		}
		if len(data) >= 20 && packet.Destination(data) == netip.MustParseAddr(address) {
			n++
		}
	}
}

// TestForeignConnection cuts a client's link in the middle of a transfer to it. The server's kernel
// goes on to repeat what it has sent; a client that has another token and asks for the address, or
// comes to a pool that is full, or comes after the server was killed, gets neither the address nor
// one of these packets. When the link is back the transfer goes on.
func TestForeignConnection(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 3)
	bin := raceBuild(t)
	state := t.TempDir()
	thief := bin.token(t, server, state, "create", "thief")
	filler := bin.token(t, server, state, "create", "filler")
	flags := []string{"--plain", "--network", "10.1.1.0/28", "--ping-interval", "500ms", "--state",
		state}
	srv := bin.serve(t, server, flags...)
	victim := bin.connect(t, clients[0], directURL, "--state", t.TempDir())
	victim.WaitFor("address 10.1.1.3 ", soon)
	transfer := cross(t, server, clients[0], "10.1.1.3", 9000)
	clients[0].Run("ip", "link", "set", "eth0", "down")
	transfer.send()
	srv.WaitFor("is silent", soon)

	try := func(when string) {
		t.Helper()
		c := dialRawWith(t, clients[1], directURL, thief)
		defer func() { _ = c.conn.CloseNow() }()
		got, code := c.asks("10.1.1.3")
		if got == "10.1.1.3" {
			t.Errorf("%s another has the address", when)
		}
		if code == 0 {
			if n := c.overhears("10.1.1.3", 3*time.Second); n > 0 {
				t.Errorf("%s another got %d packets of the connection", when, n)
			}
		}
	}
	try("right after the end")
	for i := range 4 { // 10.1.1.7 to 10.1.1.13; the thief has had 10.1.1.5
		c := dialRawWith(t, clients[2], directURL, filler)
		if got, _ := c.asks(""); got != addressOf(2+i) {
			t.Fatalf("the pool is filled by %s", got)
		}
	}
	try("with a full pool")
	srv.Kill()
	bin.serve(t, server, flags...)
	try("after a restart")
	clients[0].Run("ip", "link", "set", "eth0", "up")
	transfer.arrives(2 * soon)
}

// TestOneToken has one token come as often as it can: others get in all the same, keep their
// addresses, and the token is told what is the matter.
func TestOneToken(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 4)
	bin := raceBuild(t)
	state := t.TempDir()
	bin.serve(t, server, "--plain", "--max-sessions", "8", "--state", state)
	idle, other := bin.token(t, server, state, "create", "idle"), bin.token(t, server, state,
		"create", "--max-sessions", "1", "other")
	kept := t.TempDir()
	stop(t, bin.connect(t, clients[1], directURL, "--token", idle, "--state", kept))

	in := 0
	for range 40 {
		switch got, code := dialRaw(t, clients[0], directURL).asks(""); {
		case got != "":
			in++
		case code != 4006:
			t.Fatalf("closed with code %d, want 4006", code)
		}
	}
	if in != 8 {
		t.Errorf("%d sessions, want 8", in)
	}
	before := tables(t, clients[3])
	late := bin.startConnect(t, clients[3], directURL)
	if code := late.Wait(soon); code != 9 || !strings.Contains(late.Stderr(),
		"tunnel: address: ") || !strings.Contains(late.Stderr(), "--max-sessions") {
		t.Errorf("exit code %d, want 9 and a line about it\n%s", code, late.Stderr())
	}
	untouched(t, clients[3], before)
	bin.connect(t, clients[1], directURL, "--token", idle, "--state",
		kept).WaitFor("address 10.1.1.3 ", soon)
	has := bin.connect(t, clients[2], directURL, "--token", other)
	reaches(t, clients[2], "10.1.1.1")

	// One that was told so goes on to try, and gets in when there is room.
	waits := bin.startConnect(t, clients[3], directURL, "--token", other, "--keep-trying")
	waits.WaitFor("the token has as many sessions as it may have: 1", soon)
	bin.token(t, server, state, "revoke", "other")
	if code := waits.Wait(soon); code != 8 {
		t.Errorf("exit code %d, want 8\n%s", code, waits.Stderr())
	}
	givesUp(t, has, "the token was revoked")
}

// TestInheritedAddress gives an address to another client a day after its owner was there last,
// while a program on the server still has a connection with the owner: the kernel's socket is ended
// before, and the new owner gets no packet of it.
func TestInheritedAddress(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 2)
	bin := plainBuild(t)
	dir := t.TempDir()
	heir := bin.token(t, server, dir, "create", "heir")
	flags := []string{"--plain", "--state", dir}
	srv := bin.serve(t, server, flags...)
	owner := bin.connect(t, clients[0], directURL)
	owner.WaitFor("address 10.1.1.3 ", soon)
	clients[0].Start("nc", "-d", "-k", "-l", "10.1.1.3", "9001")
	listening(t, clients[0], 9001)
	sender := server.Command("nc", "10.1.1.3", "9001")
	input, err := sender.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	server.StartCommand(sender)
	socket := func() string { return server.Run("ss", "-Htn", "dst", "10.1.1.3") }
	for until := time.Now().Add(soon); socket() == ""; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the server has no connection with the owner")
		}
	}
	stop(t, owner)
	stop(t, srv)
	age(t, filepath.Join(dir, "tunnel.db"), 25*time.Hour)
	bin.serve(t, server, flags...)
	if socket() == "" {
		t.Fatal("the connection is gone before the address has changed hands")
	}
	c := dialRawWith(t, clients[1], directURL, heir)
	defer func() { _ = c.conn.CloseNow() }()
	if got, code := c.asks("10.1.1.3"); got != "10.1.1.3" {
		t.Fatalf("the heir got %q, code %d", got, code)
	}
	if left := socket(); left != "" {
		t.Errorf("the server's kernel still has a connection with the former owner: %s", left)
	}
	_, _ = input.Write([]byte("a secret\n")) // it may have ended
	if n := c.overhears("10.1.1.3", 2*time.Second); n > 0 {
		t.Errorf("the heir got %d packets of the former owner's connection", n)
	}
}

// age makes all leases of a server that does not run older.
func age(t *testing.T, file string, by time.Duration) {
	t.Helper()
	f, err := state.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	bucket, put := f.Bucket("lease"), map[string][]byte{}
	err = bucket.Each(func(key string, value []byte) error {
		var record map[string]any
		if err := json.Unmarshal(value, &record); err != nil || record["idle"] == nil {
			return err
		}
		record["idle"] = time.Now().Add(-by)
		put[key], err = json.Marshal(record)
		return err
	})
	if err := errors.Join(err, bucket.Write(put), f.Close()); err != nil {
		t.Fatal(err)
	}
	if len(put) == 0 {
		t.Fatal("there are no leases")
	}
}
