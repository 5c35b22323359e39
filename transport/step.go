package transport

import "time"

// Step is a part of the way to a session, in the order in which they are taken.
type Step string

// The steps of Dial and of Request.
const (
	StepName    Step = "name"    // the name becomes addresses
	StepTCP     Step = "tcp"     // a TCP connection to one of them
	StepProxy   Step = "proxy"   // through the proxy
	StepTLS     Step = "tls"     // the TLS handshake
	StepHTTP    Step = "http"    // the upgrade to a WebSocket of ours
	StepAuth    Step = "auth"    // the token
	StepAddress Step = "address" // a pair of addresses
)

// StepError is a failure that a person can do something about.
type StepError struct {
	Step Step
	Err  error
	// what to do; begins in lower case, no full stop. Behind the words of a Reason it begins with a
	// separator
	Advice string

	Reason  Reason // "" where Advice says all
	Subject string // what the reason is about

	// Doubtful says of StepAuth that the refusal does not bear the server's mark: something in
	// front of the server may have said it, a login page of the network for instance, and the token
	// may be right.
	Doubtful bool
}

func (e *StepError) Error() string { return string(e.Step) + ": " + e.Err.Error() }

func (e *StepError) Unwrap() error { return e.Err }

// Realm is the realm of the challenge in the server's 401 (RFC 6750 section 3): the mark by which a
// client tells the server's own word from that of anything in front of it. It names nothing, as no
// answer to unauthenticated clients does.
const Realm = "tnl"

// BusyError is the Err of a StepError when the server takes no login for now: it answers 429 Too
// Many Requests, for this address or this token, or 503 Service Unavailable with the time at which
// to come back.
type BusyError struct {
	Err error
	// after which the server wants another attempt, 0 to maxRetryAfter; 0 if it has not said so
	After time.Duration
}

func (e *BusyError) Error() string { return e.Err.Error() }

func (e *BusyError) Unwrap() error { return e.Err }
