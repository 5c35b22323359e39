package dns

import (
	"strings"
	"testing"

	"tunnel/dns/conf"
)

// FuzzOverlay has an overlay contain any file byte for byte, also when its restoration was cut
// short, and has no other text be taken for one.
func FuzzOverlay(f *testing.F) {
	for _, text := range []string{"", "\n", "nameserver 192.0.2.1", "nameserver 192.0.2.1\n",
		"a\r\nb\n\n\n", "\x00\xff", savedPrefix + "file\n", restoredHead + "0\n", overlayText} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o := overlay{owner: "0123456789ab-c1-tun0", lists: lists{Servers: "10.1.1.1 10.1.1.2",
			Domains: "a.example b.example"}, before: saved{kind: savedFile, text: text}}
		file := o.render()
		if got, is := uncover(file, lists{}); !is || got.overlay != o || got.edited ||
			got.back != text || len(got.others) > 0 {
			t.Errorf("%q became %v, %v", file, got, is)
		}
		if len(conf.Nameservers(file)) != 2 {
			t.Errorf("%q has %v", file, conf.Nameservers(file))
		}
		torn := tornRestore(text, len(file))
		if len(torn) != len(file) || !strings.HasPrefix(torn, text) {
			t.Errorf("%q is restored by %q", file, torn)
		}
		if got, is := cutTorn(torn); !is || got != text {
			t.Errorf("%q became %q, %v", torn, got, is)
		}
		if got, is := uncover(torn, lists{}); !is || got.owner != "" || got.back != text {
			t.Errorf("%q is %v, %v", torn, got, is)
		}
		if got, is := uncover(text, o.lists); is {
			_ = got.mended(o.lists)
		}
	})
}
