package status

import (
	"context"
	"errors"
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
