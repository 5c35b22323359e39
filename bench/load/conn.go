package load

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// opcode is the kind of a WebSocket frame (RFC 6455 section 5.2).
type opcode byte

const (
	text       opcode = 1
	binaryData opcode = 2
	closing    opcode = 8
	pingFrame  opcode = 9
	pongFrame  opcode = 10
)

// maxWanted is the largest message that read returns, in bytes.
const maxWanted = 16 << 10

// conn is the client's end of a WebSocket connection, with the features that an idle client needs.
type conn struct {
	net.Conn
	r  *bufio.Reader
	mu sync.Mutex // held to write a frame
}

// heart sends an empty message each interval, until stop is called or a write fails. In between it
// needs a timer, but no goroutine.
func (c *conn) heart(every time.Duration) (stop func()) {
	var mu sync.Mutex
	var timer *time.Timer
	stopped := false
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(every, func() {
		err := c.write(binaryData, nil)
		mu.Lock()
		defer mu.Unlock()
		if err == nil && !stopped {
			timer.Reset(every)
		}
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
	}
}

// write sends a frame of up to 65535 bytes.
func (c *conn) write(op opcode, payload []byte) error {
	frame := []byte{0x80 | byte(op)}
	if n := len(payload); n < 126 {
		frame = append(frame, 0x80|byte(n))
	} else {
		frame = binary.BigEndian.AppendUint16(append(frame, 0x80|126), uint16(n))
	}
	mask := binary.BigEndian.AppendUint32(nil, rand.Uint32())
	frame = append(frame, mask...)
	for i, b := range payload {
		frame = append(frame, b^mask[i%4])
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.SetWriteDeadline(time.Now().Add(stepTimeout))
	_, err := c.Write(frame)
	return err
}

// read waits for a message, and returns its payload if that is wanted. It answers pings. The end of
// the connection is an error.
func (c *conn) read(wanted bool) (opcode, []byte, error) {
	for {
		op, n, err := c.head()
		if err != nil {
			return 0, nil, err
		}
		control := op >= closing
		if !control && !wanted {
			_, err := io.CopyN(io.Discard, c.r, int64(n))
			return op, nil, err
		}
		if n > maxWanted {
			return 0, nil, errors.New("the message is too long")
		}
		payload := make([]byte, n)
		if _, err := io.ReadFull(c.r, payload); err != nil {
			return 0, nil, err
		}
		switch op {
		case closing:
			return 0, nil, io.EOF
		case pingFrame:
			if err := c.write(pongFrame, payload); err != nil {
				return 0, nil, err
			}
		case pongFrame:
		default:
			return op, payload, nil
		}
	}
}

// head reads the header of a frame, and returns its kind and the length of its payload.
func (c *conn) head() (op opcode, n uint64, err error) {
	var b [8]byte
	if _, err := io.ReadFull(c.r, b[:2]); err != nil {
		return 0, 0, err
	}
	op, n = opcode(b[0]&0x0f), uint64(b[1]&0x7f)
	switch n {
	case 126:
		_, err = io.ReadFull(c.r, b[:2])
		n = uint64(binary.BigEndian.Uint16(b[:2]))
	case 127:
		_, err = io.ReadFull(c.r, b[:8])
		n = binary.BigEndian.Uint64(b[:8])
	}
	return op, n, err
}
