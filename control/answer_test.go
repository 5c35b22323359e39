package control_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tunnel/auth"
	"tunnel/control"
)

// answering answers every request on the socket in a directory, which it returns.
func answering(t *testing.T, status int, write func(io.Writer)) (dir string) {
	t.Helper()
	dir = t.TempDir()
	path := filepath.Join(dir, control.SocketName)
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			write(w)
		})}
	done := make(chan struct{})
	go func() { _ = web.Serve(ln); close(done) }()
	t.Cleanup(func() { _ = web.Close(); <-done })
	return dir
}

// TestWrongAnswers has a server that was broken into answer what is not documented.
func TestWrongAnswers(t *testing.T) {
	const id = "abcdefghij"
	secret := strings.Repeat("a", 52)
	made := func(id, kind, text string) string {
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`{"token":{"id":"%s","name":"laptop","kind":%q},"text":%s}`, id, kind, quoted)
	}
	good := made(id, "token", "tnl_"+id+"_"+secret)
	for _, test := range []struct {
		call   string
		status int
		body   string
		good   bool
	}{
		{"create", 201, good, true},
		{"create", 201, made(id, "join", "tnl_"+id+"_join_"+secret), true},
		{"create", 200, good, false},
		{"create", 201, made(id, "token", "\u001b]52;c;cm0gLXJmIH4=\a"), false},
		{"create", 201, made(id, "token", "tnl_"+id+"_"+secret+"\u001b[2J"), false},
		{"create", 201, made(id, "token", "tnl_"+id+"_\u001b[2J"), false},
		{"create", 201, made(id, "token", "tnl_"+id+"_"+strings.ToUpper(secret)), false},
		{"create", 201, made(id, "token", "tnl_"+id+"_join_"+secret), false},
		{"create", 201, made("bbbbbbbbbb", "token", "tnl_"+id+"_"+secret), false},
		{"create", 201, made(`\u001b[2Jabcdef`, "token", "tnl_\u001b[2Jabcdef_"+secret), false},
		{"create", 201, strings.Replace(good, "laptop", "other", 1), false},
		{"create", 201, good[:20], false},
		{"create", 201, `{"padding":"` + strings.Repeat("x", 1<<17) + `",` + good[1:], false},
		{"revoke", 204, "", true},
		{"revoke", 200, "", false},
		{"revoke", 200, `{"sessions":5}`, false},
		{"revoke", 202, "", false},
		{"list", 200, "null", true},
		{"list", 200, "[]", true},
		{"list", 200, `[{"id":"a","name":"n"}]`, true},
		{"join", 200, `{"url":"wss://192.0.2.1:8443"}`, true},
		{"join", 200, "{}", true},
		{"join", 200, `{"url":"wss://192.0.2.1","pin":"sha256:x; reboot"}`, false},
		{"join", 200, `{"url":"https://192.0.2.1"}`, false},
		{"join", 200, `{"url":"wss://192.0.2.1/\u001b[2J"}`, false},
		{"join", 200, `{"url":"wss://192.0.2.1/\u202e"}`, false},
		{"web", 200, `{"url":"https://hub.example:8444/login#code"}`, true},
		{"web", 200, `{"url":"http://localhost:8444/login#code"}`, true},
		{"web", 200, "{}", false},
		{"web", 200, `{"url":"javascript:alert(1)"}`, false},
		{"web", 200, `{"url":"https://me@hub.example/"}`, false},
		{"web", 200, `{"url":"https://hub.example/#\u001b[2J"}`, false},
		{"web", 200, `{"url":"https://hub.example/","pin":"sha256:\u001b[2J"}`, false},
		{"list", 204, "", false},
		{"list", 200, `[{"id":"a","name":"n"}`, false},
		{"list", 200, `[{"id":"a","name":""}]`, false},
		{"list", 200, "[{},{}]", false},
		{"list", 200, "{}", false},
	} {
		dir := answering(t, test.status, func(w io.Writer) { _, _ = io.WriteString(w, test.body) })
		c := control.NewClient(dir)
		var err error
		var text string
		switch test.call {
		case "create":
			_, text, err = c.Create(t.Context(), auth.Spec{Name: "laptop"})
		case "join":
			_, err = c.Join(t.Context())
		case "revoke":
			err = c.Revoke(t.Context(), "laptop")
		case "web":
			var link control.Link
			link, err = c.Web(t.Context())
			text = link.URL
		default:
			_, err = c.List(t.Context())
		}
		if (err == nil) != test.good || err != nil && (!errors.Is(err, control.ErrAnswer) || text != "") {
			t.Errorf("%s, %d, %.200q: %q, %v", test.call, test.status, test.body, text, err)
		}
	}
}

// TestEndlessAnswers has a server that was broken into answer without an end. What is read of it is
// bounded, and not by the time that a call may take.
func TestEndlessAnswers(t *testing.T) {
	for call, status := range map[string]int{"list": 200, "create": 201, "failure": 500} {
		written := make(chan int, 1)
		dir := answering(t, status, func(w io.Writer) {
			first, next := " ", strings.Repeat(" ", 1<<14)
			if call == "list" {
				first, next = "[", `{"id":"a","name":"`+strings.Repeat("n", 1<<14)+`"},`
			}
			total, err := io.WriteString(w, first)
			for err == nil && total < 1<<28 {
				var n int
				n, err = io.WriteString(w, next)
				total += n
			}
			written <- total
		})
		c := control.NewClient(dir)
		var err error
		if call == "create" {
			_, _, err = c.Create(t.Context(), auth.Spec{Name: "laptop"})
		} else {
			_, err = c.List(t.Context())
		}
		if n := <-written; err == nil || n > 20<<20 {
			t.Errorf("%s: %v after %d bytes", call, err, n)
		}
	}
}

// TestNoLinkFollowed requires that a client reaches nothing by a symbolic link in place of the
// socket, nor another kind of file there.
func TestNoLinkFollowed(t *testing.T) {
	served := answering(t, http.StatusOK, func(w io.Writer) { _, _ = io.WriteString(w, "[]") })
	if _, err := control.NewClient(served).List(t.Context()); err != nil {
		t.Fatal(err)
	}
	linked, file := t.TempDir(), t.TempDir()
	if err := errors.Join(
		os.Symlink(filepath.Join(served, control.SocketName), filepath.Join(linked, control.SocketName)),
		os.WriteFile(filepath.Join(file, control.SocketName), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{linked, file} {
		_, err := control.NewClient(dir).List(t.Context())
		if err == nil || !strings.Contains(err.Error(), "not a socket") {
			t.Error(err)
		}
	}
}
