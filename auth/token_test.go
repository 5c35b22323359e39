package auth

import (
	"bytes"
	"errors"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tunnel/state"
)

// reopen opens the Store of a file, and a function that closes both.
func reopen(t *testing.T, path string) (*Store, func()) {
	t.Helper()
	file, err := state.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(file.Bucket("token"))
	if err != nil {
		t.Fatal(err)
	}
	shut := sync.OnceFunc(func() {
		if err := errors.Join(s.Close(), file.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(shut)
	return s, shut
}

func newStore(t *testing.T) *Store {
	s, _ := reopen(t, filepath.Join(t.TempDir(), "db"))
	return s
}

func create(t *testing.T, s *Store, spec Spec) string {
	t.Helper()
	_, text, err := s.Create(spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// with returns a request that has a header Authorization.
func with(header string) *http.Request {
	return &http.Request{Header: http.Header{"Authorization": {header}}}
}

func admit(t *testing.T, s *Store, text string) Grant {
	t.Helper()
	g, err := s.Admit(with("Bearer " + text))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func refused(t *testing.T, s *Store, text string, want error) {
	t.Helper()
	if g, err := s.Admit(with("Bearer " + text)); !errors.Is(err, want) || g.ID != "" || g.Name != "" {
		t.Errorf("%s: %+v, %v; want %v", text, g, err, want)
	}
}

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
	if g := admit(t, s, phone); g.Address != netip.MustParseAddr("10.1.1.9") || !g.Sole() || g.Kind != KindToken {
		t.Errorf("granted %+v", g)
	}
	if g := admit(t, s, laptop); g.Sole() {
		t.Errorf("granted %+v", g)
	}
	if _, err := s.Admit(&http.Request{}); !errors.Is(err, ErrMissing) {
		t.Errorf("without a token: %v", err)
	}
	if g, err := (AllowAll{}).Admit(&http.Request{}); err != nil || !g.Anonymous() || g.Sole() || *g.MaxSessions != 0 {
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
	if a == b || len(a) != len("tnl_")+idLen+1+52 || ID(a) == ID(b) || !strings.HasPrefix(a, "tnl_"+ID(a)+"_") { // 52 characters of base32: 256 bits
		t.Errorf("%s, %s", a, b)
	}
	for _, text := range []string{"", "tnl_", "tnl_0123456789", "tnl_012345678_x", "correct-horse-battery", "tnl_01234567890_x"} {
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
	if bytes.Contains(data, []byte("the session of one")) || !bytes.Contains(data, []byte(ID(token))) {
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
	spec := Spec{Name: "site", Address: netip.MustParseAddr("10.1.1.9"), Routes: []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24")}, Expires: expires}
	text, gone := create(t, s, spec), create(t, s, Spec{Name: "gone"})
	before := admit(t, s, text)
	if _, err := s.Revoke("gone"); err != nil {
		t.Fatal(err)
	}
	shut()
	s, shut = reopen(t, path)
	refused(t, s, gone, ErrRevoked)
	all := s.List()
	if len(all) != 1 || !all[0].Used.Equal(before.Used) || !all[0].Expires.Equal(expires) || all[0].Address != spec.Address ||
		len(all[0].Routes) != 1 || all[0].Routes[0] != spec.Routes[0] || s.Reserved()[spec.Address] != before.ID {
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
	create(t, s, Spec{Name: "a", Address: netip.MustParseAddr("10.1.1.9"), Routes: prefixes("192.168.0.0/16", "fd07::/48")})
	for _, name := range []string{"", "-a", ".a", "a b", "a/b", "ä", "a\n", strings.Repeat("x", 64), "..", "a:b"} {
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
		"part of another's":        {Routes: prefixes("192.168.7.0/24")},
		"more than another's":      {Routes: prefixes("192.0.0.0/8")},
		"another's of IPv6":        {Routes: prefixes("fd07::/16")},
		"another's address":        {Routes: prefixes("10.1.1.8/30")},
		"two that overlap":         {Routes: prefixes("172.16.0.0/12", "172.17.0.0/16")},
		"more than can be counted": {Routes: make([]netip.Prefix, 1000)},
	} {
		if spec.Name == "" {
			spec.Name = "b"
		}
		if _, _, err := s.Create(spec, nil); !errors.Is(err, ErrSpec) {
			t.Errorf("%s: %v", what, err)
		}
	}
	no := errors.New("no")
	if _, _, err := s.Create(Spec{Name: "b"}, func(Spec) error { return no }); !errors.Is(err, ErrSpec) || !errors.Is(err, no) {
		t.Errorf("against the network's will: %v", err)
	}
	if _, err := s.Revoke("b"); !errors.Is(err, ErrUnknown) {
		t.Errorf("revoke of a name that nothing has: %v", err)
	}
	if _, err := s.Revoke("flag"); !errors.Is(err, ErrSpec) {
		t.Errorf("revoke of the flag: %v", err)
	}
	if len(s.List()) != 2 {
		t.Errorf("there are %+v", s.List())
	}
}

func TestExpires(t *testing.T) {
	s := newStore(t)
	spec := Spec{Name: "short", Address: netip.MustParseAddr("10.1.1.9"), Expires: time.Now().Add(3 * time.Second)}
	text := create(t, s, spec)
	g := admit(t, s, text)
	if err := s.Check(g.ID); err != nil {
		t.Errorf("at first: %v", err)
	}
	time.Sleep(time.Until(spec.Expires) + time.Millisecond)
	refused(t, s, text, ErrExpired)
	if err := s.Check(g.ID); !errors.Is(err, ErrExpired) {
		t.Errorf("then: %v", err)
	}
	if len(s.Reserved()) != 0 {
		t.Error("its address is reserved for ever")
	}
	// Name and address are free, and the new token is another one.
	spec.Expires = time.Time{}
	again := create(t, s, spec)
	refused(t, s, text, ErrWrong)
	if now := admit(t, s, again); now.ID == g.ID || !errors.Is(s.Check(g.ID), ErrRevoked) || len(s.List()) != 1 {
		t.Errorf("%+v became %+v", g, now)
	}
}

// Of many who come with a join token at once one gets in; it may ask again until it has come with the credential, and then
// the join token opens nothing.
func TestJoin(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s, shut := reopen(t, path)
	join := create(t, s, Spec{Name: "phone", Once: true, Expires: time.Now().Add(time.Second)})
	var won, lost atomic.Int32
	var mu sync.Mutex
	winner, credential := "", ""
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			session := NewSecret()
			g, err := s.Admit(with("Bearer " + join))
			if err != nil {
				t.Error(err)
			}
			c, err := s.Join(g, session)
			switch {
			case errors.Is(err, ErrJoined):
				lost.Add(1)
			case err != nil:
				t.Error(err)
			default:
				mu.Lock()
				winner, credential = session, c
				mu.Unlock()
				won.Add(1)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 || lost.Load() != 19 || ID(credential) != ID(join) || credential == join {
		t.Fatalf("%d got in, %d did not; credential %q", won.Load(), lost.Load(), credential)
	}
	// It crashes before it has stored the credential, and the server restarts; meanwhile the join token would have expired.
	time.Sleep(time.Until(s.List()[0].Created.Add(1100 * time.Millisecond)))
	shut()
	s, shut = reopen(t, path)
	if again, err := s.Join(admit(t, s, join), winner); err != nil || again != credential {
		t.Errorf("again: %q, %v; want %q", again, err, credential)
	}
	if _, err := s.Join(admit(t, s, join), "somebody else"); !errors.Is(err, ErrJoined) {
		t.Errorf("somebody else: %v", err)
	}
	g := admit(t, s, join)
	first := admit(t, s, credential)
	if first.Kind != KindCredential || !first.Sole() || first.Name != "phone" || first.ID != g.ID || !first.Expires.IsZero() {
		t.Errorf("granted %+v", first)
	}
	if c, err := s.Join(first, winner); c != "" || err != nil {
		t.Errorf("a credential is exchanged for %q, %v", c, err)
	}
	if _, err := s.Join(g, winner); !errors.Is(err, ErrJoined) {
		t.Errorf("a connection that was let in before: %v", err)
	}
	refused(t, s, join, ErrJoined)
	shut()
	s, _ = reopen(t, path)
	refused(t, s, join, ErrJoined)
	admit(t, s, credential)
	if _, err := s.Revoke("phone"); err != nil {
		t.Error(err)
	}
	refused(t, s, credential, ErrRevoked)
	refused(t, s, join, ErrRevoked)
	if _, err := s.Join(g, winner); !errors.Is(err, ErrRevoked) {
		t.Errorf("after the end: %v", err)
	}
}

func FuzzAdmit(f *testing.F) {
	path := filepath.Join(f.TempDir(), "db")
	file, err := state.Open(path)
	if err != nil {
		f.Fatal(err)
	}
	s, err := Open(file.Bucket("token"))
	if err != nil {
		f.Fatal(err)
	}
	s.SetFlag("correct-horse-battery")
	_, text, err := s.Create(Spec{Name: "a"}, nil)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"Bearer " + text, text, "Bearer tnl_" + ID(text) + "_", "Bearer correct-horse-battery", "Bearer \x00", "", " ", "Bearer tnl__________________"} {
		f.Add(seed, "")
		f.Add("", seed)
		f.Add("Basic dXNlcjpwYXNz", seed)
		f.Add("Bearer "+text, seed)
	}
	f.Fuzz(func(t *testing.T, header, own string) {
		r := with(header)
		if own != "" {
			r.Header.Set(TokenHeader, own)
			header = own
		}
		g, err := s.Admit(r)
		scheme, rest, _ := strings.Cut(header, " ")
		given := strings.TrimSpace(rest)
		right := strings.EqualFold(scheme, "Bearer") && (given == text || given == "correct-horse-battery")
		if (err == nil) != right || (g.Name != "") != right {
			t.Errorf("%q: %+v, %v", header, g, err)
		}
	})
}
