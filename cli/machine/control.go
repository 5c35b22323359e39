package machine

import (
	"errors"
	"net"

	"tunnel/control"
	"tunnel/journal"
)

// listenControl makes the control socket of a client, whose device this process holds, once. End
// removes it.
func (d *direct) listenControl() (net.Listener, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.control != nil {
		return nil, errors.New("refused: the control socket is made once")
	}
	dir, err := journal.Dir()
	if err != nil {
		return nil, err
	}
	name, err := journal.NameFor(d.now().Common.Dev)
	if err != nil {
		return nil, err
	}
	d.control, err = control.ListenClient(dir, name)
	return d.control, err
}

// closeControl removes the control socket, and that of --metrics, if there are any.
func (d *direct) closeControl() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, ln := range []net.Listener{d.control, d.metrics} {
		if ln != nil {
			_ = ln.Close() // who serves it may have done so
		}
	}
}
