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
)

// A question says what is to be asked.
type question struct {
	dev     string   // of the only client; "" for all
	hubs    []string // the state directories in which a server may run
	onlyHub bool
	// told of those that do not answer while others do; nil for nobody
	silent func(error)
}

// ask returns what answers. If nothing does, the error says so.
func (q question) ask(ctx context.Context) (status.Report, error) {
	report := status.Report{Schema: status.Schema, Clients: []status.Client{}}
	var refused error
	if !q.onlyHub {
		clients, err := q.clients(ctx)
		report.Clients, refused = append(report.Clients, clients...), err
	}
	for _, dir := range q.hubs {
		hub, err := control.NewClient(dir).Status(ctx)
		if err == nil {
			report.Hub = &hub
			break
		}
		refused = errors.Join(refused, unlessNone(err))
	}
	report.Time = time.Now()
	switch {
	case report.Hub != nil || len(report.Clients) > 0:
		if refused != nil && q.silent != nil {
			q.silent(refused)
		}
		return report, nil
	case q.dev != "":
		return report, nothing(refused, "no client with --dev "+q.dev+" runs here")
	case q.onlyHub:
		return report, nothing(refused, "no server runs here")
	}
	return report, nothing(refused, "no client or server runs here")
}

// clients returns the status of the clients of this network namespace, by their devices.
func (q question) clients(ctx context.Context) (all []status.Client, refused error) {
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
	answers, errs := make([]status.Client, len(sockets)), make([]error, len(sockets))
	var asked sync.WaitGroup
	for i, s := range sockets { // at once, because one that hangs takes its time
		asked.Go(func() { answers[i], errs[i] = control.ClientStatus(ctx, s.Dir, s.Name) })
	}
	asked.Wait()
	for i, err := range errs {
		if err == nil {
			answers[i].Dev = sockets[i].Dev // whatever it says
			all = append(all, answers[i])
		} else if !errors.Is(err, os.ErrPermission) || q.dev != "" { // another user's is not asked for
			refused = errors.Join(refused, unlessNone(err))
		}
	}
	slices.SortFunc(all, func(a, b status.Client) int { return strings.Compare(a.Dev, b.Dev) })
	return all, refused
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
