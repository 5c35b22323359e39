package transport

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tunnel/packet"
)

// Subprotocol is the WebSocket subprotocol (RFC 6455 section 1.9) of this wire format.
const Subprotocol = "tunnel.v1"

// Version is the version of the control messages.
const Version = 1

// MaxLanes is the most connections that one session may have.
const MaxLanes = 16

// The names of the framings in messages; packet.Framing describes them.
const (
	framingIP   = "ip"
	FramingVnet = "vnet"
)

// Framings returns the framings of a side with this offload, best first.
func Framings(own packet.Offload) []string {
	if own.Vnet {
		return []string{FramingVnet, framingIP}
	}
	return []string{framingIP}
}

// ChooseFraming returns the first of theirs that is among ours, "" if none is.
func ChooseFraming(theirs, ours []string) string {
	for _, f := range theirs {
		if slices.Contains(ours, f) {
			return f
		}
	}
	return ""
}

// MaxControl is the most bytes that a control message may have.
const MaxControl = 16 << 10

// The states that a control message carries.
const (
	MessageConnect   = "connect"
	MessageConnected = "connected"
)

// Connect is the client's request: the first message of a connection. Unknown fields are ignored,
// so that it can grow.
type Connect struct {
	State    string   `json:"state"`             // "connect"
	Version  int      `json:"version"`           // 1
	Framings []string `json:"framings"`          // those of the client, best first
	USO      bool     `json:"uso,omitempty"`     // with framing vnet: also accepts UDP super-packets
	Address  string   `json:"address,omitempty"` // the tunnel address that the client asks for
	// the session to resume, from an earlier Connected
	Session string `json:"session,omitempty"`
	// how many connections the client wants for the session; 0 means one
	Lanes int `json:"lanes,omitempty"`
	// the number of this lane in a session that has others; nil begins or resumes a session
	Lane *int `json:"lane,omitempty"`

	// the messages after connected that the client takes; others are ignored
	Can []string `json:"can,omitempty"`
	// networks behind the client, at most MaxAdvertise
	Advertise []netip.Prefix `json:"advertise,omitempty"`
}

// Wanted returns the address that the client asks for; the zero Addr for none.
func (m Connect) Wanted() netip.Addr {
	a, err := netip.ParseAddr(m.Address)
	if err != nil {
		return netip.Addr{}
	}
	return a
}

// Connected is the server's answer: the client's pair of addresses and the settings of the link.
type Connected struct {
	State   string `json:"state"`   // "connected"
	Version int    `json:"version"` // 1
	Address string `json:"address"` // the client's own tunnel address
	Peer    string `json:"peer"`    // the other end of its point-to-point link
	Network string `json:"network"` // the private network, a prefix
	MTU     int    `json:"mtu"`     // bytes
	Qlen    int    `json:"qlen"`    // packets, transmit queue length
	Framing string `json:"framing"` // one of the client's framings
	// with framing vnet: the server also accepts UDP super-packets
	USO bool `json:"uso"`
	// seconds: the longest time between two frames; a peer that is silent for twice as long is lost
	Keepalive float64 `json:"keepalive"`
	Session   string  `json:"session"` // a secret; names this session when the client resumes it
	// how many connections the session may have; 0, from an old server, means one
	Lanes int `json:"lanes"`

	// a secret; replaces a join token on later connections
	Credential string `json:"credential,omitempty"`
}

// Link is a parsed and checked Connected.
type Link struct {
	Address   netip.Addr
	Peer      netip.Addr
	Network   netip.Prefix
	MTU       int // bytes
	Qlen      int // packets
	Keepalive time.Duration
	Session   string
	Lanes     int // connections that the session may have, 1 to MaxLanes

	Credential string // "" for none: the token stays in use
}

// The ranges of a device's settings: the MTU from the minimum that every host accepts (RFC 791) to
// the largest IPv4 packet, a transmit queue whose ring in the kernel still fits in memory, and a
// keepalive interval that neither floods the path nor exceeds the time-outs of all middleboxes.
const (
	MinMTU       = 576
	MaxMTU       = 65535
	MaxQlen      = 65536
	MinKeepalive = 100 * time.Millisecond
	MaxKeepalive = time.Hour
)

