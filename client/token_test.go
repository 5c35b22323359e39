package client_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tunnel/auth"
	"tunnel/client"
	"tunnel/client/store"
	"tunnel/transport"
)

// made returns a new token of the hub.
func (h *hub) made(spec auth.Spec) string {
	h.t.Helper()
	_, text, err := h.Server.CreateToken(spec)
	if err != nil {
		h.t.Fatal(err)
	}
	return text
}

// Who is told that its token is over does not come back to hear it once more.
func TestRevoked(t *testing.T) {
	h := startHub(t)
	text := h.made(auth.Spec{Name: "laptop"})
	c := start(t, h.Address, func(c *client.Config) { c.Dialer.Token, c.KeepTrying = text, true })
	c.until("connected ", 1)
	if _, err := h.Server.RevokeToken("laptop"); err != nil {
		t.Fatal(err)
	}
	var step *transport.StepError
	if err := c.wait(); !errors.As(err, &step) || step.Step != transport.StepAuth ||
		step.Err.Error() != "the token was revoked" || step.Reason != transport.ReasonTokenOver {
		t.Errorf("Run returns %v", err)
	}
}

// A join token becomes a credential, at once and for the next run. Where that cannot be stored, the
// join token goes on to open the server to this client.
func TestExchange(t *testing.T) {
	for name, stored := range map[string]bool{"stored": true, "not stored": false} {
		t.Run(name, func(t *testing.T) {
			h := startHub(t)
			dir := t.TempDir()
			join := h.made(auth.Spec{Name: "phone", Once: true, Expires: time.Now().Add(time.Hour)})
			kind := func() auth.Kind {
				all, err := h.Server.ListTokens()
				if err != nil || len(all) != 2 {
					t.Fatal(all, err)
				}
				return all[1].Kind
			}
			run := func(token string) *joined {
				t.Helper()
				session, err := store.OpenSessions(filepath.Join(dir, "session"))
				if err != nil {
					t.Fatal(err)
				}
				file := filepath.Join(dir, "none", "credential")
				if stored {
					file = filepath.Join(dir, "credential")
				}
				credentials, err := store.OpenCredentials(file)
				if err != nil {
					t.Fatal(err)
				}
				return start(t, h.Address, func(c *client.Config) {
					if c.Dialer.Token = token; token == "" {
						c.Dialer.Token = credentials.Get(c.Dialer.URL.String())
					}
					c.Session, c.Credentials = session, credentials
				})
			}
			c := run(join)
			c.until("connected 10.1.1.3 ", 1)
			if kind() != auth.KindJoin {
				t.Error("it is a credential before it was used")
			}
			h.stop()
			h.Start()
			c.until("connected 10.1.1.3 ", 2)
			want, next := auth.KindCredential, ""
			if !stored {
				want, next = auth.KindJoin, join
				c.logged("cannot save the credential", 1)
			}
			if got := kind(); got != want {
				t.Errorf("after it came back it is a %s; want a %s", got, want)
			}
			if err := c.stop(); err != nil {
				t.Error(err)
			}
			c = run(next)
			c.until("connected 10.1.1.3 ", 1)
			if strings.Contains(string(c.log.Text()), "tnl_") ||
				strings.Contains(string(h.Log.Text()), "tnl_") {
				t.Error("a token is in a log")
			}
		})
	}
}

// A join token whose session cannot be stored is not used: it opens the server to the next client
// as if this one had not come.
func TestJoinTokenIsNotWasted(t *testing.T) {
	h := startHub(t)
	join := h.made(auth.Spec{Name: "phone", Once: true, Expires: time.Now().Add(time.Hour)})
	session := func() *store.Sessions {
		t.Helper()
		session, err := store.OpenSessions(filepath.Join(t.TempDir(), "session"))
		if err != nil {
			t.Fatal(err)
		}
		return session
	}
	closed := session()
	closed.Close() // as good as a full disk
	for name, unusable := range map[string]*store.Sessions{"none": nil, "not writable": closed} {
		c := start(t, h.Address, func(c *client.Config) {
			c.Dialer.Token, c.Session = join,
				unusable
		})
		if err := c.wait(); !errors.Is(err, client.ErrNotStored) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := start(t, h.Address, func(c *client.Config) { c.Dialer.Token, c.Session = join, session() })
	c.until("connected 10.1.1.3 ", 1)
}

// A token that one server ends is not the end while another takes this client; with each it has a
// credential of its own.
func TestRevokedByOne(t *testing.T) {
	one, two := startHub(t), startHub(t)
	two.Network = "10.9.0.0/16"
	two.stop()
	two.Start()
	dir := t.TempDir()
	session, err := store.OpenSessions(filepath.Join(dir, "session"))
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := store.OpenCredentials(filepath.Join(dir, "credential"))
	if err != nil {
		t.Fatal(err)
	}
	hour := time.Now().Add(time.Hour)
	c := start(t, one.Address, func(c *client.Config) {
		others(t, two.Address)(c)
		c.Dialer.Token = one.made(auth.Spec{Name: "phone", Once: true, Expires: hour})
		c.Others[0].Token = two.made(auth.Spec{Name: "phone", Once: true, Expires: hour})
		c.Session, c.Credentials = session, credentials
	})
	c.until("connected 10.1.1.3 ", 1)
	if credentials.Get("ws://"+one.Address+"/ws") == "" ||
		credentials.Get("ws://"+two.Address+"/ws") != "" {
		t.Error("after the first server the credentials are not those of it alone")
	}
	if _, err := one.Server.RevokeToken("phone"); err != nil {
		t.Fatal(err)
	}
	c.until("connected 10.9.0.3 ", 1)
	two.stop()
	two.Start() // with the credential
	c.until("connected 10.9.0.3 ", 2)
	if _, err := two.Server.RevokeToken("phone"); err != nil {
		t.Fatal(err)
	}
	var step *transport.StepError
	if err := c.wait(); !errors.As(err, &step) || step.Step != transport.StepAuth {
		t.Errorf("Run returns %v", err)
	}
	for _, h := range []*hub{one, two} {
		if got := credentials.Get("ws://" + h.Address + "/ws"); !strings.HasPrefix(got, "tnl_") {
			t.Errorf("the credential for %s is %q", h.Address, got)
		}
	}
}
