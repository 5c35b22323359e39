package dns

import (
	"context"
	"os"

	"tunnel/journal"
)

// Heal brings back what an overlay in /etc/resolv.conf contains whose run is not alive, or is not
// known any more, and has left no journal to heal, as after a power cut. It returns what it
// removed; "" if there was nothing.
func Heal(ctx context.Context, m journal.Machine) (removed string, err error) {
	left, owner, err := leftover()
	if err != nil || left == "" {
		return "", err
	}
	return left, File{Journal: owner}.Remove(ctx, m)
}

// Leftover returns what Heal would remove, "" if there is nothing.
func Leftover() (string, error) {
	left, _, err := leftover()
	return left, err
}

func leftover() (what, owner string, err error) {
	p, err := openPlace(os.O_RDONLY)
	if err != nil {
		return "", "", err
	}
	p.close()
	c, is, err := File{}.cover(p)
	if err != nil || !is {
		return "", "", err
	}
	return "DNS servers " + c.Servers + " in " + resolvConf, c.owner, nil
}
