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
	if d.beside[""] != nil {
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
	ln, err := control.ListenClient(dir, name)
	if err == nil {
		d.beside[""] = ln
	}
	return ln, err
}

// closeControl removes the control socket, and those of other listeners, if there are any.
func (d *direct) closeControl() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, ln := range d.beside {
		_ = ln.Close() // who serves it may have done so
	}
}
