// Package privsep splits the program in two. The parent keeps the privileges, reads no byte from
// the network, and changes the machine; the worker has the device, the listener and all parsing,
// and runs as a user of its own in a sandbox. The worker asks for facts (an address pair, a
// network, the bypass of a host), never for commands, and the parent checks each by the rules of
// the journal.
//
// They talk over a socket pair (SOCK_SEQPACKET: a datagram is a message, and the end of one side is
// seen by the other). A message is one JSON object of at most maxMessage bytes, and files travel
// beside it (SCM_RIGHTS).
package privsep

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"tunnel/admin/audit"
	"tunnel/dns"
	"tunnel/host"
	"tunnel/packet"
	"tunnel/route"
)

// kind is what a request asks for.
type kind string

const (
	kindDevice kind = "device" // make the TUN device of the flags
	kindState  kind = "state"  // open the state directory of the flags
	// listen where the flags say: the flag Name, "" for a server's port or a client's control socket
	kindListen  kind = "listen"
	kindOpen    kind = "open"     // open the file that the flag Name names, to read it
	kindOverlap kind = "overlap"  // whether Networks overlap this machine's
	kindApply   kind = "apply"    // host.Host.Apply of Want
	kindDraw    kind = "withdraw" // host.Host.Withdraw
	kindBypass  kind = "bypass"   // host.Host.Bypass of Address
	kindRetain  kind = "retain"   // host.Host.Retain of Addresses
	kindNextHop kind = "next-hop" // host.Host.NextHop of Address
	kindHook    kind = "hook"     // run the command of the flag Name; Entries has its session
	kindUndo    kind = "undo"     // host.Host.Release
	kindRecord  kind = "record"   // keep Entries in the audit log, and run the hooks about them
	kindTell    kind = "tell"     // tell the service manager the supervisor.State Name
	// end the request that has the same ID; it is answered, this is not
	kindCancel kind = "cancel"
)

// request is a message of the worker.
type request struct {
	ID        uint32         `json:"id"` // from 1 on; 0 names none
	Kind      kind           `json:"kind"`
	Name      string         `json:"name,omitempty"`
	Address   netip.Addr     `json:"address,omitzero"`
	Port      uint16         `json:"port,omitzero"` // of Address; 0 is any
	Addresses []netip.Addr   `json:"addresses,omitempty"`
	Networks  []netip.Prefix `json:"networks,omitempty"`
	Want      *host.Want     `json:"want,omitempty"`
	Entries   []audit.Entry  `json:"entries,omitempty"`
}

// reply is a message of the parent: the answer to a request, or with Stop the word to stop, or with
// Ask the question whether the worker is alive, which it answers by telling supervisor.Alive.
type reply struct {
	ID    uint32   `json:"id,omitempty"`
	Stop  bool     `json:"stop,omitempty"`
	Ask   bool     `json:"ask,omitempty"`
	Error *Failure `json:"error,omitempty"`

	Device string         `json:"device,omitempty"` // its name; the device comes beside it
	Vnet   packet.Offload `json:"offload,omitzero"`
	// the state directory's name for people; it comes beside it
	Dir     string         `json:"dir,omitempty"`
	NextHop *route.NextHop `json:"next_hop,omitempty"`
}

// Failure is why the parent did not do what it was asked for. Step and Advice are for the line that
// a person sees.
type Failure struct {
	Step   string `json:"step"`
	Text   string `json:"text"`
	Advice string `json:"advice,omitempty"`
	// the text of the error of package host, route or dns that it is, if any
	Cause string `json:"cause,omitempty"`
	// the networks that overlap, if that is the cause
	Overlap *route.OverlapError `json:"overlap,omitempty"`
}

func (f *Failure) Error() string { return f.Text }

// causes returns the errors that a worker can tell from others by errors.Is.
func causes() []error {
	return []error{route.ErrOverlap, host.ErrGone, host.ErrContested, route.ErrNotUsed,
		route.ErrNoRoute, dns.ErrNotAll, dns.ErrNotSet}
}

// Is reports whether the failure is target, an error of package host, route or dns that the parent
// has met.
func (f *Failure) Is(target error) bool {
	return f.Cause != "" && slices.Contains(causes(), target) && target.Error() == f.Cause
}

// Unwrap returns the *route.OverlapError that it is, if any.
func (f *Failure) Unwrap() error {
	if f.Overlap == nil {
		return nil
	}
	return f.Overlap
}

