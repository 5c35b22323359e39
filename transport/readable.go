package transport

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// hidden stands for a part of a URL that may be a secret.
const hidden = "…"

// Readable returns u for display: the host as it was given, and an ellipsis in place of its user
// part, its query and its fragment, which may be secrets. A path with an @ is hidden, too: with a
// slash too many or too few before it, a user part is read as one.
func Readable(u *url.URL) string {
	if u.Opaque != "" { // "user:password@host", whose scheme is then the user
		return hidden
	}
	shown := *u
	if userInPath(u) {
		shown.Path, shown.RawPath = "/", ""
	}
	shown.User, shown.RawQuery, shown.ForceQuery = nil, "", false
	shown.Fragment, shown.RawFragment = "", ""
	text := shown.String()
	if !isASCII(u.Host) {
		escaped := strings.TrimPrefix((&url.URL{Host: u.Host}).String(), "//")
		text = strings.Replace(text, escaped, u.Host, 1)
	}
	if u.User != nil {
		text = strings.Replace(text, "//", "//"+hidden+"@", 1)
	}
	if userInPath(u) {
		text += hidden
	}
	if u.RawQuery != "" {
		text += "?" + hidden
	}
	if u.Fragment != "" {
		text += "#" + hidden
	}
	return text
}

// HasSecret reports whether Readable hides a part of u.
func HasSecret(u *url.URL) bool {
	return u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" || userInPath(u)
}

func userInPath(u *url.URL) bool { return strings.Contains(u.Path, "@") }

// unreadable returns the error for a URL s that url.Parse has refused. It shows neither s, which
// may have a password that is not escaped, nor err, which quotes parts of s.
func unreadable(s string, err error) error {
	scheme := ""
	if before, _, ok := strings.Cut(s, "://"); ok &&
		slices.Contains([]string{"ws", "wss", "http", "https"}, before) {
		scheme = " (" + before + "://" + hidden + ")"
	}
	var escape url.EscapeError
	var host url.InvalidHostError
	var parse *url.Error
	text := ""
	if errors.As(err, &parse) {
		text = parse.Err.Error()
	}
	why := "it has a character that no URL has, as a blank or a control character"
	switch {
	case errors.As(err, &escape):
		why = "it has a % without two hexadecimal digits behind it"
	case errors.As(err, &host):
		why = "its host has a character that no host has"
	case strings.HasPrefix(text, "invalid port"):
		why = "its port is not a number"
	case strings.HasPrefix(text, "missing ']'"), strings.HasPrefix(text, "invalid IP-literal"),
		strings.HasPrefix(text, "invalid host"):
		why = "its host has a [ without a ], or no IPv6 address between them"
	}
	return fmt.Errorf("this is not a URL%s: %s", scheme, why)
}
