package certs

import (
	"io"
	"net/http"
)

// The largest answer of an ACME authority, or of a proxy on the path to it, in bytes: this program
// keeps it in memory.
const (
	maxACMEHeader = 64 << 10
	maxACMEBody   = 4 << 20 // x/crypto's own bound, for certificate chains, is 20 MiB
)

// boundedAnswers truncates the body of each answer to maxACMEBody: its reader finds it incomplete.
type boundedAnswers struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b boundedAnswers) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = boundedBody{io.LimitReader(resp.Body, maxACMEBody), resp.Body}
	}
	return resp, err
}

type boundedBody struct {
	io.Reader
	io.Closer
}
