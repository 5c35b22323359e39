package ws

import (
	"net"
	"slices"
	"testing"

	"tunnel/transport/tcp"
)

// lengths is a connection that notes how long what is written to it is.
type lengths struct {
	net.Conn
	seen []int
}

func (l *lengths) Write(p []byte) (int, error) {
	l.seen = append(l.seen, len(p))
	return l.Conn.Write(p)
}

// TLS gets no more at once than a record is to have.
func TestRecords(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	tls := &lengths{}
	w, err := tcp.New(conn, func(under net.Conn) net.Conn {
		tls.Conn = under
		return tls
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Gather()
	o := output{wire: w, tuner: &tcp.Tuner{Settings: tcp.Settings{Record: 2000}}}
	if err := o.encode(net.Buffers{make([]byte, 4500), make([]byte, 2000),
		make([]byte, 1)}); err != nil {
		t.Fatal(err)
	}
	if want := []int{2000, 2000, 500, 2000, 1}; !slices.Equal(tls.seen, want) {
		t.Errorf("TLS got %d bytes; want %d", tls.seen, want)
	}
}
