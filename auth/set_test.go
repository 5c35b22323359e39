package auth

import (
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func networks(texts ...string) *[]netip.Prefix {
	all := []netip.Prefix{}
	for _, s := range texts {
		all = append(all, netip.MustParsePrefix(s))
	}
	return &all
}

// A change is in the file when Set returns, and what it does not name stays.
func TestSet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s, shut := reopen(t, path)
	s.SetFlag(strings.Repeat("x", MinTokenLen))
	create(t, s, Spec{Name: "site", Routes: *networks("192.168.0.0/16")})
	text := create(t, s, Spec{Name: "laptop", Expires: time.Now().Add(time.Hour)})
	old, now, err := s.Set("laptop", Change{PushRoutes: networks("172.16.0.0/12", "172.16.1.0/24")},
		nil)
	if err != nil || len(old.PushRoutes) != 0 || !slices.Equal(now.PushRoutes,
		*networks("172.16.0.0/12", "172.16.1.0/24")) {
		t.Fatalf("%+v, %+v, %v", old, now, err)
	}
	// A longer prefix inside another's, and a shorter one around it, may both be there.
	if _, _, err := s.Set("laptop", Change{Routes: networks("192.168.7.0/24", "fd07::/48")},
		nil); err != nil {
		t.Error(err)
	}
	dns, domains := []netip.Addr{netip.MustParseAddr("10.1.1.1")}, []string{"corp.example"}
	if _, _, err := s.Set("laptop", Change{DNS: &dns, Domains: &domains}, func(s Spec) error {
		if !slices.Equal(s.DNS, dns) || !slices.Equal(s.Domains, domains) {
			t.Errorf("asked about %+v", s)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	shut()
	s, _ = reopen(t, path)
	g := admit(t, s, text)
	if len(g.PushRoutes) != 2 || len(g.Routes) != 2 || g.Expires.IsZero() || !g.Sole() ||
		!slices.Equal(g.DNS, dns) || !slices.Equal(g.Domains, domains) {
		t.Errorf("kept %+v", g.Token)
	}
	if got, ok := s.Get(g.ID); !ok || got.Name != "laptop" || len(got.PushRoutes) != 2 {
		t.Errorf("%+v, %v", got, ok)
	}
	if _, now, err := s.Set("laptop", Change{Routes: networks()}, nil); err != nil ||
		len(now.Routes) != 0 || len(now.PushRoutes) != 2 || now.Sole() {
		t.Errorf("%+v, %v", now, err)
	}
	if _, err := s.Revoke("laptop"); err != nil {
		t.Fatal(err)
	}
	if got, ok := s.Get(g.ID); ok {
		t.Errorf("revoked, and yet %+v", got)
	}
}

func TestSetRefused(t *testing.T) {
	s := newStore(t)
	s.SetFlag(strings.Repeat("x", MinTokenLen))
	create(t, s, Spec{Name: "site", Routes: *networks("192.168.7.0/24"),
		Address: netip.MustParseAddr("10.1.1.9")})
	create(t, s, Spec{Name: "laptop", Address: netip.MustParseAddr("10.1.1.5")})
	no := errors.New("no")
	for what, test := range map[string]struct {
		name   string
		change Change
		agree  func(Spec) error
		want   error
		says   string
	}{
		"nobody": {"nobody", Change{Routes: networks()}, nil, ErrUnknown, "nobody"},
		"the flag": {"flag", Change{PushRoutes: networks("172.16.1.0/24")}, nil, ErrSpec,
			"started with"},
		"another's": {"laptop", Change{Routes: networks("192.168.7.0/24")}, nil, ErrSpec,
			"route 192.168.7.0/24 of laptop is a route of site already"},
		"another's address": {"laptop", Change{Routes: networks("10.1.1.8/30")}, nil, ErrSpec,
			"10.1.1.9 of site"},
		"everything": {"laptop", Change{PushRoutes: networks("0.0.0.0/0")}, nil, ErrSpec,
			"0.0.0.0/0 is everything"},
		"host bits": {"laptop", Change{Routes: networks("172.16.1.1/24")}, nil, ErrSpec,
			"its prefix is 172.16.1.0/24"},
		"against the network's will": {"laptop", Change{Routes: networks("172.16.1.0/24")},
			func(Spec) error { return no }, no, "no"},
	} {
		_, _, err := s.Set(test.name, test.change, test.agree)
		if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v; want %q", what, err, test.says)
		}
	}
	for _, token := range s.List() {
		if token.Name == "laptop" && len(token.Routes)+len(token.PushRoutes) > 0 {
			t.Errorf("changed: %+v", token)
		}
	}
	// Its own route again is no conflict.
	if _, _, err := s.Set("site", Change{Routes: networks("192.168.7.0/24")}, nil); err != nil {
		t.Error(err)
	}
}

// The same token again, as a reload gives it, is the same one.
func TestSetFlagAgain(t *testing.T) {
	s := &Store{}
	s.SetFlag(strings.Repeat("x", MinTokenLen))
	first := s.flag
	s.SetFlag(strings.Repeat("x", MinTokenLen))
	if s.flag != first {
		t.Error("made anew")
	}
	s.SetFlag(strings.Repeat("y", MinTokenLen))
	if s.flag == first {
		t.Error("another is the same")
	}
	if s.SetFlag(""); s.flag != nil {
		t.Error("none is one")
	}
}
