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

// requestAddress sends a connect message that asks for address, and returns the address that was
// granted, or the code of the refusal.
func (c *rawClient) requestAddress(address string) (got string, code websocket.StatusCode) {
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

// countPacketsTo reads for d, and returns how many packets to address came.
func (c *rawClient) countPacketsTo(address string, d time.Duration) (n int) {
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

// A client's link is cut during a transfer to it, and the server's kernel retransmits. A client
// with another token gets neither the address nor one of these packets: when it asks for the
// address, when the pool is full, and after the server was killed. Once the link is back the
// transfer goes on.
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
		got, code := c.requestAddress("10.1.1.3")
		if got == "10.1.1.3" {
			t.Errorf("%s another has the address", when)
		}
		if code == 0 {
			if n := c.countPacketsTo("10.1.1.3", 3*time.Second); n > 0 {
				t.Errorf("%s another got %d packets of the connection", when, n)
			}
		}
	}
	try("right after the end")
	for i := range 4 { // 10.1.1.7 to 10.1.1.13; the thief has had 10.1.1.5
		c := dialRawWith(t, clients[2], directURL, filler)
		if got, _ := c.requestAddress(""); got != addressOf(2+i) {
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

// One token opens as many sessions as it can: it is refused with a reason when it has its share,
// and the other tokens' clients still connect and keep their addresses.
func TestTokenAddressShare(t *testing.T) {
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
		switch got, code := dialRaw(t, clients[0], directURL).requestAddress(""); {
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

	// With --keep-trying a refused client retries.
	waits := bin.startConnect(t, clients[3], directURL, "--token", other, "--keep-trying")
	waits.WaitFor("the token has as many sessions as it may have: 1", soon)
	bin.token(t, server, state, "revoke", "other")
	if code := waits.Wait(soon); code != 8 {
		t.Errorf("exit code %d, want 8\n%s", code, waits.Stderr())
	}
	givesUp(t, has, "the token was revoked")
}

// An address is assigned to another client a day after its owner left, while a program on the
// server still has a connection to the owner. The server's kernel socket is closed first, and the
// new owner receives no packet of that connection.
func TestReassignedAddress(t *testing.T) {
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
	ageLeases(t, filepath.Join(dir, "tunnel.db"), 25*time.Hour)
	bin.serve(t, server, flags...)
	if socket() == "" {
		t.Fatal("the connection is gone before the address has changed hands")
	}
	c := dialRawWith(t, clients[1], directURL, heir)
	defer func() { _ = c.conn.CloseNow() }()
	if got, code := c.requestAddress("10.1.1.3"); got != "10.1.1.3" {
		t.Fatalf("the heir got %q, code %d", got, code)
	}
	if left := socket(); left != "" {
		t.Errorf("the server's kernel still has a connection with the former owner: %s", left)
	}
	_, _ = input.Write([]byte("a secret\n")) // nc may have ended
	if n := c.countPacketsTo("10.1.1.3", 2*time.Second); n > 0 {
		t.Errorf("the heir got %d packets of the former owner's connection", n)
	}
}

// ageLeases makes all leases in a state file older by the duration by. The server must not run.
func ageLeases(t *testing.T, file string, by time.Duration) {
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