const (
	// bytes: a Want with all networks that it may have, and less than a socket takes at once
	// (net.core.wmem_default)
	maxMessage = 192 << 10
	maxText    = 2 << 10 // bytes of a reason; it may have a line of ip's
)

// ErrProtocol says that the other side sent what is no message.
var ErrProtocol = errors.New("not a message of this protocol")

// channel is one end of the socket pair. Messages may be sent from several goroutines and received
// on one.
type channel struct {
	conn *net.UnixConn
	in   []byte // what was received last

	mu sync.Mutex // held to send
}

// newChannel takes file over.
func newChannel(file *os.File) (*channel, error) {
	defer func() { _ = file.Close() }()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("use the socket pair: %w", err)
	}
	unixConn, ok := conn.(*net.UnixConn)
	if !ok || conn.LocalAddr().Network() != "unixpacket" {
		_ = conn.Close()
		return nil, fmt.Errorf("use the socket pair: %w", ErrProtocol)
	}
	return &channel{conn: unixConn, in: make([]byte, maxMessage+1)}, nil
}

func (c *channel) close() { _ = c.conn.Close() }

// send sends a message, with a file beside it unless that is nil. The file stays the caller's.
func (c *channel) send(message any, file *os.File) error {
	data, err := json.Marshal(message)
	if err != nil {
		return err
	}
	if len(data) > maxMessage {
		return fmt.Errorf("%w: %d bytes", ErrProtocol, len(data))
	}
	var rights []byte
	if file != nil {
		raw, err := file.SyscallConn()
		if err != nil {
			return err
		}
		// Not File.Fd, which would make the file block.
		if err := raw.Control(func(fd uintptr) { rights = unix.UnixRights(int(fd)) }); err != nil {
			return err
		}
		return errors.Join(raw.Control(func(uintptr) { err = c.write(data, rights) }), err)
	}
	return c.write(data, nil)
}

func (c *channel) write(data, rights []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _, err := c.conn.WriteMsgUnix(data, rights, nil)
	return err
}

// receive reads one message, gives it to decode, and returns the file that came beside it, if any,
// which is the caller's. The error is io.EOF when the other side has ended, and ErrProtocol,
// wrapped, for what is no message.
func (c *channel) receive(decode func([]byte) error) (*os.File, error) {
	data := c.in
	rights := make([]byte, unix.CmsgSpace(4))
	n, nr, flags, _, err := c.conn.ReadMsgUnix(data, rights)
	if errors.Is(err, unix.ECONNRESET) {
		return nil, io.EOF
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	file, err := fileOf(rights[:nr])
	switch {
	case err != nil:
	case n == 0 && file == nil && c.ended():
		return nil, io.EOF
	case n == 0:
		err = fmt.Errorf("%w: empty", ErrProtocol)
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 || n > maxMessage:
		err = fmt.Errorf("%w: longer than %d bytes, or with more than one file", ErrProtocol,
			maxMessage)
	default:
		err = decode(data[:n])
	}
	if err != nil && file != nil {
		_ = file.Close()
		file = nil
	}
	return file, err
}

// ended reports whether the other side sends nothing any more. An empty message is read like an end
// (recv(2)), and poll(2) tells them apart.
func (c *channel) ended() bool {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return true
	}
	ended := true
	_ = raw.Control(func(fd uintptr) { // else it is closed
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		if _, err := unix.Poll(poll, 0); err == nil {
			ended = poll[0].Revents != 0
		}
	})
	return ended
}

// decode reads data, one JSON object with no unknown field, into message.
func decode(data []byte, message any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(message); err != nil || d.More() {
		return fmt.Errorf("%w: JSON", ErrProtocol) // its own text has the other side's words
	}
	return nil
}

// decode reads a request, and accepts only the very bytes that this program writes for it: package
// json takes keys twice and in any case, and white space, which two readers may understand
// differently.
func (r *request) decode(data []byte) error {
	if err := decode(data, r); err != nil {
		return err
	}
	if canonical, err := json.Marshal(r); err != nil || !bytes.Equal(data, canonical) {
		return fmt.Errorf("%w: JSON of another form", ErrProtocol)
	}
	return nil
}

// fileOf returns the one file of a control message; nil if there is none.
func fileOf(rights []byte) (*os.File, error) {
	if len(rights) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	var files []*os.File
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	if len(files) != 1 {
		for _, f := range files {
			_ = f.Close()
		}
		return nil, fmt.Errorf("%w: %d files", ErrProtocol, len(files))
	}
	return files[0], nil
}
