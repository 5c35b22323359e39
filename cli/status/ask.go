package status

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"tunnel/admin/status"
	"tunnel/cli/failure"
	"tunnel/control"
	"tunnel/journal"
	"tunnel/transport/fq/meter"
)

// A question says what is to be asked.
type question struct {
	dev     string   // of the only client; "" for all
	hubs    []string // the state directories in which a server may run
	given   bool     // the user has named that of hubs
	onlyHub bool
	// told of those that do not answer while others do; nil for nobody
	silent func(error)
}

// ask returns what answers. If nothing does, the error says so.
func (q question) ask(ctx context.Context) (status.Report, error) {
	hub, clients, refused := gather(q,
		func(c *control.Client) (status.Hub, error) { return c.Status(ctx) },
		func(s journal.Named) (status.Client, error) {
			c, err := control.ClientStatus(ctx, s.Dir, s.Name)
			c.Dev = s.Dev // whatever it says
			return c, err
		})
	return status.Report{Schema: status.Schema, Time: time.Now(), Hub: hub, Clients: clients},
		q.verdict(hub != nil || len(clients) > 0, refused)
}

// flows returns the flows of what answers, measured for that time. If nothing does, the error says
// so.
func (q question) flows(ctx context.Context, during time.Duration) (status.FlowsReport, error) {
	hub, clients, refused := gather(q,
		func(c *control.Client) (status.Flows, error) { return c.Flows(ctx, during) },
		func(s journal.Named) (status.Flows, error) {
			f, err := control.ClientFlows(ctx, s.Dir, s.Name, during)
			f.Dev = s.Dev
			return f, err
		})
	return status.FlowsReport{Schema: status.Schema, Time: time.Now(), Hub: hub, Clients: clients},
		q.verdict(hub != nil || len(clients) > 0, refused)
}

// verdict returns the failure of a question that nobody has answered. If some have, it tells of
// those that have refused.
func (q question) verdict(answered bool, refused error) error {
	switch {
	case answered:
		if refused != nil && q.silent != nil {
			q.silent(refused)
		}
		return nil
	case q.dev != "":
		return nothing(refused, "no client with --dev "+q.dev+" runs here")
	case q.onlyHub:
		return nothing(refused, "no server runs here")
	}
	return nothing(refused, "no client or server runs here")
}

// gather asks the server that q names, and the clients of this network namespace, by their devices.
// They are asked at once, because one that hangs takes its time. hub is nil if none answers, and
// refused is why others do not. Another user's is nothing that was asked for, unless q names it.
func gather[H, C any](q question, ofHub func(*control.Client) (H, error),
	ofClient func(journal.Named) (C, error)) (hub *H, clients []C, refused error) {
	clients = []C{}
	sockets, refused := q.sockets()
	answers, errs := make([]C, len(sockets)), make([]error, len(sockets))
	var asked sync.WaitGroup
	for i, s := range sockets {
		asked.Go(func() { answers[i], errs[i] = ofClient(s) })
	}
	for _, dir := range q.hubs {
		answer, err := ofHub(control.NewClient(dir))
		if err == nil {
			hub = &answer
			break
		}
		if q.onlyHub || q.given || !errors.Is(err, os.ErrPermission) {
			refused = errors.Join(refused, unlessNone(err))
		}
	}
	asked.Wait()
	for i, err := range errs {
		if err == nil {
			clients = append(clients, answers[i])
		} else if !errors.Is(err, os.ErrPermission) || q.dev != "" {
			refused = errors.Join(refused, unlessNone(err))
		}
	}
	return hub, clients, refused
}

// sockets returns the control sockets of the clients that q names, by their devices.
func (q question) sockets() ([]journal.Named, error) {
	if q.onlyHub {
		return nil, nil
	}
	dirs, err := journal.Dirs()
	if err != nil {
		return nil, err
	}
	sockets, err := journal.Beside(dirs, control.ClientSuffix)
	if err != nil {
		return nil, err
	}
	if q.dev != "" {
		sockets = slices.DeleteFunc(sockets, func(s journal.Named) bool { return s.Dev != q.dev })
	}
	slices.SortFunc(sockets, func(a, b journal.Named) int { return strings.Compare(a.Dev, b.Dev) })
	return sockets, nil
}

// unlessNone returns err, or nil if it says that nobody is there.
func unlessNone(err error) error {
	if errors.Is(err, control.ErrNoServer) || errors.Is(err, control.ErrNoClient) {
		return nil
	}
	return err
}

// nothing returns the failure of a question that nobody has answered; refused is why, if somebody
// is there.
func nothing(refused error, what string) error {
	if errors.Is(refused, meter.ErrBusy) {
		return failure.New(failure.StepStatus, meter.ErrBusy,
			"end another `tunnel top`, or try again when one has ended")
	}
	err, advice := errors.New(what), "start it in this network namespace, or name the directory of a "+
		"server with --state DIR"
	if refused != nil {
		err, advice = fmt.Errorf("%s that answers: %w", what, refused), "see its log"
	}
	if os.Geteuid() != 0 {
		advice = "root's are asked with sudo"
	}
	return failure.New(failure.StepStatus, err, advice)
}
