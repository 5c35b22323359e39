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
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"tunnel/packet"
	"tunnel/route"
)

// Host is what the parent does to the machine. Everything that is not in a method's arguments is the parent's own, from the
// flags. Methods may be called concurrently; those of the Router are not called before MakeDevice has returned.
type Host interface {
	// MakeDevice makes the TUN device; the caller closes the file.
	MakeDevice(ctx context.Context) (file *os.File, name string, offload packet.Offload, err error)
	// OpenState opens the state directory with O_PATH, and makes it the worker's; the caller closes it.
	OpenState() (dir *os.File, name string, err error)
	// OpenListener returns a listening socket; the caller closes it.
	OpenListener(ctx context.Context) (*os.File, error)
	// Open opens the file that the flag names, to read it.
	Open(flag string) (*os.File, error)
	// RunHook runs the command of the flag for what was set.
	RunHook(ctx context.Context, flag string, set route.Config) error
	// Allow returns why the device must not be given that, nil if it may.
	Allow(route.Config) error
	// Router returns that of the device.
	Router() *route.Router
	// Explain makes an error one of a person's.
	Explain(error) *Failure
}

// The worker's requests are held back beyond these: some for each connection, two a second for certificates.
const (
	requestRate  = 100 // a second
	requestBurst = 200
	maxRunning   = 16 // at once; one more is refused
	maxBypasses  = 64 // hosts at once
)

// ownProgram is the running program, also when another is installed in its place.
const ownProgram = "/proc/self/exe"

// requestLimit bounds one request, but for a hook, which may take as long as its device is up.
const requestLimit = 30 * time.Second

// stopLimit is how long a worker may take to stop before it is killed: its connections and hooks need two seconds at most.
const stopLimit = 5 * time.Second

// outputLimit bounds the time to read what a worker has written last.
const outputLimit = time.Second

// Parent is the process that keeps the privileges, and its worker. Make it with New, start it once with Run.
type Parent struct {
	// Stdout and Stderr get what the worker writes, in pieces; nil drops it. The worker has pipes
	// instead of this process's own, which could be a terminal, to read what is typed there, or a log,
	// to cut it off. Both must take it promptly and without an error, or the worker stands still.
	Stdout, Stderr io.Writer

	host Host
	log  *slog.Logger
	user User

	work    sync.WaitGroup // requests, but for kindOpen: a FIFO may keep it for ever
	channel *channel
	budget  *rate.Limiter
	ctx     context.Context //nolint:containedctx // of all requests: it ends with the worker
	cancel  context.CancelFunc

	mu       sync.Mutex
	running  map[uint32]context.CancelFunc // guarded by mu, as all below
	device   bool                          // MakeDevice was called
	ready    bool                          // and has made it
	judged   netip.Prefix                  // that Overlap has found free last
	set      route.Config                  // what Set finished last, or zero
	bypasses map[netip.Addr]bool
	broken   error // why the worker was killed
}

// New returns a Parent whose worker will be the user.
func New(host Host, user User, log *slog.Logger) *Parent {
	return &Parent{
		host: host, user: user, log: log, budget: rate.NewLimiter(requestRate, requestBurst),
		running: map[uint32]context.CancelFunc{}, bypasses: map[netip.Addr]bool{},
	}
}

// Run starts a worker with the arguments args behind its name, serves it and returns its exit code. When ctx ends the worker
// is told to stop, and killed when it does not. The error is that it did not start, crashed, was killed, or sent what is no
// request; the code is then 1. What it had set is for the caller to undo.
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
		// Pdeathsig is about the thread that has started it (prctl(2)), and its session keyring is that
		// thread's, which therefore ends with this goroutine.
		runtime.LockOSThread()
		// What whoever started the program has in the keyring is not for the worker. No keyrings, or a
		// container's filter: then there is nothing to inherit, and the worker's filter refuses it too.
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
			err = errors.New("this machine has no /proc: `mount -t proc proc /proc`, or start the container with one")
		}
		return 1, fmt.Errorf("start the worker: %w", err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { p.serve(cmd.Process) }) //nolint:contextcheck // p.ctx, which ends with the worker
	defer passSignals(cmd.Process)()
	code, err = p.wait(ctx, cmd.Process, ended)
	cancel()
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
		go func() { _ = p.channel.send(reply{Stop: true}, nil) }() // one that does not read has a full socket
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
		return 1, errors.New("the worker was ended by a signal: killed: if nobody did it memory ran out, which the kernel's " +
			"log (dmesg) says: start it again")
	case ok && status.Signaled():
		return 1, fmt.Errorf("the worker was ended by a signal: %v: see its output above, if any, and report it", status.Signal())
	case exit.ExitCode() > exitOffset && exit.ExitCode() < 2*exitOffset:
		return exit.ExitCode() - exitOffset, nil
	}
	return 1, fmt.Errorf("the worker crashed (exit code %d): see its output above, and report it", exit.ExitCode())
}

