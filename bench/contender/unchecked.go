package contender

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// judges are the methods of the program's policy that judge packets, by their files, with what
// stands for them in a build that lets every packet pass.
func judges() map[string][]struct{ method, instead string } {
	return map[string][]struct{ method, instead string }{
		"policy/hub.go": {
			{"func (h *Hub) FromMember(", `
func (h *Hub) FromMember(_ *Member, b *packet.Batch, i int) (Verdict, bool) {
	to := packet.Destination(b.IP(i))
	return Pass, to == h.Server || !h.Network.Contains(to)
}`},
			{"func (h *Hub) FromKernel(", "func (h *Hub) FromKernel([]byte) Verdict { return Pass }"},
		},
		"policy/client.go": {
			{"func (c *Client) FromServer(",
				"func (c *Client) FromServer(*packet.Batch, int) Verdict { return Pass }"},
		},
	}
}

// Unchecked builds the program with no judge of packets, to measure what that costs.
func (c *Tunnel) Unchecked(ctx context.Context, shop *Workshop) (*Tunnel, error) {
	program := shop.File("tunnel-unchecked")
	replaced := map[string]string{}
	for file, methods := range judges() {
		text, err := os.ReadFile(filepath.Join(shop.Root, file))
		if err != nil {
			return nil, err
		}
		changed, err := passAll(string(text), methods)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		to := program + "-" + filepath.Base(file)
		if err := os.WriteFile(to, []byte(changed), 0o600); err != nil {
			return nil, err
		}
		replaced[filepath.Join(shop.Root, file)] = to
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		return nil, err
	}
	file := program + ".json"
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		return nil, err
	}
	_, err = shop.outputWith(ctx, []string{"CGO_ENABLED=0"}, "go", "build", "-trimpath",
		"-buildvcs=false", "-ldflags", "-s -w", "-overlay", file, "-o", program, ".")
	return &Tunnel{Secure: c.Secure, Program: program}, err
}

// passAll renames methods in the text of a Go file, and adds what stands for them.
func passAll(text string, methods []struct{ method, instead string }) (string, error) {
	for _, m := range methods {
		if strings.Count(text, m.method) != 1 {
			return "", fmt.Errorf("it does not have %q once", m.method)
		}
		name := strings.LastIndex(m.method, " ") + 1
		text = strings.Replace(text, m.method, m.method[:name]+"checked"+m.method[name:], 1) +
			"\n" + m.instead + "\n"
	}
	return text, nil
}
