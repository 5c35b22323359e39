package certs

import (
	"io"
	"net/http"
)

// What an ACME authority, or a proxy on the path to it, can have this program keep in memory of one
// answer, in bytes.
const (
	maxACMEHeader = 64 << 10
	maxACMEBody   = 4 << 20 // certificate chains, which x/crypto's own bound is 20 MiB for
)

// boundedAnswers ends the body of each answer at maxACMEBody; what reads it finds it incomplete.
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
