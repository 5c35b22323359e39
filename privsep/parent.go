package privsep

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"tunnel/host"
)

// ownProgram is the running program, also when another is installed in its place.
const ownProgram = "/proc/self/exe"

// stopLimit is how long a worker may take to stop before it is killed: its connections and hooks
// need two seconds at most.
const stopLimit = 5 * time.Second

// outputLimit bounds the time to read what a worker has written last.
const outputLimit = time.Second

// Parent is the process that keeps the privileges, and its worker. Make it with New, start it once
// with Run.
type Parent struct {
	// Stdout and Stderr get what the worker writes, in pieces; nil drops it. The worker has pipes
	// instead of this process's own, which could be a terminal, to read what is typed there, or a
	// log, to cut it off. Both must take it promptly and without an error, or the worker stands
	// still.
	Stdout, Stderr io.Writer
	// Watch is how often the worker is asked whether it is alive; 0 is never.
	Watch time.Duration
	// Reload has the worker ask for the configuration again each time that it receives; nil is never.
	Reload <-chan struct{}

	machine Machine
	log     *slog.Logger

	// requests, but for kindOpen, kindReread and kindRecord: a FIFO or a disk may keep them for ever
	work    sync.WaitGroup
	channel *channel
	budget  *rate.Limiter
	ctx     context.Context //nolint:containedctx // of all requests: it ends with the worker
	cancel  context.CancelFunc
	ended   chan struct{} // closed when the worker has ended
	asked   atomic.Bool   // whether it is alive, and has not answered yet

	mu       sync.Mutex
	running  map[uint32]context.CancelFunc // guarded by mu, as all below
	device   bool                          // MakeDevice was called
	ready    bool                          // and has made it
	judged   []netip.Prefix                // that Overlap has found free last
	applied  host.Want                     // what Apply finished last, or none
	bypasses map[netip.Addr]bool
	broken   error // why the worker was killed
}

// New returns a Parent that does to the machine what its worker asks for.
func New(machine Machine, log *slog.Logger) *Parent {
	return &Parent{
		machine: machine, log: log, budget: rate.NewLimiter(requestRate, requestBurst),
		running: map[uint32]context.CancelFunc{}, bypasses: map[netip.Addr]bool{},
		ended: make(chan struct{}),
	}
}

// Run starts a worker with the arguments args behind its name, serves it and returns its exit code.
// When ctx ends the worker is told to stop, and killed when it does not. The error is that it did
// not start, crashed, was killed, or sent what is no request; the code is then 1. What it had set
// is for the caller to undo.
func (p *Parent) Run(ctx context.Context, args []string) (code int, err error) {
	ours, theirs, err := pair()
	if err != nil {
		return 1, err
	}
	defer ours.close()
	p.channel = ours
	var cancel context.CancelFunc
	p.ctx, cancel = context.WithCancel(context.WithoutCancel(ctx))
	p.cancel = cancel
	defer cancel()

	cmd := exec.Command(ownProgram) //nolint:noctx // ctx tells it to stop, and stopLimit kills it
	cmd.Args = append([]string{workerName}, args...)
	cmd.Env = inherited(os.Environ())
	cmd.Stdout, cmd.Stderr = p.Stdout, p.Stderr
	cmd.WaitDelay = outputLimit
	cmd.ExtraFiles = []*os.File{theirs}
	// In a session of its own, no terminal is its controlling one: it cannot type into that.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error), make(chan error, 1)
	go func() {
		// Pdeathsig is about the thread that has started it (prctl(2)), and its session keyring is
		// that thread's, which therefore ends with this goroutine.
		runtime.LockOSThread()
		// The keyring of the process that started the program is not for the worker. No keyrings,
		// or a container's filter: then there is nothing to inherit, and the worker's filter
		// refuses it too.
		_, _ = unix.KeyctlJoinSessionKeyring("")
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	err = <-started
	_ = theirs.Close()
	if err != nil {
		if _, missing := os.Stat(ownProgram); missing != nil {
			err = errors.New("this machine has no /proc: " +
				"`mount -t proc proc /proc`, or start the container with one")
		}
		return 1, fmt.Errorf("start the worker: %w", err)
	}
	var serving sync.WaitGroup
	//nolint:contextcheck // p.ctx, which ends with the worker
	serving.Go(func() { p.serve(cmd.Process) })
	if p.Watch > 0 {
		serving.Go(p.ask)
	}
	serving.Go(p.reload)
	defer passSignals(cmd.Process)()
	code, err = p.wait(ctx, cmd.Process, ended)
	cancel()
	close(p.ended)
	ours.close()
	serving.Wait()
	p.work.Wait() // what is half done now is undone by the caller
	return code, err
}

// wait returns when the worker has ended.
func (p *Parent) wait(ctx context.Context, worker *os.Process, ended <-chan error) (int, error) {
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		// one that does not read has a full socket
		go func() { _ = p.channel.send(reply{Stop: true}, nil) }()
		select {
		case err = <-ended:
		case <-time.After(stopLimit):
			_ = worker.Kill()
			<-ended //nolint:errcheck // killed, as was to be
			return 1, fmt.Errorf("the worker did not stop within %v and was killed", stopLimit)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var exit *exec.ExitError
	switch {
	case p.broken != nil:
		return 1, fmt.Errorf("the worker was killed for what it asked: %w", p.broken)
	case err == nil || errors.Is(err, exec.ErrWaitDelay):
		return 0, nil
	case !errors.As(err, &exit):
		return 1, fmt.Errorf("wait for the worker: %w", err)
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	switch {
	case ok && status.Signaled() && isEnding(status.Signal()) && endsSoon(ctx):
		return 0, nil // a signal to both, before the worker could have taken it
	case ok && status.Signaled() && status.Signal() == syscall.SIGKILL:
		return 1, errors.New("the worker was ended by a signal: killed: " +
			"if nobody did it memory ran out, which the kernel's log (dmesg) says: start it again")
	case ok && status.Signaled():
		return 1, fmt.Errorf("the worker was ended by a signal: %v: "+
			"see its output above, if any, and report it", status.Signal())
	case exit.ExitCode() > exitOffset && exit.ExitCode() < 2*exitOffset:
		return exit.ExitCode() - exitOffset, nil
	}
	return 1, fmt.Errorf("the worker crashed (exit code %d): see its output above, and report it",
		exit.ExitCode())
}

// isEnding reports whether s is one by which a person, a terminal or a service manager ends a
// program.
func isEnding(s syscall.Signal) bool {
	return s == syscall.SIGTERM || s == syscall.SIGINT || s == syscall.SIGHUP
}

// endsSoon reports whether ctx ends: the signal that does it may reach this process a moment after
// the worker.
func endsSoon(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return true
	case <-time.After(signalLimit):
		return false
	}
}

// signalLimit is how much later than its worker this process may see a signal to both.
const signalLimit = 200 * time.Millisecond

// pair returns the two ends of a new socket pair.
func pair() (ours *channel, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "worker")
	if ours, err = newChannel(os.NewFile(uintptr(fds[0]), "parent")); err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}
