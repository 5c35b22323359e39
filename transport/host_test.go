package transport

import "testing"

// The other side is told no zone: it has a meaning here only.
func TestPeerHost(t *testing.T) {
	for in, want := range map[string]string{
		"ws://[fe80::1%25eth0]:1": "fe80::1", "ws://[fe80::1%eth0]:1": "fe80::1",
		"ws://[2001:db8::1]": "2001:db8::1", "ws://192.0.2.1": "192.0.2.1",
		"ws://under_score.example": "under_score.example",
		"wss://straße.example":     "xn--strae-oqa.example", "ws://Server": "Server",
	} {
		u, err := ParseURL(in)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := PeerHost(u); got != want {
			t.Errorf("%s: %s; want %s", in, got, want)
		}
	}
}

// A zone may be written in a URL with or without the escape of RFC 6874.
func TestZoneInURL(t *testing.T) {
	for in, want := range map[string]string{
		"ws://[fe80::1%25eth0]:1": "fe80::1%eth0", "ws://[fe80::1%eth0]:1/p": "fe80::1%eth0",
		"ws://[fe80::1%eth0]": "fe80::1%eth0",
		"ws://[fe80::1%2]:1":  "fe80::1%2", "ws://h/[%25]": "h", "ws://h/?a=://[%25": "h",
	} {
		if u, err := ParseURL(in); err != nil || u.Hostname() != want {
			t.Errorf("%s: %v, %v; want %s", in, u, err, want)
		}
	}
	for _, in := range []string{"http://[fe80::1%eth0]:1", "[fe80::1%eth0]:1",
		"[fe80::1%25eth0]:1"} {
		if u, err := ParseProxy(in); err != nil || u.Hostname() != "fe80::1%eth0" {
			t.Errorf("proxy %s: %v, %v", in, u, err)
		}
	}
}
