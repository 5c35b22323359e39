package remote

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"tunnel/doctor"
	"tunnel/transport"
	"tunnel/transport/tcp"
	"tunnel/transport/ws/frame"
)

const (
	// rounds is how many round trips are measured, one after the other.
	rounds = 5
	// roundsTime is the time after which no further round trip begins: a server waits no longer than
	// 10 s for the session that doctor does not begin.
	roundsTime = 4 * time.Second
	// burst is how many pings are sent at once, as large as they may be: more than five full
	// segments, which a path must carry whole.
	burst = 64
	// slowTrip is the round trip from which a path counts as slow.
	slowTrip = time.Second
)

// pinger sends pings on a WebSocket and waits for their answers. The server answers before a
// session begins (RFC 6455 section 5.5.2).
type pinger struct {
	conn *tcp.Conn
	rest []byte // that has arrived, and was not parsed
	sent uint64
}

// send sends so many pings in one piece, each of size bytes and with a number of its own.
func (g *pinger) send(count, size int) error {
	var frames []byte
	for range count {
		g.sent++
		body := make([]byte, size)
		binary.BigEndian.PutUint64(body, g.sent)
		frames = frame.Append(frames, frame.OpPing, body, true)
	}
	_, err := g.conn.Write(frames)
	return err
}

// await waits for the answer to the last ping.
func (g *pinger) await() error {
	want := binary.BigEndian.AppendUint64(nil, g.sent)
	buffer := make([]byte, 4<<10)
	for {
		for {
			h, err := frame.Parse(g.rest, false)
			if err != nil {
				return err
			}
			if h.Length == 0 {
				break
			}
			if h.Opcode&frame.OpControl == 0 { // and perhaps longer than an int can say
				return frame.Violation("a message before a session")
			}
			whole := h.Length + int(h.Payload) // at most frame.MaxControlBody
			if len(g.rest) < whole {
				break
			}
			body := g.rest[h.Length:whole]
			g.rest = g.rest[whole:]
			switch {
			case h.Opcode == frame.OpPong && bytes.HasPrefix(body, want):
				return nil
			case h.Opcode == frame.OpClose:
				return closeOf(body)
			}
		}
		n, err := g.conn.Read(buffer)
		if err != nil {
			return err
		}
		g.rest = append(g.rest, buffer[:n]...)
	}
}

// closeOf returns the error of a close frame (RFC 6455 section 5.5.1).
func closeOf(body []byte) error {
	closed := &transport.CloseError{Code: transport.CodeNoStatus, Reason: "no reason given",
		Remote: true}
	if len(body) >= 2 {
		closed.Code = transport.Code(binary.BigEndian.Uint16(body))
	}
	if len(body) > 2 {
		closed.Reason = string(body[2:])
	}
	return closed
}

// trip sends pings and waits for the answer to the last.
func (g *pinger) trip(count, size int, within time.Duration) error {
	if err := g.conn.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	if err := g.send(count, size); err != nil {
		return err
	}
	return g.await()
}

// measure measures round trips, and whether large messages pass, and says goodbye.
func (p *path) measure(ctx context.Context, conn *tcp.Conn, early []byte) {
	stop := context.AfterFunc(ctx, func() { conn.Interrupt() })
	defer stop()
	g := &pinger{conn: conn, rest: early}
	var trips []time.Duration
	for first := time.Now(); len(trips) < rounds && (len(trips) == 0 ||
		time.Since(first) < roundsTime); {
		began := time.Now()
		err := g.trip(1, 8, stepTime/2)
		if err != nil && !timedOut(err) && len(trips) == 0 {
			// a session would end in the same way
			err = errors.New(p.Dialer.Sent.Printable(err.Error()))
			p.fail(checkProtocol, doctor.ClosedAtOnce, fmt.Errorf("the server upgrades to a WebSocket, "+
				"and ends it at once: %w", err), "see the server's log; a proxy in front of it may do so, too")
			return
		}
		if err != nil {
			why := err.Error()
			if timedOut(err) {
				why = "nothing came within " + (stepTime / 2).String()
			}
			p.warn(checkQuality, doctor.NoAnswer, "pings are not answered: "+why,
				"a proxy in front of the server may hold messages back, or the server have too much to do")
			return
		}
		trips = append(trips, time.Since(began))
	}
	if err := g.trip(burst, frame.MaxControlBody, stepTime/2); err != nil {
		saw := "small messages get an answer, and large ones do not"
		if !timedOut(err) {
			saw += ": " + err.Error()
		}
		if !p.findHole(ctx, checkQuality, saw) {
			p.warn(checkQuality, doctor.Lossy, saw, "something on the path drops large packets, or many")
		}
		return
	}
	bye := binary.BigEndian.AppendUint16(nil, uint16(transport.CodeNormal))
	_, _ = conn.Write(frame.Append(nil, frame.OpClose, bye, true)) // the answer does not matter
	p.judgeQuality(conn, trips)
}

func (p *path) judgeQuality(conn *tcp.Conn, trips []time.Duration) {
	slices.Sort(trips)
	info := conn.Info()
	saw := fmt.Sprintf("round trip %s (%s to %s), %d of %d segments sent again, large messages pass",
		milliseconds(trips[len(trips)/2]), milliseconds(trips[0]),
		milliseconds(trips[len(trips)-1]), info.Resent, info.Segments)
	switch {
	case info.Resent >= 3 && info.Resent*20 >= info.Segments:
		p.warn(checkQuality, doctor.Lossy, saw, "the path loses packets: look at Wi-Fi, cables, and "+
			"links that are full")
	case trips[0] >= slowTrip:
		p.warn(checkQuality, doctor.Slow, saw, "the path is slow: a link may be full, or a queue on it "+
			"long")
	default:
		p.ok(checkQuality, "%s", saw)
	}
}
