package transport

import (
	"net"
	"slices"
	"testing"
)

// What the kernel may have, a message and a record are as long as the path's rate wants them, between their bounds.
func TestWorth(t *testing.T) {
	const mbit = 1e6 / 8
	for _, test := range []struct {
		rate                    uint64 // bytes a second
		unsent, message, record int
	}{
		{0, 32 << 10, 32 << 10, 2 << 10},
		{10 * mbit, 32 << 10, 32 << 10, 2 << 10},
		{50 * mbit, 32 << 10, 32 << 10, 8125},
		{100 * mbit, 37500, 32 << 10, 16250},
		{300 * mbit, 112500, 93750, 16 << 10},
		{10000 * mbit, 128 << 10, 192 << 10, 16 << 10},
	} {
		s := socket{rate: test.rate}
		for what, size := range map[string]struct{ got, want int }{
			"unsent":  {s.worth(unsentTime, minUnsent, maxUnsent), test.unsent},
			"message": {s.worth(messageTime, minBudget, maxBudget), test.message},
			"record":  {s.worth(recordTime, minRecord, maxRecord), test.record},
		} {
			if size.got != size.want {
				t.Errorf("%d B/s: %s of %d bytes; want %d", test.rate, what, size.got, size.want)
			}
		}
	}
}

// lengths is a connection that notes how long what is written to it is.
type lengths struct {
	net.Conn
	seen []int
}

func (l *lengths) Write(p []byte) (int, error) {
	l.seen = append(l.seen, len(p))
	return len(p), nil
}

// TLS gets no more at once than a record is to have.
func TestRecords(t *testing.T) {
	tls := &lengths{}
	o := output{wire: &wire{Conn: tls, under: &segments{out: new([]byte)}}, sock: socket{record: 2000}}
	if err := o.give(net.Buffers{make([]byte, 4500), make([]byte, 2000), make([]byte, 1)}); err != nil {
		t.Fatal(err)
	}
	if want := []int{2000, 2000, 500, 2000, 1}; !slices.Equal(tls.seen, want) {
		t.Errorf("TLS got %d bytes; want %d", tls.seen, want)
	}
}
