package privsep

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/admin/audit"
	"tunnel/host"
	"tunnel/packet"
	"tunnel/supervisor"
)

// Machine is what the parent does to the machine. Everything that is not in a method's arguments is
// the parent's own, from the flags. Methods may be called concurrently; those of the Host are not
// called before MakeDevice has returned.
type Machine interface {
	// MakeDevice makes the TUN device; the caller closes the file.
	MakeDevice(ctx context.Context) (file *os.File, name string, offload packet.Offload, err error)
	// OpenState opens the state directory with O_PATH, and makes it the worker's; the caller closes
	// it.
	OpenState() (dir *os.File, name string, err error)
	// OpenListener returns the listening socket of a flag (--metrics, --web), once there is the
	// device; without a flag that of a server, or a client's control socket. The caller closes it.
	OpenListener(ctx context.Context, flag string) (*os.File, error)
	// Open opens the file that the flag names, to read it; with next, the flag of what was read again.
	Open(flag string, next bool) (*os.File, error)
	// OpenConfig reads the configuration file again, and judges it; the caller closes the copy.
	OpenConfig() (copy *os.File, err error)
	// Adopt makes what OpenConfig has read last hold, for Open, RunHook and Allow, too.
	Adopt(ctx context.Context) error
	// RunHook runs the command of the flag for what was set; about is the session that it is about,
	// nil if it is about none.
	RunHook(ctx context.Context, flag string, set host.Want, about *audit.Entry) error
	// Record keeps entries in the audit log, and has the hooks about them run. It does not wait for
	// these.
	Record(ctx context.Context, entries []audit.Entry) error
	// Tell tells the service manager a state.
	Tell(supervisor.State)
	// Allow returns why the machine must not be given that, nil if it may.
	Allow(host.Want) error
	// Host returns that of the device.
	Host() *host.Host
	// Explain makes an error one of a person's.
	Explain(error) *Failure
}

// The worker's requests are held back beyond these: some for each connection, two a second for
// certificates.
const (
	requestRate  = 100 // a second
	requestBurst = 200
	maxRunning   = 16 // at once; one more is refused
	maxBypasses  = 64 // hosts at once
)

// requestLimit bounds one request, but for a hook, which may take as long as its device is up.
const requestLimit = 30 * time.Second

// closeLimit is how long a worker may live after it has closed its end of the socket pair: longer
// than wait needs to see that it has ended.
const closeLimit = 2 * outputLimit

// serve answers requests until the worker has ended, or sends what is none: it is then killed, for
// it is broken into. So is one that lives on without the socket pair.
func (p *Parent) serve(worker *os.Process) {
	defer p.cancel()
	for {
		err := p.budget.Wait(p.ctx)
		if err != nil {
			return
		}
		var r request
		file, err := p.channel.receive(r.decode)
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
		over := p.ctx.Err() != nil
		p.cancel() // what it has asked for
		if errors.Is(err, io.EOF) && !over {
			select {
			case <-p.ended:
				over = true
			case <-time.After(closeLimit):
				err = fmt.Errorf("%w: no request any more", ErrProtocol)
			}
		}
		if !over {
			p.kill(worker, err)
		}
		return
	}
}

