package privsep

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"tunnel/admin/audit"
	"tunnel/host"
	"tunnel/route"
	"tunnel/supervisor"
	"tunnel/tun"
)

// workerName is the worker's argv[0], by which it and a person who lists processes know what it is.
const workerName = "tunnel-worker"

// workerFD is where the worker finds its end of the socket pair.
const workerFD = 3

// exitOffset is in the exit code of a worker that came to its end by itself: the Go runtime ends a
// program that crashes with 2, which must not be taken for a failure that the worker has explained.
const exitOffset = 64

// ExitCode returns what a worker must exit with for Parent.Run to return code, from 0 to 63.
func ExitCode(code int) int {
	if code == 0 {
		return 0
	}
	return exitOffset + code
}

// IsWorker reports whether the process that was started with these arguments is a worker.
func IsWorker(args []string) bool { return len(args) > 0 && args[0] == workerName }

// Worker is the parent, as its worker sees it: what it asks for the parent does. It is a
// client.Host once Device has returned. Methods may be called concurrently.
type Worker struct {
	channel *channel
	lost    func(error)

	mu      sync.Mutex
	next    uint32                 // guarded by mu, as all below
	waiting map[uint32]chan answer // by the request's ID
	stop    func()                 // nil until OnStop
	stopped bool
	check   func() // nil until OnAsk
}

type answer struct {
	reply
	file *os.File
}

// Inherit returns the worker's side of the socket pair that its parent has left open. When the
// parent ends, or sends what is no message, lost is called: it must end this process at once.
func Inherit(lost func(error)) (*Worker, error) {
	unix.CloseOnExec(workerFD)
	c, err := newChannel(os.NewFile(workerFD, "parent"))
	if err != nil {
		return nil, fmt.Errorf("%s is started by tunnel serve and connect only: %w", workerName,
			err)
	}
	// Else a list of processes would show the "exe" of /proc/self/exe. The name decides nothing.
	_ = os.WriteFile("/proc/self/comm", []byte(workerName), 0)
	w := &Worker{channel: c, lost: lost, waiting: map[uint32]chan answer{}}
	go w.read()
	return w, nil
}

// OnStop sets what to do when the parent says to stop, at once if it has said so.
func (w *Worker) OnStop(stop func()) {
	w.mu.Lock()
	w.stop = stop
	stopped := w.stopped
	w.mu.Unlock()
	if stopped {
		stop()
	}
}

// read gives out what the parent sends, until the parent ends.
func (w *Worker) read() {
	for {
		var r reply
		file, err := w.channel.receive(func(data []byte) error { return decode(data, &r) })
		if err != nil {
			w.lost(err)
			return
		}
		w.mu.Lock()
		if r.Stop {
			w.stopped = true
			if w.stop != nil {
				w.stop()
			}
		}
		if r.Ask {
			go w.answer(w.check)
		}
		to := w.waiting[r.ID]
		delete(w.waiting, r.ID)
		w.mu.Unlock()
		if to != nil {
			to <- answer{r, file}
		} else if file != nil {
			_ = file.Close()
		}
	}
}

// call sends a request and waits for its answer. When ctx ends first the parent is told, and its
// answer awaited: what was asked for may be half done before.
func (w *Worker) call(ctx context.Context, r request) (answer, error) {
	if err := ctx.Err(); err != nil {
		return answer{}, err
	}
	to := make(chan answer, 1)
	w.mu.Lock()
	w.next++
	r.ID = w.next
	w.waiting[r.ID] = to
	w.mu.Unlock()
	if err := w.channel.send(r, nil); err != nil {
		w.mu.Lock()
		delete(w.waiting, r.ID)
		w.mu.Unlock()
		return answer{}, fmt.Errorf("ask the parent: %w", err)
	}
	defer context.AfterFunc(ctx, func() {
		_ = w.channel.send(request{ID: r.ID, Kind: kindCancel},
			nil)
	})()
	a := <-to // or this process ends, with the parent
	if a.Error != nil {
		if a.file != nil {
			_ = a.file.Close()
		}
		if ctx.Err() != nil {
			return answer{}, errors.Join(ctx.Err(), a.Error)
		}
		return answer{}, a.Error
	}
	return a, nil
}

