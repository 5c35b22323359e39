package control

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"tunnel/certs"
)

// Link logs in to a server's web page once. It is a secret.
type Link struct {
	URL string `json:"url"`

	// If the browser will warn of the page's certificate, all "" if not:
	Name        string `json:"name,omitempty"`        // that it is for, if an authority signed it
	Pin         string `json:"pin,omitempty"`         // of its key
	Certificate string `json:"certificate,omitempty"` // its SHA-256 in hexadecimal
}

// errNoPage refuses a link where there is no page.
var errNoPage = errors.New("the server has no web page")

// handleWeb has mux answer with links that link makes; nil is for a server without a page.
func handleWeb(mux *http.ServeMux, link func() Link) {
	mux.HandleFunc("POST /web", func(w http.ResponseWriter, _ *http.Request) {
		if link == nil {
			answer(w, 0, nil, errNoPage)
			return
		}
		answer(w, http.StatusOK, link(), nil)
	})
}

// Web returns a new link to the server's page. What is not of that form is an error, because the
// user opens it in a browser.
func (c *Client) Web(ctx context.Context) (link Link, err error) {
	if err := c.call(ctx, http.MethodPost, "/web", nil, http.StatusOK, into(&link)); err != nil {
		return Link{}, err
	}
	if err := link.check(); err != nil {
		return Link{}, errors.Join(ErrAnswer, err)
	}
	return link, nil
}

// check returns an error if l has anything but what a server tells.
func (l Link) check() error {
	if l.Pin != "" {
		if _, err := certs.ParsePin(l.Pin); err != nil {
			return err
		}
	}
	if sum, err := hex.DecodeString(l.Certificate); err != nil || len(sum) != 0 &&
		len(sum) != sha256.Size {
		return errors.New("not the SHA-256 of a certificate")
	}
	if strings.ContainsFunc(l.Name, unprintable) {
		return errors.New("not a name")
	}
	at, err := url.Parse(l.URL)
	if err != nil || at.Scheme != "http" && at.Scheme != "https" || at.Hostname() == "" ||
		at.User != nil || at.RawQuery != "" || strings.ContainsFunc(l.URL, unprintable) {
		return errors.New("not the URL of a web page")
	}
	return nil
}
