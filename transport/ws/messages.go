package ws

import (
	"fmt"
	"time"

	"tunnel/transport"
	"tunnel/transport/ws/frame"
)

// OnUpdate has Request say that this side takes updates, and f get each, on the goroutine of Run:
// it must not wait for anything. Several connections of one session may bring the same one. Call it
// before Request; without it an update breaks the protocol.
func (c *Conn) OnUpdate(f func(transport.Update)) { c.in.updated = f }

// Tell sends an update to a peer that takes them (the server's part), after Grant and before or
// during Run. It does not wait: an earlier update that has not gone out yet is replaced. The error
// is that of transport.Update.Encode.
func (c *Conn) Tell(u transport.Update) error {
	message, err := u.Encode()
	if err != nil {
		return err
	}
	c.out.controls.setUpdate(message)
	c.out.Flush()
	return nil
}

// setUpdate makes message the update that goes out next.
func (u *controlQueue) setUpdate(message []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.closing {
		u.update = message
		u.some.Store(true)
	}
}

// text returns the next message, which must be a control message of up to maxControl bytes.
func (in *input) text() ([]byte, error) {
	var message []byte
	done := false
	for !done {
		if err := in.fill(); err != nil {
			return nil, err
		}
		for !done {
			some, err := in.advance()
			if err != nil {
				return nil, err
			}
			switch {
			case in.opcode == frame.OpBinary:
				return nil, frame.Violation("a batch before connected")
			case in.size > transport.MaxControl:
				return nil, frame.Violation("control message too long")
			case in.ended():
				message = append([]byte(nil), (*in.buf)[in.tail:in.next]...)
				in.tail, in.opcode = in.next, 0
				done = true
			}
			if !some {
				break
			}
		}
	}
	in.release()
	return message, nil
}

// update takes what has come of an update, which may be longer than the buffer, and hands it out
// when it is complete.
func (in *input) update() error {
	switch {
	case in.updated == nil:
		return frame.Violation("unknown state: no control message is due after connected")
	case in.size > transport.MaxUpdate:
		return frame.Violation("update too long")
	}
	in.message = append(in.message, (*in.buf)[in.tail:in.next]...)
	in.tail = in.next
	if !in.ended() {
		return nil
	}
	in.opcode = 0
	if err := in.idle.frame(time.Now()); err != nil { // each costs a look, and carries no packet
		return err
	}
	u, err := transport.ParseUpdate(in.message)
	in.message = nil
	if err != nil {
		return frame.Violation(fmt.Sprint(err))
	}
	in.updated(u)
	return nil
}
