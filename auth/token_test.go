package auth

import (
	"bytes"
	"errors"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAdmit(t *testing.T) {
	s := newStore(t)
	s.SetFlag("correct-horse-battery")
	laptop := create(t, s, Spec{Name: "laptop"})
	phone := create(t, s, Spec{Name: "phone", Address: netip.MustParseAddr("10.1.1.9")})
	for header, want := range map[string]string{
		"Bearer correct-horse-battery":         "flag",
		"bearer  correct-horse-battery ":       "flag",
		"Basic correct-horse-battery":          "",
		"Bearer correct-horse-batterz":         "",
		"Bearer":                               "",
		"correct-horse-battery":                "",
		"":                                     "",
		"Bearer " + laptop:                     "laptop",
		"BEARER " + phone:                      "phone",
		"Bearer " + laptop[:len(laptop)-1]:     "",
		"Bearer " + laptop + "a":               "",
		"Bearer " + strings.ToUpper(laptop):    "",
		"Bearer " + laptop[:15] + phone[15:]:   "", // the one's id, the other's secret
		"Bearer " + laptop[:15]:                "",
		"Bearer tnl_":                          "",
		"Bearer tnl_flag_correct-horse-batter": "",
	} {
		g, err := s.Admit(with(header))
		if g.Name != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", header, g.Name, err, want)
		}
	}
	if g := admit(t, s, phone); g.Address != netip.MustParseAddr("10.1.1.9") || !g.Sole() ||
		g.Kind != KindToken {
		t.Errorf("granted %+v", g)
	}
	if g := admit(t, s, laptop); g.Sole() {
		t.Errorf("granted %+v", g)
	}
	if _, err := s.Admit(&http.Request{}); !errors.Is(err, ErrMissing) {
		t.Errorf("without a token: %v", err)
	}
	if g, err := (AllowAll{}).Admit(&http.Request{}); err != nil || !g.Anonymous() || g.Sole() ||
		*g.MaxSessions != 0 {
		t.Errorf("where everybody is admitted: %+v, %v", g, err)
	}
	if g := admit(t, s, laptop); g.Anonymous() {
		t.Errorf("granted %+v", g)
	}
}

// A Store that is nil admits nobody.
func TestNilStoreAdmitsNobody(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a nil Store has answered")
		}
	}()
	_, _ = (*Store)(nil).Admit(with("Bearer correct-horse-battery"))
}

func TestTokenText(t *testing.T) {
	s := newStore(t)
	a, b := create(t, s, Spec{Name: "a"}), create(t, s, Spec{Name: "b"})
	// 52 characters of base32: 256 bits
	if a == b || len(a) != len("tnl_")+idLen+1+52 || ID(a) == ID(b) ||
		!strings.HasPrefix(a, "tnl_"+ID(a)+"_") {
		t.Errorf("%s, %s", a, b)
	}
	for _, text := range []string{"", "tnl_", "tnl_0123456789", "tnl_012345678_x",
		"correct-horse-battery", "tnl_01234567890_x"} {
		if id := ID(text); id != "" {
			t.Errorf("%q has the id %q", text, id)
		}
	}
	join := create(t, s, Spec{Name: "c", Once: true, Expires: time.Now().Add(time.Hour)})
	if len(join) != len(a)+len(joinMark) || !strings.HasPrefix(join, "tnl_"+ID(join)+"_join_") {
		t.Errorf("a join token is %s", join)
	}
	if x, y := NewSecret(), NewSecret(); x == y || len(x) != 22 {
		t.Errorf("secrets %q, %q", x, y)
	}
}

// Only a join token is exchanged, and only for what can have come of it.
func TestExchanges(t *testing.T) {
	const id, other = "tnl_abcdefghij_", "tnl_jihgfedcba_"
	for _, test := range []struct {
		token, credential string
		want              bool
	}{
		{id + "join_secret", id + "credential", true},
		{id + "join_secret", other + "credential", false},
		{id + "join_secret", "credential-of-the-server's-own", false},
		{id + "join_secret", id + "join_again", false},
		{id + "secret", id + "credential", false},
		{id + "credential", id + "another", false},
		{"correct-horse-battery", "staple-horse-battery", false},
		{"", id + "credential", false},
		{"", "", false},
		{"tnl_", "tnl_", false},
	} {
		if got := Exchanges(test.token, test.credential); got != test.want {
			t.Errorf("%q for %q: %v", test.credential, test.token, got)
		}
	}
}

// The file has what opens nothing; a reader of it learns no secret.
func TestOnlyHashes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s, shut := reopen(t, path)
	token, join := create(t, s, Spec{Name: "a"}), create(t, s, Spec{Name: "b", Once: true})
	credential, err := s.Join(admit(t, s, join), "the session of one")
	if err != nil {
		t.Fatal(err)
	}
	shut()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{token, join, credential} {
		if bytes.Contains(data, []byte(secret[len("tnl_")+idLen+1:])) {
			t.Errorf("the secret of %s is in the file", secret)
		}
	}
	if bytes.Contains(data, []byte("the session of one")) ||
		!bytes.Contains(data, []byte(ID(token))) {
		t.Error("the file has the session, or not even the token's id")
	}
}

