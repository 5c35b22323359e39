package load

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"time"
)

const (
	// stepTimeout bounds the TCP connection, and the rest until there is a session.
	stepTimeout = 10 * time.Second

	// In keepalive intervals: the time between two empty messages, and the time without a message
	// after which the connection counts as lost.
	beat    = 0.9
	silence = 1.9

	// The backoff of the program's own client: the bound of a pause doubles from minDelay to
	// maxDelay, and is minDelay again after a session of more than steady.
	minDelay = 500 * time.Millisecond
	maxDelay = 15 * time.Second
	steady   = 15 * time.Second
)

// client is one client of a crowd.
type client struct {
	*crowd
	source  netip.Addr
	times   int    // how often it has been connected
	session string // the id of its session, "" before the first
	address string // in the tunnel
}

// stay connects and reconnects until ctx ends.
func (c *client) stay(ctx context.Context) {
	var delay time.Duration
	for ctx.Err() == nil {
		begin := time.Now()
		c.once(ctx)
		if time.Since(begin) > steady {
			delay = 0
		}
		delay = min(max(2*delay, minDelay), maxDelay)
		select {
		case <-ctx.Done():
		case <-time.After(delay/2 + mathrand.N(delay/2+1)):
		}
	}
}

// once connects, and returns when the connection has ended or could not be made.
func (c *client) once(ctx context.Context) {
	conn, keepalive, err := c.connect(ctx)
	if err != nil {
		return
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer conn.Close()
	defer c.report.lost()
	defer conn.heart(time.Duration(beat * float64(keepalive)))()
	limit := time.Duration(silence * float64(keepalive))
	for {
		_ = conn.SetReadDeadline(time.Now().Add(limit))
		if _, _, err := conn.read(false); err != nil {
			return
		}
	}
}

// connect returns a connection with a session, and the session's keepalive interval.
func (c *client) connect(ctx context.Context) (*conn, time.Duration, error) {
	if c.times == 0 {
		c.first <- struct{}{}
		defer func() { <-c.first }()
	}
	dialer := net.Dialer{Timeout: stepTimeout, LocalAddr: &net.TCPAddr{IP: c.source.AsSlice()}}
	under, err := dialer.DialContext(ctx, "tcp", c.server.Host)
	if err != nil {
		return nil, 0, err
	}
	if c.tls != nil {
		under = tls.Client(under, c.tls)
	}
	_ = under.SetDeadline(time.Now().Add(stepTimeout))
	keepalive, ws, err := c.join(under)
	if err != nil {
		_ = under.Close()
		return nil, 0, err
	}
	_ = under.SetDeadline(time.Time{})
	return ws, keepalive, nil
}

// join upgrades a connection, and requests the session.
func (c *client) join(under net.Conn) (time.Duration, *conn, error) {
	path := c.server.Path
	if path == "" {
		path = "/ws"
	}
	var key [16]byte
	_, _ = rand.Read(key[:]) // documented never to fail
	_, err := fmt.Fprintf(under,
		"GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: "+
			"Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
			"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Protocol: tunnel.v1\r\nAuthorization: Bearer "+
			"%s\r\n\r\n",
		path, c.server.Host, base64.StdEncoding.EncodeToString(key[:]), c.token)
	if err != nil {
		return 0, nil, err
	}
	ws := &conn{Conn: under, r: bufio.NewReaderSize(under, 1024)}
	resp, err := http.ReadResponse(ws.r, nil)
	if err != nil {
		return 0, nil, err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return 0, nil, errors.New(resp.Status)
	}
	ask, err := json.Marshal(map[string]any{
		"state": "connect", "version": 1, "framings": []string{"vnet", "ip"}, "address": c.address,
		"session": c.session,
	})
	if err != nil {
		return 0, nil, err
	}
	if err := ws.write(text, ask); err != nil {
		return 0, nil, err
	}
	op, data, err := ws.read(true)
	if err != nil {
		return 0, nil, err
	}
	var answer struct {
		State, Address, Session string

		Keepalive float64
	}
	if err := json.Unmarshal(data, &answer); err != nil || op != text ||
		answer.State != "connected" || answer.Keepalive <= 0 {
		return 0, nil, fmt.Errorf("not a connected: %q", data)
	}
	moved := c.times > 0 && answer.Address != c.address
	c.address, c.session = answer.Address, answer.Session
	c.times++
	c.report.connected(c.times, moved)
	return time.Duration(answer.Keepalive * float64(time.Second)), ws, nil
}
