package report

import (
	"errors"
	"slices"

	"tunnel/transport"
)

// Why a session ended or did not begin, for a command of the user, beside the names of the steps of
// transport.StepError.
const (
	Stopped     = "stopped"        // the program was told to end
	Died        = "died"           // the process of the session has ended
	whyAway     = "server-stopped" // or it has the client come back later
	whyReplaced = "replaced"       // another connection has the session
	whyToken    = "token-over"
	whySessions = "sessions" // the token has as many as it may have
	whyAddress  = "no-address"
	whyClosed   = "closed" // by the server, for another reason
	whySilent   = "silent" // the server is
	whyLost     = "lost"   // the connection
)

// Why returns the reason of an error as one word of a fixed set: nothing of it is the server's,
// whose own words an error may have. IsWhy reports which words these are.
func Why(err error) string {
	var step *transport.StepError
	var closed *transport.CloseError
	switch {
	case errors.As(err, &step):
		if step.Reason == transport.ReasonTokenOver {
			return whyToken
		}
		if IsWhy(string(step.Step)) {
			return string(step.Step)
		}
	case errors.As(err, &closed):
		switch closed.Code {
		case transport.CodeNormal, transport.CodeGoingAway:
			return whyAway
		case transport.CodeReplaced:
			return whyReplaced
		case transport.CodeRevoked:
			return whyToken
		case transport.CodeSessions:
			return whySessions
		case transport.CodeNoAddress:
			return whyAddress
		default:
			return whyClosed
		}
	case errors.Is(err, transport.ErrSilent):
		return whySilent
	}
	return whyLost
}

// IsWhy reports whether Why returns that.
func IsWhy(why string) bool {
	return slices.Contains([]string{Stopped, Died, whyAway, whyReplaced, whyToken, whySessions,
		whyAddress, whyClosed, whySilent, whyLost, string(transport.StepName),
		string(transport.StepTCP), string(transport.StepProxy), string(transport.StepTLS),
		string(transport.StepHTTP), string(transport.StepAuth), string(transport.StepAddress)}, why)
}
