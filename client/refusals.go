package client

import (
	"errors"
	"slices"

	"tunnel/transport"
)

// refusals are the errors of the servers of a round, in the order in which they were tried.
type refusals struct {
	servers []int
	errs    map[int]error // by server
}

// note adds the error of an endpoint. Of several ports of one server, the error of the attempt that
// got furthest is kept.
func (v *refusals) note(t *endpoint, err error) {
	if v.errs == nil {
		v.errs = map[int]error{}
	}
	was, there := v.errs[t.server]
	if !there {
		v.servers = append(v.servers, t.server)
	}
	if !there || progress(err) > progress(was) {
		v.errs[t.server] = err
	}
}

// first returns the error of the server that was tried first, unless an attempt at another got
// further.
func (v *refusals) first() (err error) {
	for _, s := range v.servers {
		if !permanent(v.errs[s]) {
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