func TestStoreRemembers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s, shut := reopen(t, path)
	if fresh, err := s.Fresh(); !fresh || err != nil {
		t.Errorf("a new file: fresh %v, %v", fresh, err)
	}
	expires := time.Now().Add(time.Hour)
	spec := Spec{Name: "site", Address: netip.MustParseAddr("10.1.1.9"),
		Routes: []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24")}, Expires: expires}
	text, gone := create(t, s, spec), create(t, s, Spec{Name: "gone"})
	before := admit(t, s, text)
	if _, err := s.Revoke("gone"); err != nil {
		t.Fatal(err)
	}
	shut()
	s, shut = reopen(t, path)
	refused(t, s, gone, ErrRevoked)
	all := s.List()
	if len(all) != 1 || !all[0].Used.Equal(before.Used) || !all[0].Expires.Equal(expires) ||
		all[0].Address != spec.Address ||
		len(all[0].Routes) != 1 || all[0].Routes[0] != spec.Routes[0] ||
		s.Reserved()[spec.Address] != before.ID {
		t.Errorf("kept %+v", all)
	}
	if g := admit(t, s, text); g.ID != before.ID {
		t.Errorf("granted %+v", g)
	}
	if _, err := s.Revoke("site"); err != nil {
		t.Fatal(err)
	}
	shut()
	s, _ = reopen(t, path)
	if fresh, err := s.Fresh(); fresh || err != nil || len(s.List()) != 0 {
		t.Errorf("a file whose tokens are all revoked: fresh %v, %v", fresh, err)
	}
}

func TestCreateRefuses(t *testing.T) {
	s := newStore(t)
	s.SetFlag("correct-horse-battery")
	prefixes := func(all ...string) (list []netip.Prefix) {
		for _, text := range all {
			p, _ := netip.ParsePrefix(text)
			list = append(list, p)
		}
		return list
	}
	create(t, s, Spec{Name: "a", Address: netip.MustParseAddr("10.1.1.9"),
		Routes: prefixes("192.168.0.0/16", "fd07::/48")})
	for _, name := range []string{"", "-a", ".a", "a b", "a/b", "ä", "a\n", strings.Repeat("x", 64),
		"..", "a:b", "10.1.1.3"} {
		if _, _, err := s.Create(Spec{Name: name}, nil); !errors.Is(err, ErrName) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	if _, _, err := s.Create(Spec{Name: "a"}, nil); !errors.Is(err, ErrExists) {
		t.Errorf("a name twice: %v", err)
	}
	for what, spec := range map[string]Spec{
		"the flag's name":          {Name: "flag"},
		"a reserved address":       {Address: netip.MustParseAddr("10.1.1.9")},
		"an IPv6 address":          {Address: netip.MustParseAddr("fd00::9")},
		"an address behind one":    {Address: netip.MustParseAddr("192.168.1.1")},
		"the past":                 {Expires: time.Now().Add(-time.Second)},
		"everything":               {Routes: prefixes("0.0.0.0/0")},
		"all of IPv6":              {Routes: prefixes("::/0")},
		"half of everything":       {Routes: prefixes("0.0.0.0/1")},
		"host bits":                {Routes: prefixes("172.16.1.1/24")},
		"no prefix":                {Routes: prefixes("nonsense")},
		"loopback":                 {Routes: prefixes("127.1.0.0/16")},
		"multicast":                {Routes: prefixes("224.0.0.0/8")},
		"link-local":               {Routes: prefixes("169.254.7.0/24")},
		"IPv4 in IPv6":             {Routes: prefixes("::ffff:10.0.0.0/104")},
		"another's":                {Routes: prefixes("192.168.0.0/16")},
		"another's of IPv6":        {Routes: prefixes("fd07::/48")},
		"another's address":        {Routes: prefixes("10.1.1.8/30")},
		"two that overlap":         {Routes: prefixes("172.16.0.0/12", "172.17.0.0/16")},
		"more than can be counted": {Routes: make([]netip.Prefix, 1000)},
		"everything pushed":        {PushRoutes: prefixes("0.0.0.0/0")},
		"IPv6 pushed":              {PushRoutes: prefixes("fd07::/48")},
		"host bits pushed":         {PushRoutes: prefixes("172.16.1.1/24")},
		"loopback pushed":          {PushRoutes: prefixes("127.0.0.0/8")},
		"pushed twice":             {PushRoutes: prefixes("172.16.1.0/24", "172.16.1.0/24")},
		"too many pushed":          {PushRoutes: make([]netip.Prefix, MaxPushRoutes+1)},
	} {
		if spec.Name == "" {
			spec.Name = "b"
		}
		if _, _, err := s.Create(spec, nil); !errors.Is(err, ErrSpec) {
			t.Errorf("%s: %v", what, err)
		}
	}
	no := errors.New("no")
	if _, _, err := s.Create(Spec{Name: "b"}, func(Spec) error { return no }); !errors.Is(err,
		ErrSpec) || !errors.Is(err, no) {
		t.Errorf("against the network's will: %v", err)
	}
	if _, err := s.Revoke("b"); !errors.Is(err, ErrUnknown) {
		t.Errorf("revoke of a name that nothing has: %v", err)
	}
	if _, err := s.Revoke("flag"); !errors.Is(err, ErrGiven) {
		t.Errorf("revoke of the flag: %v", err)
	}
	if len(s.List()) != 2 {
		t.Errorf("there are %+v", s.List())
	}
}