// file is call for an answer that is a file.
func (w *Worker) file(ctx context.Context, r request) (answer, error) {
	a, err := w.call(ctx, r)
	if err == nil && a.file == nil {
		err = fmt.Errorf("ask the parent for %s: %w: no file", r.Kind, ErrProtocol)
	}
	return a, err
}

// Device returns the TUN device that the parent has made by the flags. The parent has no part in it
// any more.
func (w *Worker) Device(ctx context.Context) (tun.Device, error) {
	a, err := w.file(ctx, request{Kind: kindDevice})
	if err != nil {
		return nil, err
	}
	return tun.Use(a.file, a.Device, a.Vnet)
}

// State returns the state directory of the flags, opened with O_PATH, and its name for people. The
// caller closes it.
func (w *Worker) State(ctx context.Context) (*os.File, string, error) {
	a, err := w.file(ctx, request{Kind: kindState})
	return a.file, a.Dir, err
}

// Listen returns a listener where the flags say, or at a client's control socket.
func (w *Worker) Listen(ctx context.Context) (net.Listener, error) {
	return w.ListenAt(ctx, "")
}

// ListenAt returns the listener of a flag, which must have been given.
func (w *Worker) ListenAt(ctx context.Context, flag string) (net.Listener, error) {
	a, err := w.file(ctx, request{Kind: kindListen, Name: flag})
	if err != nil {
		return nil, err
	}
	defer func() { _ = a.file.Close() }()
	return net.FileListener(a.file)
}

// Open opens the file that a flag names, to read it.
func (w *Worker) Open(flag string) (*os.File, error) {
	a, err := w.file(context.Background(), request{Kind: kindOpen, Name: flag})
	return a.file, err
}

// Hook runs the command of a flag to its end, or until ctx ends. It gets the addresses that Apply
// gave last, and the session that it is about, if that has an Event; it must be tidy.
func (w *Worker) Hook(ctx context.Context, flag string, about audit.Entry) error {
	r := request{Kind: kindHook, Name: flag}
	if about.Event != "" {
		r.Entries = []audit.Entry{about}
	}
	_, err := w.call(ctx, r)
	return err
}

// Record has entries kept in the audit log, and the hooks about them run.
func (w *Worker) Record(ctx context.Context, entries []audit.Entry) error {
	_, err := w.call(ctx, request{Kind: kindRecord, Entries: entries})
	return err
}

// Tell tells the service manager a state, if there is one.
func (w *Worker) Tell(s supervisor.State) {
	// It fails only with the parent, which ends this process.
	_, _ = w.call(context.Background(), request{Kind: kindTell, Name: string(s)})
}

// Overlap is host.Host's.
func (w *Worker) Overlap(ctx context.Context, networks ...netip.Prefix) error {
	_, err := w.call(ctx, request{Kind: kindOverlap, Networks: networks})
	return err
}

// Apply is host.Host's.
func (w *Worker) Apply(ctx context.Context, want host.Want) error {
	_, err := w.call(ctx, request{Kind: kindApply, Want: &want})
	return err
}

// Withdraw is host.Host's.
func (w *Worker) Withdraw(ctx context.Context) error {
	_, err := w.call(ctx, request{Kind: kindDraw})
	return err
}

// Bypass is host.Host's.
func (w *Worker) Bypass(ctx context.Context, server netip.AddrPort) error {
	_, err := w.call(ctx, request{Kind: kindBypass, Address: server.Addr(), Port: server.Port()})
	return err
}

// Retain is host.Host's.
func (w *Worker) Retain(ctx context.Context, servers ...netip.Addr) error {
	_, err := w.call(ctx, request{Kind: kindRetain, Addresses: servers})
	return err
}

// NextHop is host.Host's.
func (w *Worker) NextHop(ctx context.Context, server netip.AddrPort) (route.NextHop, error) {
	a, err := w.call(ctx, request{Kind: kindNextHop, Address: server.Addr(), Port: server.Port()})
	if err != nil || a.NextHop == nil {
		return route.NextHop{}, err
	}
	return *a.NextHop, nil
}

// Close is host.Host's Release: it undoes what was set but a kill switch. The parent stays, and
// decides about that.
func (w *Worker) Close() error {
	_, err := w.call(context.Background(), request{Kind: kindUndo})
	return err
}

// Lost explains the end of the parent.
func Lost(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the parent process has ended")
	}
	return fmt.Errorf("the parent process: %w", err)
}
