package serve

import (
	"net"
	"os/exec"
	"strings"
	"testing"

	"tunnel/cli/invocation"
	"tunnel/config/location"
)

func TestConnectLine(t *testing.T) {
	const pin = "sha256:d6qzRu9zOECb90Uez27xWltNsj0e1Md7GkYYkVoZWmM="
	for want, got := range map[string]string{
		"tunnel connect wss://192.0.2.1:8443 --pin " + pin +
			" --token-file token": invocation.ConnectLine("wss://192.0.2.1:8443", pin, "--token-file",
			"token"),
		"tunnel connect wss://server.example": invocation.ConnectLine(
			"wss://server.example", ""),
		`tunnel connect 'wss://server.example/a b' --token '$(touch it)'`: invocation.ConnectLine(
			"wss://server.example/a b", "", "--token", "$(touch it)"),
		`tunnel connect wss://h --token-file ''\''~'`: invocation.ConnectLine(
			"wss://h", "", "--token-file", "'~"),
		`tunnel connect wss://h --token-file ''`: invocation.ConnectLine(
			"wss://h", "", "--token-file", ""),
	} {
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	// A shell has the last word.
	words := []string{"a b", "it's", "$HOME", "`x`", "~", "*", "#", "", "a\\b", "[::1]", "&", "ä",
		"-", "a=b", "!"}
	out, err := exec.CommandContext(t.Context(), "sh", "-c",
		"tunnel() { printf '%s\\n' \"$@\"; }; "+invocation.ConnectLine("wss://[::1]:8443", "",
			words...)).Output()
	if want := "connect\nwss://[::1]:8443\n" + strings.Join(words, "\n") + "\n"; err != nil ||
		string(out) != want {
		t.Errorf("a shell reads %q (%v), want %q", out, err, want)
	}
}

func TestServerURL(t *testing.T) {
	for _, test := range []struct {
		public, listen string
		domains        []string
		plain          bool
		addr           string
		path           string
		want           string
	}{
		{listen: "192.0.2.1:8443", addr: "192.0.2.1:8443", want: "wss://192.0.2.1:8443"},
		{listen: "192.0.2.1:443", addr: "192.0.2.1:443", want: "wss://192.0.2.1"},
		{listen: "[2001:db8::2]:443", addr: "[2001:db8::2]:443", want: "wss://[2001:db8::2]"},
		{listen: "[2001:db8::2]:0", addr: "[2001:db8::2]:7000", want: "wss://[2001:db8::2]:7000"},
		{listen: "[fe80::1%lo]:7000", addr: "[fe80::1%lo]:7000", want: "wss://[fe80::1%25lo]:7000"},
		{listen: "[fe80::1%lo]:443", addr: "[fe80::1%lo]:443", want: "wss://[fe80::1%25lo]"},
		{listen: "hub.example:443", addr: "192.0.2.1:443", want: "wss://hub.example"},
		{listen: ":8443", public: "server.example", addr: "[::]:8443",
			want: "wss://server.example:8443"},
		{listen: ":8443", public: "server.example:443", addr: "[::]:8443",
			want: "wss://server.example"},
		{listen: ":8443", public: "[2001:db8::1]:444", addr: "[::]:8443",
			want: "wss://[2001:db8::1]:444"},
		{listen: ":443", public: "2001:db8::1", addr: "[::]:443", want: "wss://[2001:db8::1]"},
		{listen: ":443", domains: []string{"a.example", "b.example"}, addr: "[::]:443", path: "/x",
			want: "wss://a.example/x"},
		{listen: "127.0.0.1:8443", plain: true, addr: "127.0.0.1:8443", want: ""},
		{listen: "127.0.0.1:8443", plain: true, public: "server.example", addr: "127.0.0.1:8443",
			want: "wss://server.example"},
	} {
		s := &serverTLS{domains: test.domains, plain: test.plain}
		public, err := location.ParseHostPort(test.public)
		if err != nil {
			t.Fatal(err)
		}
		s.host, s.port = public.Host, public.Port
		if s.host == "" {
			s.host = s.guessHost(test.listen)
		}
		addr, err := net.ResolveTCPAddr("tcp", test.addr)
		if err != nil {
			t.Fatal(err)
		}
		if test.path == "" {
			test.path = "/ws"
		}
		if got := s.url(addr, test.path); got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
}

// The zone of --listen is shown; any other address is as the kernel tells it.
func TestListenZone(t *testing.T) {
	for _, test := range [][3]string{
		{"[fe80::1%lo]:0", "[fe80::1]:7000", "[fe80::1%lo]:7000"},
		{"[fe80::1%lo]:0", "[fe80::1%lo]:7000", "[fe80::1%lo]:7000"},
		{":7000", "[::]:7000", "[::]:7000"},
		{"localhost:7000", "127.0.0.1:7000", "127.0.0.1:7000"},
	} {
		addr, err := net.ResolveTCPAddr("tcp", test[1])
		if err != nil {
			t.Fatal(err)
		}
		if got := withZone(addr, test[0]).String(); got != test[2] {
			t.Errorf("--listen %s: %s; want %s", test[0], got, test[2])
		}
	}
}

// What the guess is depends on the machine; the end-to-end tests have it checked by a client.
func TestOwnAddress(t *testing.T) {
	s := new(serverTLS)
	for _, listen := range []string{":8443", "0.0.0.0:8443", "[::]:8443"} {
		if host := s.guessHost(listen); host == "" || strings.ContainsAny(host, "/ ") ||
			host == "0.0.0.0" || host == "::" {
			t.Errorf("%s: guessed %q", listen, host)
		}
	}
}
