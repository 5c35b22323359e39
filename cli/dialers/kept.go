package dialers

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"tunnel/auth"
	"tunnel/client/store"
	"tunnel/transport/ws"
)

// Next is the way in which a reload gives a client other dialers.
type Next struct{ all atomic.Pointer[[]*ws.Dialer] }

// Set has the next Take return all, which are New's.
func (n *Next) Set(all []*ws.Dialer) { n.all.Store(&all) }

// Take returns what Set was given last, once, with the credentials that are kept now, see UseKept;
// nil if there is nothing new. The goroutine of the session, which keeps credentials, calls it.
func (n *Next) Take(dir, dev string, credentials *store.Credentials) []*ws.Dialer {
	all := n.all.Swap(nil)
	if all == nil {
		return nil
	}
	UseKept(dir, dev, credentials, *all)
	return *all
}

// UseKept has dialers use the credentials that this machine's clients keep in dir; credentials are
// those for the device dev. A dialer with a credential for its server uses it instead of its join
// token, or of none, and one without uses that which its join token got under another URL or for
// another device: the join token itself is used up.
func UseKept(dir, dev string, credentials *store.Credentials, dialers []*ws.Dialer) {
	all := sync.OnceValue(func() []*store.Credentials {
		return append([]*store.Credentials{credentials}, otherDevices(dir, dev)...)
	})
	for _, d := range dialers {
		kept := credentials.Get(d.URL.String())
		switch {
		case kept != "" && (d.Token == "" || auth.ID(d.Token) != "" &&
			auth.ID(d.Token) == auth.ID(kept)):
			d.Token = kept
		case auth.IsJoin(d.Token):
			d.Token = cmp.Or(exchanged(d, all()), d.Token)
		}
	}
}

// exchanged returns the credential that d's join token got, "" if none of all has it. One from a
// server with wss:// is not sent by ws://.
func exchanged(d *ws.Dialer, all []*store.Credentials) string {
	for _, c := range all {
		found := c.Find(func(url, kept string) bool {
			clear := d.URL.Scheme == "ws" && strings.HasPrefix(url, "wss:")
			return !clear && auth.Exchanges(d.Token, kept)
		})
		if found != "" {
			return found
		}
	}
	return ""
}

// otherDevices returns the credentials in dir that runs for other devices got. What is unreadable
// is left out: it belongs to other runs.
func otherDevices(dir, dev string) (all []*store.Credentials) {
	files, _ := os.ReadDir(dir)
	for _, file := range files {
		name := file.Name()
		if match, _ := filepath.Match("credential-*.json", name); !match ||
			name == "credential-"+dev+".json" {
			continue
		}
		if c, err := store.OpenCredentials(filepath.Join(dir, name)); err == nil {
			all = append(all, c)
		}
	}
	return all
}
