// Package ws carries batches of packets over one WebSocket (RFC 6455). Dialer.Dial and Accept
// return a Conn; Request on the client, Requested and Grant on the server, agree on a session; Run
// moves packets in both directions, with keepalives, until the connection ends. Packets leave
// through output.go and arrive through input.go.
package ws

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/defect"
	"tunnel/packet"
	"tunnel/transport"
	"tunnel/transport/dial"
	"tunnel/transport/tcp"
	"tunnel/transport/ws/frame"
)

// closeTimeout bounds the closing handshake: the time in which the peer may answer the close frame.
const closeTimeout = 500 * time.Millisecond

// Conn is one WebSocket connection, from either side. ReadBatch and WriteBatch may run concurrently
// with one another, each on one goroutine. The caller of Dial or Accept ends it, with Run or
// Close.
type Conn struct {
	wire    *tcp.Conn
	state   atomic.Int32
	in      input
	out     output
	framing packet.Framing // set before StateConnected
	closing sync.Once      // of Close

	via dial.Path // how it was made; zero on the server's side
}

// newConn returns a Conn on a connection after the opening handshake; early are the bytes that have
// arrived after it.
func newConn(w *tcp.Conn, early []byte, client bool, congestion string) *Conn {
	c := &Conn{wire: w}
	w.Gather()
	c.out = output{wire: w, form: frame.Form{Client: client, Whole: w.Secured()},
		tuner: tcp.NewTuner(w, congestion), failed: func(error) { _ = w.Close() }, gone: make(
			chan struct{})}
	c.in = input{wire: w, masked: !client, idle: newControls(), stuck: c.out.stuck,
		pong: func(body []byte) { c.out.control(frame.OpPong, body) }}
	c.in.begin(early)
	return c
}

// State reports whether connect was answered by connected.
func (c *Conn) State() transport.State { return transport.State(c.state.Load()) }

// Request sends connect and waits for connected (the client's part). own is the offload of this
// side's device.
func (c *Conn) Request(ctx context.Context, m transport.Connect,
	own packet.Offload) (link transport.Link, err error) {
	defer defect.Catch(&err)
	defer c.via.Took.Begin(transport.StepAddress)()
	m.State, m.Version = transport.MessageConnect, transport.Version
	m.Framings, m.USO = transport.Framings(own), own.USO
	if c.in.updated != nil {
		m.Can = transport.CanUpdate()
	}
	c.in.sent = c.in.sent.And(m.Session)
	if err := c.send(ctx, m); err != nil {
		return transport.Link{}, fmt.Errorf("send connect: %w", err)
	}
	data, err := c.receive(ctx)
	if err != nil {
		return transport.Link{}, fmt.Errorf("wait for connected: %w", err)
	}
	answer, err := transport.ParseConnected(data, m.Framings)
	if err != nil {
		return transport.Link{}, c.violation(err.Error())
	}
	if link, err = answer.Link(); err != nil {
		return transport.Link{}, c.violation("unusable connected: " + err.Error())
	}
	c.in.sent = c.in.sent.And(link.Session, link.Credential)
	c.agree(answer.Framing, answer.USO)
	return link, nil
}

// agree sets the framing and offload that both sides have agreed on, and the state StateConnected.
func (c *Conn) agree(framing string, peerUSO bool) {
	if framing == transport.FramingVnet {
		c.framing = packet.FramingVnet
	}
	c.out.form.Framing, c.out.form.PeerUSO = c.framing, peerUSO
	c.state.Store(int32(transport.StateConnected))
}

// Requested waits for connect (the server's part). If the peer sends anything else, Requested
// closes the connection and returns an error. own is the offload of this side's device.
func (c *Conn) Requested(ctx context.Context, own packet.Offload) (m transport.Connect, err error) {
	defer defect.Catch(&err)
	data, err := c.receive(ctx)
	if err != nil {
		return transport.Connect{}, fmt.Errorf("wait for connect: %w", err)
	}
	if m, err = transport.ParseConnect(data, own); err != nil {
		return transport.Connect{}, c.violation(err.Error())
	}
	return m, nil
}

