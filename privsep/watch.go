package privsep

import (
	"time"

	"tunnel/supervisor"
)

// ask asks the worker every Watch whether it is alive, until it has ended. One that has not
// answered is not asked again: it may not read either, and its socket would be full.
func (p *Parent) ask() {
	ticker := time.NewTicker(p.Watch)
	defer ticker.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-ticker.C:
			if !p.asked.Swap(true) {
				_ = p.channel.send(reply{Ask: true}, nil) // it may have ended
			}
		}
	}
}

// tell tells the service manager a state of the worker. Alive counts only as an answer: a worker
// that says it by itself does not keep a parent alive that is stuck.
func (p *Parent) tell(s supervisor.State) {
	if s != supervisor.Alive || p.asked.Swap(false) {
		p.machine.Tell(s)
	}
}

// OnAsk sets what must return before the worker answers that it is alive: it takes the locks
// without which no packet is carried.
func (w *Worker) OnAsk(check func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.check = check
}

// answer answers that the worker is alive, after check has returned.
func (w *Worker) answer(check func()) {
	if check != nil {
		check()
	}
	w.Tell(supervisor.Alive)
}

// reload tells the worker to have the configuration read again whenever Reload receives, until the
// worker has ended.
func (p *Parent) reload() {
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-p.Reload:
			_ = p.channel.send(reply{Reload: true}, nil) // it may have ended
		}
	}
}