// The maximum bytes of a session and of a credential: both are kept in files and sent back.
const (
	maxSession    = 64
	maxCredential = 256
)

// Link parses and checks m; the error names the invalid field.
func (m Connected) Link() (Link, error) {
	var l Link
	var err error
	if l.Address, err = netip.ParseAddr(m.Address); err != nil {
		return Link{}, fmt.Errorf("address: %w", err)
	}
	if l.Peer, err = netip.ParseAddr(m.Peer); err != nil {
		return Link{}, fmt.Errorf("peer: %w", err)
	}
	if l.Network, err = netip.ParsePrefix(m.Network); err != nil {
		return Link{}, fmt.Errorf("network: %w", err)
	}
	if l.Network != l.Network.Masked() {
		return Link{}, fmt.Errorf("network: %s has host bits set", l.Network)
	}
	if !l.Network.Addr().Is4() || !l.Network.Contains(l.Address) || !l.Network.Contains(l.Peer) ||
		l.Address == l.Peer {
		return Link{}, fmt.Errorf("the pair %s, %s is not one of network %s", l.Address, l.Peer,
			l.Network)
	}
	if m.MTU < MinMTU || m.MTU > MaxMTU {
		return Link{}, fmt.Errorf("mtu %d is not within %d to %d", m.MTU, MinMTU, MaxMTU)
	}
	if m.Qlen < 1 || m.Qlen > MaxQlen {
		return Link{}, fmt.Errorf("qlen %d is not within 1 to %d", m.Qlen, MaxQlen)
	}
	l.Keepalive = time.Duration(m.Keepalive * float64(time.Second))
	if l.Keepalive < MinKeepalive || l.Keepalive > MaxKeepalive {
		return Link{}, fmt.Errorf("keepalive %v is not within %v to %v", l.Keepalive, MinKeepalive,
			MaxKeepalive)
	}
	if len(m.Session) > maxSession {
		return Link{}, fmt.Errorf("session: longer than %d bytes", maxSession)
	}
	if len(m.Credential) > maxCredential {
		return Link{}, fmt.Errorf("credential: longer than %d bytes", maxCredential)
	}
	if strings.ContainsFunc(m.Credential, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return Link{}, errors.New("credential: no HTTP header can carry it")
	}
	l.MTU, l.Qlen, l.Session, l.Credential = m.MTU, m.Qlen, m.Session, m.Credential
	l.Lanes = min(max(m.Lanes, 1), MaxLanes)
	return l, nil
}

// ParseConnect reads a client's first message. The error's text is fit for the close reason.
func ParseConnect(data []byte, own packet.Offload) (Connect, error) {
	var m Connect
	if err := json.Unmarshal(data, &m); err != nil {
		return Connect{}, errors.New("malformed control message")
	}
	switch {
	case m.State != MessageConnect:
		return Connect{}, errors.New("unknown state: the first message is connect")
	case m.Version != Version:
		return Connect{}, fmt.Errorf("version %d is not spoken here: this is version %d", m.Version,
			Version)
	case m.Lane != nil && (*m.Lane < 0 || m.Session == ""):
		return Connect{}, errors.New("a lane is one of a session, and has a number")
	case ChooseFraming(m.Framings, Framings(own)) == "":
		return Connect{}, fmt.Errorf("no framing in common: this side speaks %s",
			strings.Join(Framings(own), " and "))
	}
	if err := m.checkAdvertise(); err != nil {
		return Connect{}, err
	}
	return m, nil
}

// ParseConnected reads a server's answer to a connect that offered these framings.
func ParseConnected(data []byte, offered []string) (Connected, error) {
	var m Connected
	if err := json.Unmarshal(data, &m); err != nil {
		return Connected{}, errors.New("malformed control message")
	}
	switch {
	case m.State != MessageConnected:
		return Connected{}, errors.New("unknown state: the answer to connect is connected")
	case m.Version != Version:
		return Connected{}, fmt.Errorf("version %d is not spoken here: this is version %d",
			m.Version, Version)
	}
	if !slices.Contains(offered, m.Framing) {
		return Connected{}, fmt.Errorf("framing %q was not offered", m.Framing)
	}
	return m, nil
}
