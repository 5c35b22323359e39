package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"tunnel/transport/redact"
)

// A secret is planted in each place where one may stand.
func TestScrub(t *testing.T) {
	const secret = "S3cr3tOf16BytesOrMore"
	for _, text := range []string{
		"token: " + secret,
		`{"reason":"it says ` + secret + `"}`, "a" + secret + "b",
		"alias https://user:other-password@proxy.example:3128/",
		"HTTPS_PROXY=http://other-password@proxy", "wss://hub.example/ws?key=other-password",
		"wss://hub.example/#other-password", "Authorization: Basic other-password",
		`"Authorization=Bearer other-password"`, "tunnel-authorization: other-password",
		"PROXY-AUTHORIZATION=Basic other-password", "sent bearer other-password",
		"comment \"tnl_abcdefghij_other-password\"", "tnl_abcdefghij_join_other-password",
		"-----BEGIN EC PRIVATE KEY-----\nother-password\n-----END EC PRIVATE KEY-----",
		"-----BEGIN PRIVATE KEY-----\nother-password\nand no end",
	} {
		got := string(Scrub([]byte(text), redact.Of("", "a", "S3cr3t", secret)))
		if strings.Contains(got, secret) || strings.Contains(got, "other-password") ||
			!strings.Contains(got, "…") {
			t.Errorf("%q becomes %q", text, got)
		}
	}
	for _, text := range []string{
		"inet 10.1.1.3 peer 10.1.1.4/32 scope global tun0", "wss://hub.example:8443/ws",
		"default via 192.0.2.1 dev eth0", "sha256:abcdefgh+/=", "a@b", "-----BEGIN CERTIFICATE-----\nx",
	} {
		if got := string(Scrub([]byte(text), redact.Of("", "a"))); got != text {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}

func TestWrite(t *testing.T) {
	var out bytes.Buffer
	err := Write(&out, time.Unix(1e9, 0), []File{{"a.txt", []byte("one secret")},
		{"b.txt", nil}}, redact.Of("secret"))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := gzip.NewReader(&out)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for archive := tar.NewReader(plain); ; {
		head, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, head.Name+"="+string(text))
	}
	if want := "tunnel-doctor/a.txt=one … tunnel-doctor/b.txt="; strings.Join(got, " ") != want {
		t.Errorf("got %q", got)
	}
}
