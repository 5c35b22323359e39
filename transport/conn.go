// Package transport is one WebSocket as a pipe of batches: dial and accept, the messages connect and connected, packets
// in both directions, keepalive, close. It hides nhooyr.io/websocket. docs/PROTOCOL.md has the wire format.
package transport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unicode"

	"nhooyr.io/websocket"

	"tunnel/packet"
)

// State of a connection (STATE_INIT and STATE_CONNECTED in the seed).
type State int32

// Both sides are StateInit until connect was answered by connected. Batches flow in StateConnected only.
const (
	StateInit State = iota
	StateConnected
)

// Code is a WebSocket close code (RFC 6455 section 7.4).
type Code uint16

// Close codes that this protocol gives a meaning of its own to; docs/PROTOCOL.md has the list.
const (
	CodeNormal    Code = 1000 // the client is done
	CodeGoingAway Code = 1001 // the server stops
	CodeProtocol  Code = 1002 // the other side broke the protocol
	CodeInternal  Code = 1011 // this side failed
	CodeNoAddress Code = 4001 // no free address pair
	CodeReplaced  Code = 4002 // a newer connection resumed the session
	CodeRevoked   Code = 4003 // the token opens nothing any more
)

// CloseError says why a connection ended: the code and reason that came from the peer or went to it. As the cause of
// the context given to Run it is what Run tells the peer.
type CloseError struct {
	Code   Code
	Reason string // at most 123 bytes
	Remote bool   // the peer said so
}

func (e *CloseError) Error() string {
	who := "closed"
	if e.Remote {
		who = "the other side closed the connection"
	}
	return fmt.Sprintf("%s: %s (code %d)", who, e.Reason, e.Code)
}

// ErrSilent says that nothing came from the peer for nearly two keepalive intervals.
var ErrSilent = errors.New("the other side is silent")

// ErrHungUp says that the connection ended without a close frame: the peer's process or a middlebox died.
var ErrHungUp = errors.New("the other side hung up")

// closeTimeout bounds the closing handshake: within it the peer must have answered the close frame.
const closeTimeout = 500 * time.Millisecond

// Conn is one WebSocket connection, from either side. ReadBatch and WriteBatch may run concurrently with one another,
// each on one goroutine. Whoever got it from Dial or Accept ends it, with Run or Close.
type Conn struct {
	ws      *websocket.Conn
	wire    *wire
	client  bool // this side masks
	state   atomic.Int32
	sock    socket         // of Run's writer
	framing packet.Framing // as all below, set before StateConnected
	peerUSO bool           // the peer takes UDP super-packets
}

func newConn(ws *websocket.Conn, w *wire, client bool, congestion string) *Conn {
	ws.SetReadLimit(packet.MaxBatch)
	return &Conn{ws: ws, wire: w, client: client, sock: socket{raw: w.raw, congestion: congestion}}
}

// State returns where the connection is between connect and connected.
func (c *Conn) State() State { return State(c.state.Load()) }

// Request sends connect and waits for connected (the client's part). own is what this side's device can do.
func (c *Conn) Request(ctx context.Context, m Connect, own packet.Offload) (Link, error) {
	m.State, m.Version, m.Framings, m.USO = stateConnect, Version, framings(own), own.USO
	if err := c.send(ctx, m); err != nil {
		return Link{}, fmt.Errorf("send connect: %w", err)
	}
	data, err := c.receive(ctx)
	if err != nil {
		return Link{}, fmt.Errorf("wait for connected: %w", err)
	}
	answer, err := parseConnected(data, m.Framings)
	if err != nil {
		return Link{}, c.violation(err.Error())
	}
	link, err := answer.Link()
	if err != nil {
		return Link{}, c.violation("unusable connected: " + err.Error())
	}
	c.agree(answer.Framing, answer.USO)
	return link, nil
}

// agree puts what both sides know into force, and makes the state StateConnected.
func (c *Conn) agree(framing string, peerUSO bool) {
	if framing == framingVnet {
		c.framing = packet.FramingVnet
	}
	c.peerUSO = peerUSO
	c.state.Store(int32(StateConnected))
}

// Requested waits for connect (the server's part). A peer that sends anything else is refused, and the connection is
// closed when the error returns. own is what this side's device can do.
func (c *Conn) Requested(ctx context.Context, own packet.Offload) (Connect, error) {
	data, err := c.receive(ctx)
	if err != nil {
		return Connect{}, fmt.Errorf("wait for connect: %w", err)
	}
	m, err := parseConnect(data, own)
	if err != nil {
		return Connect{}, c.violation(err.Error())
	}
	return m, nil
}

// Grant answers the connect that Requested has returned with connected (the server's part). own is what this side's
// device can do.
func (c *Conn) Grant(ctx context.Context, request Connect, m Connected, own packet.Offload) error {
	m.State, m.Version, m.Framing, m.USO = stateConnected, Version, choose(request.Framings, framings(own)), own.USO
	// Before the answer leaves: the client may send its first batch the moment it has it.
	c.agree(m.Framing, request.USO)
	if err := c.send(ctx, m); err != nil {
		return fmt.Errorf("send connected: %w", err)
	}
	return nil
}

