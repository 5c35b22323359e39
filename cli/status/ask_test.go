package status

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tunnel/admin/status"
	"tunnel/cli/failure"
	"tunnel/control"
	"tunnel/ipcmd/iptest"
	"tunnel/journal"
	"tunnel/transport/fq/meter"
)

// Of several clients, which are asked at once, each is found by its device, whatever it says that
// this is; those that were killed are none.
func TestAsk(t *testing.T) {
	iptest.Namespace(t)
	dir, err := journal.Dir()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var group, both sync.WaitGroup
	both.Add(2)
	for _, dev := range []string{"tun5", "tun1", "dead"} {
		name, err := journal.NameFor(dev)
		if err != nil {
			t.Fatal(err)
		}
		ln, err := control.ListenClient(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = control.RemoveStale(dir, name) })
		if dev == "dead" { // its name stays, and nobody answers
			name := filepath.Join(dir, name+control.ClientSuffix)
			if err := errors.Join(os.Rename(name, name+".kept"), ln.Close(),
				os.Rename(name+".kept", name)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		asked := sync.OnceFunc(both.Done)
		group.Go(func() {
			control.ServeClient(ctx, ln, clientOf(func() status.Client {
				asked()
				both.Wait()
				return status.Client{Dev: "lies"}
			}), control.Reloads{}, slog.New(slog.DiscardHandler))
		})
	}
	defer group.Wait()
	defer cancel()
	none := []string{filepath.Join(t.TempDir(), "none")}
	r, err := question{hubs: none}.ask(ctx)
	if err != nil || len(r.Clients) != 2 || r.Clients[0].Dev != "tun1" || r.Clients[1].Dev != "tun5" ||
		r.Hub != nil || r.Schema != status.Schema || r.Time.IsZero() {
		t.Errorf("found %+v, %v", r, err)
	}
	if r, err = (question{dev: "tun5"}).ask(ctx); err != nil || len(r.Clients) != 1 ||
		r.Clients[0].Dev != "tun5" {
		t.Errorf("found %+v, %v", r, err)
	}
	for want, q := range map[string]question{
		"no client with --dev tun7 runs here": {dev: "tun7"},
		"no server runs here":                 {hubs: none, onlyHub: true},
	} {
		var f *failure.Failure
		if _, err := q.ask(ctx); !errors.As(err, &f) || f.Step != failure.StepStatus ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// clientOf is a client that is asked.
type clientOf func() status.Client

func (f clientOf) Status() status.Client { return f() }

func (f clientOf) Flows(_ context.Context, during time.Duration) (status.Flows, error) {
	return status.Flows{Dev: f().Dev, Seconds: during.Seconds()}, nil
}

// A server of another user is nothing that was asked for, unless it is named; a server that is busy
// is not one that is missing.
func TestAskRefused(t *testing.T) {
	iptest.Namespace(t)
	denied := func(*control.Client) (status.Flows, error) { return status.Flows{}, os.ErrPermission }
	busy := func(*control.Client) (status.Flows, error) { return status.Flows{}, meter.ErrBusy }
	none := func(journal.Named) (status.Flows, error) { return status.Flows{}, control.ErrNoClient }
	hubs := []string{t.TempDir()}
	for _, c := range []struct {
		q    question
		hub  func(*control.Client) (status.Flows, error)
		want error
	}{
		{question{hubs: hubs}, denied, nil},
		{question{hubs: hubs, given: true}, denied, os.ErrPermission},
		{question{hubs: hubs, onlyHub: true}, denied, os.ErrPermission},
		{question{hubs: hubs}, busy, meter.ErrBusy},
	} {
		_, _, refused := gather(c.q, c.hub, none)
		if !errors.Is(refused, c.want) {
			t.Errorf("%+v: %v, want %v", c.q, refused, c.want)
		}
		told := error(nil)
		c.q.silent = func(err error) { told = err }
		if err := c.q.verdict(true, refused); err != nil || !errors.Is(told, c.want) {
			t.Errorf("%+v, with a client that answers: %v, told %v", c.q, err, told)
		}
	}
	err := question{}.verdict(false, fmt.Errorf("control.sock: %w", meter.ErrBusy))
	if want := "status: 4 measurements of flows run, and no more may at once: end another `tunnel " +
		"top`, or try again when one has ended"; err == nil || err.Error() != want {
		t.Errorf("busy: %v", err)
	}
}

// What is asked for is measured for the time that was asked for, and told with its device.
func TestAskFlows(t *testing.T) {
	iptest.Namespace(t)
	dir, err := journal.Dir()
	if err != nil {
		t.Fatal(err)
	}
	name, err := journal.NameFor("tun3")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := control.ListenClient(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = control.RemoveStale(dir, name) })
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() {
		control.ServeClient(ctx, ln, clientOf(func() status.Client {
			return status.Client{Dev: "lies"}
		}), control.Reloads{}, slog.New(slog.DiscardHandler))
	})
	q := question{hubs: []string{filepath.Join(t.TempDir(), "none")}}
	r, err := q.flows(ctx, time.Second)
	if err != nil || r.Hub != nil || len(r.Clients) != 1 || r.Clients[0].Dev != "tun3" ||
		r.Clients[0].Seconds != 1 || r.Schema != status.Schema || r.Time.IsZero() {
		t.Errorf("%+v, %v", r, err)
	}
}