// isEnding reports whether s is one by which a person, a terminal or a service manager ends a program.
func isEnding(s syscall.Signal) bool {
	return s == syscall.SIGTERM || s == syscall.SIGINT || s == syscall.SIGHUP
}

// endsSoon reports whether ctx ends: the signal that does it may reach this process a moment after the worker.
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

// serve answers requests until the worker has ended, or sends what is none: it is then killed, for it is broken into.
func (p *Parent) serve(worker *os.Process) {
	defer p.cancel()
	for {
		err := p.budget.Wait(p.ctx)
		if err != nil {
			return
		}
		var r request
		file, err := p.channel.receive(&r)
		if file != nil {
			_ = file.Close()
			err = fmt.Errorf("%w: with a file", ErrProtocol)
		}
		if err == nil {
			err = p.take(r)
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, io.EOF) && p.ctx.Err() == nil {
			p.mu.Lock()
			p.broken = err
			p.mu.Unlock()
			_ = worker.Kill()
		}
		return
	}
}

// take begins with a request.
func (p *Parent) take(r request) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	cancel, known := p.running[r.ID]
	switch {
	case r.Kind == kindCancel:
		if known {
			cancel()
		}
		return nil
	case known || r.ID == 0:
		return fmt.Errorf("%w: a request's number again", ErrProtocol)
	case !r.well():
		return fmt.Errorf("%w: %.20q is no request", ErrProtocol, r.Kind)
	case len(p.running) >= maxRunning:
		return p.channel.send(reply{ID: r.ID, Error: p.failure(errors.New("too many requests at once"))}, nil)
	}
	var ctx context.Context
	if r.Kind == kindHook {
		ctx, cancel = context.WithCancel(p.ctx)
	} else {
		ctx, cancel = context.WithTimeout(p.ctx, requestLimit)
	}
	p.running[r.ID] = cancel
	if r.Kind != kindOpen {
		p.work.Add(1)
	}
	go func() {
		defer cancel()
		if r.Kind != kindOpen {
			defer p.work.Done()
		}
		answer, file, err := p.do(ctx, r)
		p.mu.Lock()
		delete(p.running, r.ID)
		p.mu.Unlock()
		answer.ID = r.ID
		if err != nil {
			answer = reply{ID: r.ID, Error: p.failure(err)}
		}
		if err := p.channel.send(answer, file); err != nil && p.ctx.Err() == nil {
			p.log.Debug("the worker does not take an answer", "err", err)
		}
		if file != nil {
			_ = file.Close()
		}
	}()
	return nil
}

// failure makes err fit into a message.
func (p *Parent) failure(err error) *Failure {
	f := p.host.Explain(err)
	f = &Failure{Step: f.Step, Text: f.Text[:min(len(f.Text), maxText)], Advice: f.Advice[:min(len(f.Advice), maxText)]}
	if at := slices.IndexFunc(causes(), func(cause error) bool { return errors.Is(err, cause) }); at >= 0 {
		f.Cause = causes()[at].Error()
	}
	return f
}

// well reports whether a request has what its kind needs, and nothing else.
func (r request) well() bool {
	bare := request{ID: r.ID, Kind: r.Kind}
	switch r.Kind {
	case kindDevice, kindState, kindListen, kindDraw, kindUndo:
	case kindOpen, kindHook:
		bare.Name = r.Name
	case kindOverlap:
		bare.Network = r.Network
	case kindSet:
		bare.Config = r.Config
		if r.Config == nil {
			return false
		}
	case kindBypass, kindWay:
		bare.Address = r.Address
		if !r.Address.IsValid() || !isZone(r.Address) {
			return false
		}
	case kindRetain:
		bare.Addresses = r.Addresses
	default:
		return false
	}
	return r.Name == bare.Name && r.Address == bare.Address && r.Network == bare.Network && r.Config == bare.Config &&
		len(r.Addresses) == len(bare.Addresses)
}

