// Package status has what a running client or server tells of itself: plain values that are filled
// when somebody asks. docs/STATUS.md documents their JSON; a field is added, never renamed.
package status

import (
	"net/netip"
	"time"
)

// Schema is the version of the JSON. It changes when a field loses its meaning.
const Schema = 1

// Report is all that runs on a machine, in one network namespace.
type Report struct {
	Schema  int       `json:"schema"`
	Time    time.Time `json:"time"`          // of the answer
	Hub     *Hub      `json:"hub,omitempty"` // nil if none runs
	Clients []Client  `json:"clients"`       // by their devices
}

// State is whether a client has a session.
type State string

// The states of a client.
const (
	Connected  State = "connected"
	Connecting State = "connecting"
)

// Client is a running client.
type Client struct {
	Dev     string    `json:"dev"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	State   State     `json:"state"`
	Since   time.Time `json:"since"` // of the state
	// why there is no session, as the log says it; "" while there is one, and before the first
	// attempt has failed
	Reason string `json:"reason,omitempty"`
	// the sessions that have been lost since the start
	Lost uint64 `json:"sessions_lost"`

	// Of the present or last session.
	Server  string       `json:"server,omitempty"` // its URL
	Address netip.Addr   `json:"address,omitzero"`
	Peer    netip.Addr   `json:"peer,omitzero"`
	Network netip.Prefix `json:"network,omitzero"`
	MTU     int          `json:"mtu,omitempty"` // bytes

	Path        *Path        `json:"path,omitempty"` // nil while there is no connection
	Connections []Connection `json:"connections"`    // that are up

	Traffic
	Queued int64             `json:"queued_bytes"` // that wait to be sent, with their buffers
	Drops  map[string]uint64 `json:"drops"`        // packets, by reason
	Delays Histogram         `json:"queue_delay"`  // of packets that are sampled

	Routes     Routes `json:"routes"`
	DNS        DNS    `json:"dns"`
	AcceptDNS  bool   `json:"accept_dns"` // the server's DNS is to resolve all names
	KillSwitch bool   `json:"kill_switch"`
	FullTunnel bool   `json:"full_tunnel"`
}

// Path is how a client's packets reach its server.
type Path struct {
	Interface string     `json:"interface,omitempty"` // by which they leave; "" if not known
	Local     netip.Addr `json:"local,omitzero"`      // the TCP connection's own address
	// the other end of the TCP connection: the server's address, or the proxy's
	Remote netip.Addr `json:"remote,omitzero"`
	Proxy  string     `json:"proxy,omitempty"` // its URL without a password; "" for none
}

// Routes are the networks behind a server that it pushes to a client.
type Routes struct {
	Taken   []netip.Prefix `json:"taken"`
	Refused []netip.Prefix `json:"refused"` // that the user has not accepted
}

// DNS are the server's DNS settings that a client's machine uses.
type DNS struct {
	Servers []netip.Addr `json:"servers"`
	Domains []string     `json:"domains"`
	All     bool         `json:"all"` // they resolve the names of all domains
	// why the server's settings are not used; "" if they are, or if it has none
	Problem string `json:"problem,omitempty"`
}

// Hub is a running server.
type Hub struct {
	Dev     string       `json:"dev"`
	Version string       `json:"version"`
	Started time.Time    `json:"started"`
	Address netip.Addr   `json:"address"`
	Network netip.Prefix `json:"network"`
	Problem string       `json:"problem,omitempty"` // why clients cannot be reached; "" if they can

	Peers   []Peer            `json:"peers"`   // that are connected, by their addresses
	Tokens  []Usage           `json:"tokens"`  // whose clients were here since the start, by name
	Drops   map[string]uint64 `json:"drops"`   // packets since the start, by reason
	Refused map[string]uint64 `json:"refused"` // connections since the start, by reason
	Limits  []Limit           `json:"limits"`
	Defects uint64            `json:"defects"`     // panics that were caught
	Delays  Histogram         `json:"queue_delay"` // as in Client, of all peers
	Traffic                   // with all clients since the start
}

// Usage is what the clients of a token have sent and got since the hub's start. A revoked token has
// none.
type Usage struct {
	Name     string `json:"name"`     // of the token; "" without tokens
	Sessions int    `json:"sessions"` // that there are now
	Begun    uint64 `json:"sessions_begun"`
	Traffic
	Drops map[string]uint64 `json:"drops"` // packets to them, by reason
}

// Peer is a client that is connected to a hub.
type Peer struct {
	Name    string     `json:"name"` // of its token; "" without tokens
	Address netip.Addr `json:"address"`
	Remote  string     `json:"remote"` // where it connects from
	Since   time.Time  `json:"since"`
	Seen    time.Time  `json:"last_seen"` // when bytes last came from it
	// behind it: those that it advertises and the hub routes
	Networks []netip.Prefix `json:"networks"`

	Bytes
	Queued      int64             `json:"queued_bytes"` // as in Client
	Drops       map[string]uint64 `json:"drops"`        // packets to it, by reason
	Connections []Connection      `json:"connections"`  // its lanes
}

// Limit is a bound, and how much of it is in use.
type Limit struct {
	Name string `json:"name"`
	Used int64  `json:"used"`
	Most int64  `json:"most"`
}

// Near reports whether four fifths of the limit are in use.
func (l Limit) Near() bool { return l.Used >= l.Most-l.Most/5 }
