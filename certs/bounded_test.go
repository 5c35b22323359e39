package certs

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// An authority's answer ends at the bounds of its header and of its body.
func TestBoundedAnswers(t *testing.T) {
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/header" {
			w.Header().Set("X", strings.Repeat("a", 2*maxACMEHeader))
		}
		for err := error(nil); err == nil; {
			_, err = w.Write(make([]byte, 1<<16))
		}
	}))
	defer endless.Close()
	client := NewACME(ACMEConfig{}).client.HTTPClient
	get := func(path string) (*http.Response, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, endless.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		return client.Do(r)
	}
	if resp, err := get("/header"); err == nil {
		_ = resp.Body.Close()
		t.Error("a header without an end is taken")
	}
	resp, err := get("/body")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if n, err := io.Copy(io.Discard, resp.Body); n != maxACMEBody || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
}
