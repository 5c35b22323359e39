package connect

import (
	"fmt"
	"io"

	"tunnel/cli/output"
	"tunnel/transport"
)

// lines prints the lines on stdout that say whether the device is connected. They have no token:
// the server, which knows that of this client, may send it back as its reason to close.
type lines struct {
	w   io.Writer
	dev string
}

func newLines(stdout io.Writer, dev string) lines {
	return lines{w: output.WithoutTokens(stdout), dev: dev}
}

func (l lines) up(link transport.Link) {
	_, _ = fmt.Fprintf(l.w, "up: dev %s, address %s peer %s, network %s, mtu %d\n", l.dev,
		link.Address, link.Peer, link.Network, link.MTU)
}

func (l lines) sealed() {
	_, _ = fmt.Fprintln(l.w, "kill switch: nothing leaves this machine but by the tunnel, until a "+
		"stop by a signal or `tunnel cleanup`")
}

func (l lines) down(err error) { _, _ = fmt.Fprintf(l.w, "down: %v\n", err) }
