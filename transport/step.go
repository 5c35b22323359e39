package transport

import "time"

// Step is a step of establishing a session.
type Step string

// The steps of ws.Dialer.Dial and ws.Conn.Request, in their order.
const (
	StepName    Step = "name"    // resolve the name
	StepTCP     Step = "tcp"     // connect to one of its addresses
	StepProxy   Step = "proxy"   // connect through the proxy
	StepTLS     Step = "tls"     // the TLS handshake
	StepHTTP    Step = "http"    // upgrade to a WebSocket of this protocol
	StepAuth    Step = "auth"    // the token
	StepAddress Step = "address" // a pair of addresses
)

// Steps returns all steps, in their order.
func Steps() []Step {
	return []Step{StepName, StepTCP, StepProxy, StepTLS, StepHTTP, StepAuth, StepAddress}
}

// StepError is a failure that a person can do something about.
type StepError struct {
	Step Step
	Err  error
	// what to do; begins in lower case, no full stop. With a Reason it is appended to the text of
	// that and begins with a separator
	Advice string

	Reason  Reason // "" if Advice is complete
	Subject string // what the reason is about

	// Doubtful reports, for StepAuth, that the refusal does not have the server's Realm: it may be
	// from something in front of the server, a login page of the network for instance, and the
	// token may be valid.
	Doubtful bool
}

func (e *StepError) Error() string { return string(e.Step) + ": " + e.Err.Error() }

func (e *StepError) Unwrap() error { return e.Err }

// Realm is the realm of the challenge in the server's 401 (RFC 6750 section 3). It distinguishes a
// refusal by the server from one by anything in front of it. It does not name the program, as no
// answer to unauthenticated clients does.
const Realm = "tnl"

// BusyError is the Err of a StepError when the server accepts no login for now: it answers 429 Too
// Many Requests, for this address or this token, or 503 Service Unavailable with a Retry-After.
type BusyError struct {
	Err error
	// Retry-After, at most an hour; 0 if the server has given none
	After time.Duration
}

func (e *BusyError) Error() string { return e.Err.Error() }

func (e *BusyError) Unwrap() error { return e.Err }
