package certs

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/acme/autocert"

	"tunnel/defect"
)

// faultyCache is a cache whose first lookup panics.
type faultyCache struct {
	autocert.Cache
	asked atomic.Int64
}

func (c *faultyCache) Get(ctx context.Context, key string) ([]byte, error) {
	if c.asked.Add(1) == 1 {
		panic("a defect")
	}
	return c.Cache.Get(ctx, key)
}

// A panic while a certificate is got is an error, and the next attempt gets the certificate.
func TestACMEDefect(t *testing.T) {
	dir := t.TempDir()
	want := cached(t, dir, "a.example")
	a := NewACME(ACMEConfig{
		Domains: []string{"a.example"}, Dir: dir, Log: slog.New(slog.DiscardHandler),
		Directory: "https://127.0.0.1:1/nobody",
	})
	a.cache = &faultyCache{Cache: a.cache}
	a.begin()
	if cert, err := a.patient(t.Context(), "a.example"); !defect.Is(err) {
		t.Fatalf("%v, %v", cert, err)
	}
	if cert, err := a.patient(t.Context(), "a.example"); err != nil || !cert.Leaf.Equal(want) {
		t.Errorf("the attempt after the panic: %v", err)
	}
}
