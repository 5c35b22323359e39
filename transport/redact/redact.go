// Package redact hides what this side has sent, and must not be read by others, in what the other
// side sends back: a server or a proxy may put the token of a request into its answer, and from
// there it would come into the log, to /readyz and into a file that is sent to somebody.
package redact

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

const (
	mark = "…" // in the place of a secret
	// least is the length of the shortest secret, in bytes: a shorter one is a part of many texts.
	least = 4
	// leastPart is that of a part: a word of a header, or the beginning of a secret where a text ends.
	leastPart = 8
)

// A Set has the forms of secrets, the longest first. A nil Set hides nothing. It may be used
// concurrently.
type Set []string

// Of returns the Set of secrets: each as it is, quoted as Go and JSON do it (twice, as in a log
// of an error that quotes), escaped as in a URL, and in base64.
func Of(secrets ...string) Set { return Set(nil).And(secrets...) }

// And returns a Set that hides these secrets, too.
func (s Set) And(secrets ...string) Set {
	all := slices.Clone(s)
	for _, text := range secrets {
		if len(text) < least {
			continue
		}
		quoted := inner(strconv.Quote(text))
		forms := []string{text, quoted, inner(strconv.Quote(quoted)), url.QueryEscape(text),
			url.PathEscape(text)}
		for _, form := range []string{text, quoted} {
			coded, _ := json.Marshal(form) // a string can always be
			forms = append(forms, inner(string(coded)))
		}
		for _, code := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			forms = append(forms, code.EncodeToString([]byte(text)))
		}
		all = append(all, forms...)
	}
	slices.SortFunc(all, func(a, b string) int {
		return cmp.Or(len(b)-len(a), strings.Compare(a, b))
	})
	return slices.Compact(all)
}

func inner(quoted string) string { return quoted[1 : len(quoted)-1] }

// AndRequest returns a Set that hides also what a request shows of its sender: the token, and the
// values of further headers with their longer words, as those of a Cookie.
func (s Set) AndRequest(token string, header http.Header) Set {
	all := []string{token}
	for _, values := range header {
		for _, value := range values {
			all = append(all, value)
			for _, word := range strings.FieldsFunc(value, func(r rune) bool {
				return unicode.IsSpace(r) || strings.ContainsRune(`;,="`, r)
			}) {
				if len(word) < leastPart {
					continue
				}
				all = append(all, word)
			}
			if _, code, basic := strings.Cut(value, "Basic "); basic { // RFC 7617
				login, err := base64.StdEncoding.DecodeString(strings.TrimSpace(code))
				if err == nil {
					all = append(all, loginOf(string(login))...)
				}
			}
		}
	}
	return s.And(all...)
}

// AndLogin returns a Set that hides also the user and password of a URL; nil is for none.
func (s Set) AndLogin(user *url.Userinfo) Set {
	if user == nil {
		return s
	}
	password, _ := user.Password()
	return s.And(loginOf(user.Username() + ":" + password)...)
}

// loginOf returns the secrets of "user:password".
func loginOf(login string) []string {
	_, password, _ := strings.Cut(login, ":")
	return []string{login, password}
}

// Hide returns text with an ellipsis in the place of each secret, and of a long beginning of one
// where the text ends: it may have been cut there.
func (s Set) Hide(text string) string {
	for _, form := range s {
		text = strings.ReplaceAll(text, form, mark)
	}
	end := strings.TrimRight(text, `"`)
	for _, form := range s {
		for n := min(len(form), len(end)); n >= leastPart; n-- {
			if strings.HasSuffix(end, form[:n]) {
				return end[:len(end)-n] + mark + text[len(end):]
			}
		}
	}
	return text
}

// Line returns the first line of an answer without secrets.
func (s Set) Line(answer []byte) []byte {
	line, _, _ := bytes.Cut(answer, []byte("\n"))
	return []byte(s.Hide(strings.TrimRight(string(line), "\r")))
}

// Printable is Hide, with a blank in the place of each character that could disturb a log or a
// terminal.
func (s Set) Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s.Hide(text))
}

// Response hides the secrets in the status line and the headers of a response.
func (s Set) Response(r *http.Response) {
	r.Status = s.Hide(r.Status)
	for _, values := range r.Header {
		for i := range values {
			values[i] = s.Hide(values[i])
		}
	}
}

// Error returns err with a text that has no secret, err itself if its own has none.
func (s Set) Error(err error) error {
	if err == nil {
		return nil
	}
	if text := s.Hide(err.Error()); text != err.Error() {
		return &hidden{text, err}
	}
	return err
}

type hidden struct {
	text string
	err  error
}

func (h *hidden) Error() string { return h.text }

func (h *hidden) Unwrap() error { return h.err }
