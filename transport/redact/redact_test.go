package redact

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// What a peer may make of a secret, and this program of its answer, has no part of it.
func TestHide(t *testing.T) {
	const secret = `SECRET<shared>&"token\of mine`
	coded, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"plain":  secret,
		"log":    strconv.Quote("403 " + secret),
		"twice":  strconv.Quote(strconv.Quote(secret)),
		"json":   string(coded),
		"query":  url.QueryEscape(secret),
		"path":   url.PathEscape(secret),
		"base64": base64.StdEncoding.EncodeToString([]byte(secret)),
		"url64":  base64.URLEncoding.EncodeToString([]byte(secret)),
		"cut":    secret[:20],
	} {
		got := Of("", "abc", secret).Hide("403 abc " + text)
		if strings.Contains(got, "SECRET") || strings.Contains(got, "U0VDUkVU") ||
			!strings.HasPrefix(strings.TrimLeft(got, `"`), "403 abc ") {
			t.Errorf("%s: %q of %q", name, got, text)
		}
	}
}

// Of a request the token, the headers, their words and a login are hidden.
func TestRequest(t *testing.T) {
	header := http.Header{"Cookie": {"a=session12345; b=short"}, "X-Key": {"key-of-mine"},
		"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("me:password1"))}}
	s := Set(nil).AndRequest("the token", header).AndLogin(url.UserPassword("usr", "pr0xypass"))
	for text, want := range map[string]string{
		"the token":    "…",
		"session12345": "…",
		"short":        "short",
		"key-of-mine":  "…",
		"password1":    "…",
		"me:password1": "…",
		base64.StdEncoding.EncodeToString([]byte("me:password1")): "…",
		"usr:pr0xypass": "…",
		base64.StdEncoding.EncodeToString([]byte("usr:pr0xypass")): "…",
		"x usr x": "x usr x",
	} {
		if got := s.Hide("403 " + text); strings.TrimRight(got, "=") != "403 "+want {
			t.Errorf("%q of %q", got, text)
		}
	}
}

// An error keeps its causes, and a Set without secrets changes nothing.
func TestError(t *testing.T) {
	err := fmt.Errorf("malformed %q: %w", "SECRET", io.EOF)
	got := Of("SECRET").Error(err)
	if got.Error() != `malformed "…": EOF` || !errors.Is(got, io.EOF) {
		t.Error(got)
	}
	if s := Set(nil); s.Error(err) != err || s.Hide("x") != "x" || s.Error(nil) != nil { //nolint:errorlint // the same value
		t.Error("changed")
	}
}