// Grant answers the connect that Requested has returned with connected (the server's part). own is
// the offload of this side's device.
func (c *Conn) Grant(ctx context.Context, request transport.Connect, m transport.Connected,
	own packet.Offload) error {
	m.State, m.Version = transport.MessageConnected, transport.Version
	m.Framing = transport.ChooseFraming(request.Framings, transport.Framings(own))
	m.USO = own.USO && m.Framing == transport.FramingVnet
	// Before the answer is sent: the client may send its first batch as soon as it has the answer.
	c.agree(m.Framing, request.USO)
	if err := c.send(ctx, m); err != nil {
		return fmt.Errorf("send connected: %w", err)
	}
	return nil
}

// ReadBatch waits for packets and replaces the contents of b by them. They are valid until the next
// call. A violation of the protocol closes the connection. Close unblocks ReadBatch.
func (c *Conn) ReadBatch(b *packet.Batch) error {
	b.Reset()
	err := c.in.batch(b, c.framing)
	if err != nil {
		c.in.turn.End() // before a closing handshake
	}
	return c.ended(err)
}

// WriteBatch sends the records of b, which come from packet.Batch.Add and may be changed. It must
// not be called after Run. Super-packets are sent whole if the peer accepts them, else segmented.
// Close unblocks WriteBatch.
func (c *Conn) WriteBatch(b *packet.Batch) error {
	return c.ended(c.out.write(func() error {
		c.out.frame = frame.New()
		return c.out.encode(c.out.frame.Build(b, c.out.form))
	}))
}

// Close sends a close frame with code and reason, waits for the peer's at most closeTimeout, and
// closes the connection. The reason is cut to the length that a close frame can hold. After Run the
// connection is closed already.
func (c *Conn) Close(code transport.Code, reason string) {
	c.closing.Do(func() {
		cut := c.bye(code, reason)
		defer cut.Stop()
		// Read until the peer has answered: closed earlier, it might not receive the close frame.
		for err := error(nil); err == nil; {
			err = c.in.discard()
		}
		c.in.close()
		_ = c.wire.Close()
		c.out.finish()
	})
}

// bye sends a close frame. The returned timer closes the connection after closeTimeout.
func (c *Conn) bye(code transport.Code, reason string) *time.Timer {
	cut := time.AfterFunc(closeTimeout, func() { _ = c.wire.Close() })
	c.out.control(frame.OpClose, append(binary.BigEndian.AppendUint16(nil, uint16(code)),
		fitting(reason)...))
	return cut
}

// fitting returns the part of reason that a close frame can hold, in whole characters (RFC 6455
// section 5.5.1).
func fitting(reason string) string {
	const most = 123 // RFC 6455 section 5.5: 125 bytes less the code
	return strings.ToValidUTF8(reason[:min(len(reason), most)], "")
}

// violation closes the connection because the peer broke the protocol.
func (c *Conn) violation(reason string) error {
	reason = fitting(c.in.sent.Hide(reason))
	c.Close(transport.CodeProtocol, reason)
	return &transport.CloseError{Code: transport.CodeProtocol, Reason: reason}
}

// ended closes the connection as the error of a read or write demands, nil for none, and returns
// the error for the caller of this package.
func (c *Conn) ended(err error) error {
	var broken frame.Violation
	var closed *transport.CloseError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &broken):
		return c.violation(string(broken))
	case errors.As(err, &closed):
		cut := c.bye(transport.CodeNormal, "")
		select {
		case <-c.out.gone:
		case <-time.After(closeTimeout):
		}
		cut.Stop()
		_ = c.wire.Close()
		return closed
	}
	return plainEnd(err)
}

// plainEnd returns the error of a read or write for the caller of this package: all the ways in
// which a connection breaks are transport.ErrHungUp.
func plainEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
		return transport.ErrHungUp // the failed call does not matter
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
	err = c.out.write(func() error {
		return c.out.encode(net.Buffers{frame.Append(nil, frame.OpText, data, c.out.form.Client)})
	})
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return c.ended(err)
}

// bound closes the connection when ctx ends before stop is called, with a close frame for the peer.
// It bounds the exchange of control messages.
func (c *Conn) bound(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		bye := &transport.CloseError{Code: transport.CodeGoingAway,
			Reason: "no control message in time"}
		_ = errors.As(context.Cause(ctx), &bye)
		c.bye(bye.Code, bye.Reason)
	})
}

// receive reads one control message. When ctx ends, the connection is closed.
func (c *Conn) receive(ctx context.Context) ([]byte, error) {
	defer c.bound(ctx)()
	data, err := c.in.text()
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return data, c.ended(err)
}