// kill kills the worker for err, unless it has ended.
func (p *Parent) kill(worker *os.Process, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if worker.Kill() == nil {
		p.broken = err
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
		return p.channel.send(reply{ID: r.ID,
			Error: p.failure(errors.New("too many requests at once"))}, nil)
	}
	var ctx context.Context
	if r.Kind == kindHook {
		ctx, cancel = context.WithCancel(p.ctx)
	} else {
		ctx, cancel = context.WithTimeout(p.ctx, requestLimit)
	}
	p.running[r.ID] = cancel
	waits := r.Kind != kindOpen && r.Kind != kindReread && r.Kind != kindRecord
	if waits {
		p.work.Add(1)
	}
	go func() {
		defer cancel()
		if waits {
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

// well reports whether a request has what its kind needs, and nothing else.
func (r request) well() bool {
	bare := request{ID: r.ID, Kind: r.Kind}
	switch r.Kind {
	case kindDevice, kindState, kindReread, kindAdopt, kindDraw, kindUndo:
	case kindOpen:
		bare.Name, bare.Next = r.Name, r.Next
	case kindListen:
		bare.Name = r.Name
	case kindHook:
		bare.Name, bare.Entries = r.Name, r.Entries
		if len(r.Entries) > 1 {
			return false
		}
	case kindRecord:
		bare.Entries = r.Entries
		if len(r.Entries) == 0 || len(r.Entries) > audit.MaxBatch {
			return false
		}
	case kindTell:
		bare.Name = r.Name
		if !supervisor.State(r.Name).IsKnown() {
			return false
		}
	case kindOverlap:
		bare.Networks = r.Networks
		if slices.ContainsFunc(r.Networks, hasHostBits) {
			return false
		}
	case kindApply:
		bare.Want = r.Want
		if r.Want == nil || slices.ContainsFunc(r.Want.Routes,
			func(to host.Route) bool { return hasHostBits(to.Prefix) }) {
			return false
		}
	case kindBypass, kindNextHop:
		bare.Address, bare.Port = r.Address, r.Port
		if !r.Address.IsValid() || !isZone(r.Address) {
			return false
		}
	case kindRetain:
		bare.Addresses = r.Addresses
	default:
		return false
	}
	return r.Name == bare.Name && r.Next == bare.Next && r.Address == bare.Address &&
		r.Port == bare.Port && r.Want == bare.Want &&
		len(r.Networks) == len(bare.Networks) && len(r.Addresses) == len(bare.Addresses) &&
		len(r.Entries) == len(bare.Entries)
}

// hasHostBits reports whether a bit of n's address is set behind its length.
func hasHostBits(n netip.Prefix) bool { return n != n.Masked() }

// isZone reports whether a has no zone, or one that can be the name or the index of an interface
// (RFC 4007 section 11).
func isZone(a netip.Addr) bool {
	zone := a.Zone()
	return zone == "" || a.IsLinkLocalUnicast() && len(zone) < unix.IFNAMSIZ &&
		!strings.ContainsFunc(zone, func(r rune) bool {
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
		file, a.Dir, err = p.machine.OpenState()
		return a, file, err
	case kindOpen:
		file, err = p.machine.Open(r.Name, r.Next)
		return a, file, err
	case kindTell:
		p.tell(supervisor.State(r.Name))
		return a, nil, nil
	}
	p.mu.Lock()
	ready, applied := p.ready, p.applied
	p.mu.Unlock()
	if !ready {
		return a, nil, errEarly
	}
	h := p.machine.Host()
	switch r.Kind {
	case kindListen:
		file, err = p.machine.OpenListener(ctx, r.Name)
		return a, file, err
	case kindReread:
		file, err = p.machine.OpenConfig()
		return a, file, err
	case kindAdopt:
		return a, nil, p.machine.Adopt(ctx)
	case kindOverlap:
		return a, nil, p.overlap(ctx, h, r.Networks)
	case kindApply:
		return a, nil, p.apply(ctx, h, *r.Want)
	case kindDraw:
		return a, nil, h.Withdraw(ctx)
	case kindBypass:
		return a, nil, p.bypass(ctx, h, netip.AddrPortFrom(r.Address, r.Port))
	case kindRetain:
		return a, nil, p.retain(ctx, h, r.Addresses)
	case kindNextHop:
		hop, err := h.NextHop(ctx, netip.AddrPortFrom(r.Address, r.Port))
		return reply{NextHop: &hop}, nil, err
	case kindHook:
		if len(applied.Addresses) == 0 {
			return a, nil, errors.New("refused: a hook without addresses")
		}
		var about *audit.Entry
		if len(r.Entries) > 0 {
			about = &r.Entries[0]
		}
		return a, nil, p.machine.RunHook(ctx, r.Name, applied, about)
	case kindRecord:
		return a, nil, p.machine.Record(ctx, r.Entries)
	default: // kindUndo
		return a, nil, h.Release() //nolint:contextcheck // it has its own time
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
	if file, a.Device, a.Vnet, err = p.machine.MakeDevice(ctx); err == nil {
		p.mu.Lock()
		p.ready = true
		p.mu.Unlock()
	}
	return a, file, err
}

func (p *Parent) overlap(ctx context.Context, h *host.Host, networks []netip.Prefix) error {
	err := h.Overlap(ctx, networks...)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.judged = nil
	if err == nil {
		p.judged = networks
	}
	return err
}

// apply is Host.Apply for what the flags allow and overlaps nothing.
func (p *Parent) apply(ctx context.Context, h *host.Host, w host.Want) error {
	if err := p.machine.Allow(w); err != nil {
		p.log.Warn("refused a request of the worker", "err", err)
		return err
	}
	p.mu.Lock()
	judged := p.judged != nil && slices.Equal(p.judged, w.Networks())
	// else it is looked at again, and a hook may run meanwhile
	if p.judged = nil; !p.applied.Equal(w) {
		p.applied = host.Want{}
	}
	p.mu.Unlock()
	if !judged && len(w.Routes) > 0 {
		if err := h.Overlap(ctx, w.Networks()...); err != nil {
			return err
		}
	}
	err := h.Apply(ctx, w)
	if err == nil {
		p.mu.Lock()
		p.applied = w
		p.mu.Unlock()
	}
	return err
}

func (p *Parent) bypass(ctx context.Context, h *host.Host, server netip.AddrPort) error {
	p.mu.Lock()
	full := len(p.bypasses) >= maxBypasses && !p.bypasses[server.Addr()]
	if !full {
		p.bypasses[server.Addr()] = true
	}
	p.mu.Unlock()
	if full {
		return fmt.Errorf("refused: more than %d bypasses", maxBypasses)
	}
	return h.Bypass(ctx, server)
}

func (p *Parent) retain(ctx context.Context, h *host.Host, servers []netip.Addr) error {
	if err := h.Retain(ctx, servers...); err != nil {
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
