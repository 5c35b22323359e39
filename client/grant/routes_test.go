package grant

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, s := range texts {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func TestTake(t *testing.T) {
	eights := func() (all []netip.Prefix) { // without 0, 10, 127 and 169
		for i := byte(1); i < 224; i++ {
			if i != 10 && i != 127 && i != 169 {
				all = append(all, netip.PrefixFrom(netip.AddrFrom4([4]byte{i}), 8))
			}
		}
		return all
	}()
	never := prefixes("0.0.0.0/0", "0.0.0.0/1", "64.0.0.0/7", "127.0.0.0/24", "169.254.7.0/24",
		"169.0.0.0/8", "224.0.0.0/8")
	for name, test := range map[string]struct {
		Routes

		pushed, take, refused []netip.Prefix
	}{
		"private": {Routes{},
			prefixes("10.0.0.0/8", "100.64.0.0/10", "172.16.1.0/24", "192.168.7.0/24"),
			prefixes("10.0.0.0/8", "100.64.0.0/10", "172.16.1.0/24", "192.168.7.0/24"), nil},
		"public": {Routes{},
			prefixes("8.8.8.0/24", "192.168.7.0/24"),
			prefixes("192.168.7.0/24"),
			prefixes("8.8.8.0/24")},
		"in part": {Routes{}, prefixes("192.0.0.0/8"), nil, prefixes("192.0.0.0/8")},
		"accepted": {Routes{Accept: prefixes("8.8.0.0/16")},
			prefixes("8.8.8.0/24", "8.9.8.0/24"),
			prefixes("8.8.8.0/24"),
			prefixes("8.9.8.0/24")},
		"all": {Routes{All: true},
			prefixes("8.8.8.0/24", "8.9.8.0/24"),
			prefixes("8.8.8.0/24", "8.9.8.0/24"),
			nil},
		"never": {Routes{All: true, Accept: prefixes("0.0.0.0/1", "128.0.0.0/1")},
			never, nil, never},
		"IPv6": {Routes{All: true}, prefixes("fd07::/48"), nil, nil},
		"none": {Routes{None: true, All: true}, prefixes("10.0.0.0/8", "8.8.8.0/24"), nil, nil},
		"adds up to all": {Routes{All: true},
			append(slices.Clone(eights),
				prefixes("192.168.7.0/24")...),
			prefixes("192.168.7.0/24"), eights},
		"less than half": {Routes{All: true}, eights[:127], eights[:127], nil},
		"named":          {Routes{Accept: prefixes("0.0.0.0/1", "128.0.0.0/1")}, eights, eights, nil},
		"excluded": {Routes{Exclude: prefixes("192.168.7.0/24")},
			prefixes("192.168.7.0/24", "192.168.7.128/25", "192.168.8.0/24"),
			prefixes("192.168.8.0/24"),
			nil},
		"excluded within": {Routes{Exclude: prefixes("192.168.7.0/24", "192.168.7.9/32")},
			prefixes("192.168.4.0/22"),
			prefixes("192.168.4.0/23", "192.168.6.0/24"), nil},
		"two excluded": {Routes{Exclude: prefixes("192.168.4.0/24", "192.168.7.0/24")},
			prefixes("192.168.4.0/22"),
			prefixes("192.168.5.0/24", "192.168.6.0/24"), nil},
	} {
		take, refused := test.Take(test.pushed)
		if !slices.Equal(take, test.take) || !slices.Equal(refused, test.refused) {
			t.Errorf("%s: takes %v, refuses %v; want %v and %v", name, take, refused, test.take,
				test.refused)
		}
		if err := test.Check(take); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(refused) > 0 && test.Check(append(slices.Clone(take), refused...)) == nil {
			t.Errorf("%s: what is refused is allowed", name)
		}
	}
	if (Routes{Exclude: prefixes("192.168.7.9/32")}).Check(prefixes("192.168.7.0/24")) == nil {
		t.Error("a network with an excluded part is allowed")
	}
}

// What is left of a network has exactly the addresses that were not excluded.
func TestSubtract(t *testing.T) {
	for bits := 24; bits <= 32; bits++ {
		p := netip.MustParsePrefix("192.168.7.0/24")
		without := netip.PrefixFrom(netip.MustParseAddr("192.168.7.171"), bits).Masked()
		rest := subtract(p, without)
		for a := p.Addr(); p.Contains(a); a = a.Next() {
			n := 0
			for _, r := range rest {
				if r.Contains(a) {
					n++
				}
			}
			if want := map[bool]int{true: 0, false: 1}[without.Contains(a)]; n != want {
				t.Errorf("without %s: %d of %v have %s", without, n, fmt.Sprint(rest), a)
			}
		}
	}
}
