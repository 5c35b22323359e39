package refusal

import (
	"errors"
	"slices"

	"tunnel/transport"
)

// Refusals are the errors of the servers of a round, in the order in which they were tried.
type Refusals struct {
	servers []int
	errs    map[int]error // by server
}

// Note adds the error of an attempt at a server. Of several ports of one server, the error of the
// attempt that got furthest is kept.
func (v *Refusals) Note(server int, err error) {
	if v.errs == nil {
		v.errs = map[int]error{}
	}
	was, there := v.errs[server]
	if !there {
		v.servers = append(v.servers, server)
	}
	if !there || progress(err) > progress(was) {
		v.errs[server] = err
	}
}

// First returns the error of the server that was tried first, unless an attempt at another got
// further.
func (v *Refusals) First() (err error) {
	for _, s := range v.servers {
		if !Permanent(v.errs[s]) {
			return v.errs[s]
		}
		if err == nil {
			err = v.errs[s]
		}
	}
	return err
}

// progress orders errors by how far an attempt got.
func progress(err error) int {
	var step *transport.StepError
	if !errors.As(err, &step) {
		return -1
	}
	return slices.Index([]transport.Step{
		transport.StepName, transport.StepTCP, transport.StepProxy, transport.StepTLS,
		transport.StepHTTP, transport.StepAuth, transport.StepAddress,
	}, step.Step)
}

// EndsSession reports whether the error of one lane ends the whole session.
func EndsSession(err error) bool {
	var closed *transport.CloseError
	all := []transport.Code{transport.CodeGoingAway, transport.CodeRestart, transport.CodeReplaced,
		transport.CodeRevoked}
	return errors.As(err, &closed) && closed.Remote && slices.Contains(all, closed.Code)
}