// ReadBatch waits for the next message with packets in it and replaces the contents of b by them. A message that
// breaks the protocol closes the connection. The context's end closes it without a word.
func (c *Conn) ReadBatch(ctx context.Context, b *packet.Batch) error {
	for {
		typ, r, err := c.ws.Reader(ctx)
		if err != nil {
			return c.ended(err)
		}
		if typ != websocket.MessageBinary {
			return c.violation("unknown state: no control message is due after connected")
		}
		if c.State() != StateConnected {
			return c.violation("a batch before connected")
		}
		err = b.Fill(r, c.framing)
		switch {
		case errors.Is(err, packet.ErrMalformed):
			return c.violation("malformed record")
		case errors.Is(err, packet.ErrTooLong):
			return c.violation(err.Error())
		case err != nil:
			return c.ended(err)
		case b.Len() > 0:
			return nil
		}
		// An empty batch is a heartbeat; that bytes came is all it says.
	}
}

// WriteBatch sends the records of b, which come from packet.Batch.Add, as one message: super-packets as they are if the
// peer takes them, else segmented here, and then perhaps more than one message. Close unblocks it.
func (c *Conn) WriteBatch(b *packet.Batch) error {
	f, _ := framePool.Get().(*frame)
	defer framePool.Put(f)
	f.begin(c.client)
	if c.asItIs(b) {
		if err := c.wire.writev(f.refer(b, c.client)); err != nil {
			return c.ended(err)
		}
		return nil
	}
	var none [packet.HeaderLen]byte // nothing to segment, nothing to fill in
	header := none[:c.framing.HeaderLen()]
	for i := range b.Len() {
		record := b.Record(i)
		if c.takes(record) {
			if err := c.put(f, nil, record); err != nil {
				return err
			}
			continue
		}
		var failed error
		packet.Segments(record, func(ip []byte) {
			if failed == nil {
				failed = c.put(f, header, ip)
			}
		})
		if failed != nil {
			return failed
		}
	}
	return c.flush(f)
}

// takes tells whether the peer takes a record as the device gave it.
func (c *Conn) takes(record []byte) bool {
	return c.framing == packet.FramingVnet && (c.peerUSO || !packet.ParseHeader(record).UDP())
}

// asItIs tells whether b had better go out from where it lies than be copied into one buffer: no TLS has to see it in one
// piece, the peer takes every record, and they are large.
func (c *Conn) asItIs(b *packet.Batch) bool {
	const large = 4 << 10
	if c.wire.under != nil || b.Len() == 0 || b.Size() < b.Len()*large {
		return false
	}
	for i := range b.Len() {
		if !c.takes(b.Record(i)) {
			return false
		}
	}
	return true
}

// put appends a record to f; if it does not fit any more, f goes out first.
func (c *Conn) put(f *frame, header, rest []byte) error {
	if f.size()+len(header)+len(rest) > packet.MaxBatch {
		if err := c.flush(f); err != nil {
			return err
		}
		f.begin(c.client)
	}
	f.add(header, c.client)
	f.add(rest, c.client)
	return nil
}

func (c *Conn) flush(f *frame) error {
	if _, err := c.wire.Write(f.finish(c.client)); err != nil {
		return c.ended(err)
	}
	return nil
}

// Close tells the peer why and closes. It takes at most closeTimeout. The reason is cut to what a close frame can hold.
func (c *Conn) Close(code Code, reason string) {
	// The library would wait 5 s for a peer that says nothing; without its socket it ends at once.
	cut := time.AfterFunc(closeTimeout, func() { _ = c.wire.Close() })
	defer cut.Stop()
	_ = c.ws.Close(websocket.StatusCode(code), fitting(reason))
}

// fitting returns as much of reason as a close frame can hold, in whole characters (RFC 6455 section 5.5.1).
func fitting(reason string) string {
	const most = 123 // RFC 6455 section 5.5: 125 bytes less the code
	return strings.ToValidUTF8(reason[:min(len(reason), most)], "")
}

// printable returns reason, which a stranger wrote, as something that can stand in a line of a log or a terminal.
func printable(reason string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, reason)
}

// violation closes the connection because the peer broke the protocol.
func (c *Conn) violation(reason string) error {
	reason = fitting(reason)
	c.Close(CodeProtocol, reason)
	return &CloseError{Code: CodeProtocol, Reason: reason}
}

// ended turns the library's error into a CloseError where the peer gave a reason.
func (c *Conn) ended(err error) error {
	var ce websocket.CloseError
	if errors.As(err, &ce) {
		reason := printable(ce.Reason)
		if reason == "" {
			reason = "no reason given"
		}
		return &CloseError{Code: Code(ce.Code), Reason: reason, Remote: true}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return ErrHungUp // where in the library it was noticed helps nobody
	}
	return err
}

// send writes one control message.
func (c *Conn) send(ctx context.Context, m any) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	defer c.bound(ctx)()
	err = c.ws.Write(context.WithoutCancel(ctx), websocket.MessageText, data)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return c.ended(err)
}

// bound ends the exchange of control messages when ctx ends, until stop is called. The library itself would cut the
// connection then, without a word.
func (c *Conn) bound(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		bye := &CloseError{Code: CodeGoingAway, Reason: "no control message in time"}
		_ = errors.As(context.Cause(ctx), &bye)
		c.Close(bye.Code, bye.Reason)
	})
}

// receive reads one control message. When ctx ends the peer is told that it came too late.
func (c *Conn) receive(ctx context.Context) ([]byte, error) {
	defer c.bound(ctx)()
	typ, r, err := c.ws.Reader(context.WithoutCancel(ctx))
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, c.ended(err)
	}
	if typ != websocket.MessageText {
		return nil, c.violation("a batch before connected")
	}
	data, err := io.ReadAll(io.LimitReader(r, maxControl+1))
	if err != nil {
		return nil, c.ended(err)
	}
	if len(data) > maxControl {
		return nil, c.violation("control message too long")
	}
	return data, nil
}