// isZone reports whether a has no zone, or one that can be the name or the index of an interface (RFC 4007 section 11).
func isZone(a netip.Addr) bool {
	zone := a.Zone()
	return zone == "" || a.IsLinkLocalUnicast() && len(zone) < unix.IFNAMSIZ && !strings.ContainsFunc(zone, func(r rune) bool {
		return r <= ' ' || r > '~' || r == '/' || r == '%'
	})
}

// errEarly refuses what needs the device.
var errEarly = errors.New("refused: there is no device yet")

// do does what a request asks for.
func (p *Parent) do(ctx context.Context, r request) (a reply, file *os.File, err error) {
	switch r.Kind {
	case kindDevice:
		return p.makeDevice(ctx)
	case kindState:
		file, a.Dir, err = p.host.OpenState()
		return a, file, err
	case kindListen:
		file, err = p.host.OpenListener(ctx)
		return a, file, err
	case kindOpen:
		file, err = p.host.Open(r.Name)
		return a, file, err
	}
	p.mu.Lock()
	ready, set := p.ready, p.set
	p.mu.Unlock()
	if !ready {
		return a, nil, errEarly
	}
	router := p.host.Router()
	switch r.Kind {
	case kindOverlap:
		return a, nil, p.overlap(ctx, router, r.Network)
	case kindSet:
		return a, nil, p.apply(ctx, router, *r.Config)
	case kindDraw:
		return a, nil, router.Withdraw(ctx)
	case kindBypass:
		return a, nil, p.bypass(ctx, router, r.Address)
	case kindRetain:
		return a, nil, p.retain(ctx, router, r.Addresses)
	case kindWay:
		way, err := router.Way(ctx, r.Address)
		return reply{Way: &way}, nil, err
	case kindHook:
		if set == (route.Config{}) {
			return a, nil, errors.New("refused: a hook without addresses")
		}
		return a, nil, p.host.RunHook(ctx, r.Name, set)
	default: // kindUndo
		return a, nil, router.Close() //nolint:contextcheck // it has its own time
	}
}

func (p *Parent) makeDevice(ctx context.Context) (a reply, file *os.File, err error) {
	p.mu.Lock()
	again := p.device
	p.device = true
	p.mu.Unlock()
	if again {
		return a, nil, errors.New("refused: the device is made once")
	}
	if file, a.Device, a.Vnet, err = p.host.MakeDevice(ctx); err == nil {
		p.mu.Lock()
		p.ready = true
		p.mu.Unlock()
	}
	return a, file, err
}

func (p *Parent) overlap(ctx context.Context, router *route.Router, network netip.Prefix) error {
	err := router.Overlap(ctx, network)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.judged = netip.Prefix{}
	if err == nil {
		p.judged = network.Masked()
	}
	return err
}

// apply is Router.Set for what the flags allow and overlaps nothing.
func (p *Parent) apply(ctx context.Context, router *route.Router, c route.Config) error {
	if err := p.host.Allow(c); err != nil {
		p.log.Warn("refused a request of the worker", "err", err)
		return err
	}
	p.mu.Lock()
	judged := p.judged == c.Network.Masked()
	if p.judged = (netip.Prefix{}); p.set != c { // else it is looked at again, and a hook may run meanwhile
		p.set = route.Config{}
	}
	p.mu.Unlock()
	if !judged {
		if err := router.Overlap(ctx, c.Network); err != nil {
			return err
		}
	}
	err := router.Set(ctx, c)
	if err == nil {
		p.mu.Lock()
		p.set = c
		p.mu.Unlock()
	}
	return err
}

func (p *Parent) bypass(ctx context.Context, router *route.Router, server netip.Addr) error {
	p.mu.Lock()
	full := len(p.bypasses) >= maxBypasses && !p.bypasses[server]
	if !full {
		p.bypasses[server] = true
	}
	p.mu.Unlock()
	if full {
		return fmt.Errorf("refused: more than %d bypasses", maxBypasses)
	}
	return router.Bypass(ctx, server)
}

func (p *Parent) retain(ctx context.Context, router *route.Router, servers []netip.Addr) error {
	if err := router.Retain(ctx, servers...); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := map[netip.Addr]bool{}
	for _, s := range servers {
		if p.bypasses[s] {
			kept[s] = true
		}
	}
	p.bypasses = kept
	return nil
}
