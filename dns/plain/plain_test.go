package plain

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// TestPlainQuery takes EDNS(0) off queries as net.Resolver writes them, in both forms, and nothing
// off any other.
func TestPlainQuery(t *testing.T) {
	question := dnsmessage.Question{Name: dnsmessage.MustNewName("server.example."),
		Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	pack := func(additionals ...dnsmessage.Resource) []byte {
		m := dnsmessage.Message{Header: dnsmessage.Header{ID: 1},
			Questions: []dnsmessage.Question{question}, Additionals: additionals}
		query, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return query
	}
	opt := func(options ...dnsmessage.Option) dnsmessage.Resource {
		r := dnsmessage.Resource{Body: &dnsmessage.OPTResource{Options: options}}
		if err := r.Header.SetEDNS0(1232, dnsmessage.RCodeSuccess, false); err != nil {
			t.Fatal(err)
		}
		return r
	}
	plain, edns := pack(), pack(opt())
	given := bytes.Clone(edns)
	if got := withoutEDNS(edns); !bytes.Equal(got, plain) || !bytes.Equal(edns, given) {
		t.Errorf("%x and %x; want %x and %x", got, edns, plain, given)
	}
	for _, query := range [][]byte{nil, {1}, plain, edns[:20],
		pack(opt(dnsmessage.Option{Code: 10, Data: []byte{1}})), pack(opt(), opt())} {
		if got := withoutEDNS(query); !bytes.Equal(got, query) {
			t.Errorf("%x; want %x", got, query)
		}
	}

	ours, theirs := net.Pipe()
	defer ours.Close()
	go func() {
		_, _ = (&plainTCP{theirs, 1}).Write(append(binary.BigEndian.AppendUint16(nil,
			uint16(len(edns))), edns...))
		_ = theirs.Close()
	}()
	want := append(binary.BigEndian.AppendUint16(nil, uint16(len(plain))), plain...)
	if got, err := io.ReadAll(ours); err != nil || !bytes.Equal(got, want) {
		t.Errorf("by TCP: %x, %v; want %x", got, err, want)
	}
}
