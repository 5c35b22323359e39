package auth

import (
	"net/http"
	"testing"
)

func TestGate(t *testing.T) {
	g := NewGate("correct-horse-battery")
	for header, want := range map[string]bool{
		"Bearer correct-horse-battery":  true,
		"bearer  correct-horse-battery": true,
		"Basic correct-horse-battery":   false,
		"Bearer correct-horse-batterz":  false,
		"Bearer":                        false,
		"correct-horse-battery":         false,
		"":                              false,
	} {
		r := &http.Request{Header: http.Header{"Authorization": {header}}}
		if got := g.Admit(r); got != want {
			t.Errorf("%q: %v; want %v", header, got, want)
		}
	}
	if !(*Gate)(nil).Admit(&http.Request{}) {
		t.Error("no gate, and yet not admitted")
	}
}

func TestNewSecret(t *testing.T) {
	a, b := NewSecret(), NewSecret()
	if a == b || len(a) != 22 {
		t.Errorf("secrets %q, %q", a, b)
	}
}
