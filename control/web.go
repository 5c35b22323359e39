package control

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"tunnel/certs"
)

// Link logs in to a server's web page once. It is a secret.
type Link struct {
	URL string `json:"url"`
	Pin string `json:"pin,omitempty"` // of the page's key; "" if it has a certificate, or no TLS
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
	at, err := url.Parse(l.URL)
	if err != nil || at.Scheme != "http" && at.Scheme != "https" || at.Hostname() == "" ||
		at.User != nil || at.RawQuery != "" || strings.ContainsFunc(l.URL, unprintable) {
		return errors.New("not the URL of a web page")
	}
	return nil
}
