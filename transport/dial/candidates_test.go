package dial

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"tunnel/transport"
)

// An address is tried once, however often it is found; a guess that the resolver confirms is none
// any more.
func TestCandidates(t *testing.T) {
	var c candidates
	c.add(answer{addrs: addrs("192.0.2.9"), known: true})
	c.add(answer{addrs: addrs("192.0.2.1", "192.0.2.9", "2001:db8::1")})
	c.add(answer{addrs: addrs("192.0.2.1")})
	c.add(answer{addrs: addrs("192.0.2.9", "192.0.2.8"), known: true, last: true})
	var got []netip.Addr
	for a, _, ok := c.next(); ok; a, _, ok = c.next() {
		got = append(got, a)
	}
	if !slices.Equal(got, addrs("192.0.2.9", "2001:db8::1", "192.0.2.1")) || c.guess[got[0]] ||
		!slices.Equal(c.last, addrs("192.0.2.8")) {
		t.Errorf("tried %v, then %v; guesses %v", got, c.last, c.guess)
	}
}

// The error is that of the family with the worst failure.
func TestNameError(t *testing.T) {
	none, slow := &net.DNSError{Err: "no such host",
		IsNotFound: true}, &net.DNSError{Err: "i/o timeout", IsTimeout: true, Server: "10.1.1.1:53"}
	for _, test := range []struct {
		fails []error
		want  string
	}{
		{[]error{none}, "name: resolve h: no such host"},
		{[]error{none, slow}, "name: resolve h: the name server 10.1.1.1:53 does not answer"},
		{[]error{slow, none}, "name: resolve h: the name server 10.1.1.1:53 does not answer"},
		{nil, "name: resolve h: no such host"},
	} {
		if got := nameError("h", test.fails).Error(); got != test.want {
			t.Errorf("got %q; want %q", got, test.want)
		}
	}
}

// Zones of link-local addresses: by name, by index, unknown, none.
func TestZones(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{
		"fe80::1%lo": "fe80::1%lo", fmt.Sprintf("fe80::1%%%d", lo.Index): "fe80::1%lo",
		"2001:db8::1": "2001:db8::1", "2001:db8::1%lo": "2001:db8::1", "169.254.1.1": "169.254.1.1",
		"fe80::1": "tcp: connect to fe80::1: a link-local address needs its interface",
		"fe80::1%nothing0": "tcp: connect to fe80::1%nothing0: this machine has no interface " +
			"nothing0",
		"fe80::1%99999999": "tcp: connect to fe80::1%99999999: this machine has no interface " +
			"99999999",
	} {
		a := <-new(Dialer).search(t.Context(), host)
		got := fmt.Sprint(a.err)
		if a.err == nil {
			got = a.addrs[0].String()
		}
		if got != want {
			t.Errorf("%s: %s; want %s", host, got, want)
		}
	}
}

// A link-local address needs its interface, also where it comes from a name.
func TestNameLeadsToLinkLocal(t *testing.T) {
	_, err := new(Dialer).connectAddr(t.Context(), "[fe80::9]:8443")
	var step *transport.StepError
	if !errors.As(err, &step) ||
		!strings.Contains(err.Error(),
			"connect to fe80::9: a link-local address needs its interface") {
		t.Errorf("got %v", err)
	}
}
