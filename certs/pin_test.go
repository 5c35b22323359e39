package certs

import (
	"crypto/tls"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func TestParsePin(t *testing.T) {
	// The example of RFC 7469 section 2.1.5, with our prefix.
	const text = "sha256:d6qzRu9zOECb90Uez27xWltNsj0e1Md7GkYYkVoZWmM="
	p, err := ParsePin(text)
	if err != nil || p.String() != text {
		t.Fatalf("%v, %v; want %s", p, err, text)
	}
	for _, same := range []string{
		strings.TrimSuffix(text, "="),
		"sha256:" + hex.EncodeToString(p[:]),
		"sha256:" + strings.ToUpper(hex.EncodeToString(p[:])),
	} {
		if got, err := ParsePin(same); err != nil || got != p {
			t.Errorf("%s: %v, %v", same, got, err)
		}
	}
	for _, bad := range []string{
		"", "sha256:", strings.TrimPrefix(text, "sha256:"), "sha1:" + text, text + "=", text + "A",
		text[:len(text)-2],
		"sha256:" + strings.Repeat("g", 64), "sha256:" + strings.Repeat("a", 63),
		"sha256:" + strings.Repeat("a", 65),
		"sha256:d6qzRu9zOECb90Uez27xWltNsj0e1Md7GkYYkVoZWmN=", // bits behind the end
		"SHA256:" + strings.TrimPrefix(text, "sha256:"), text + "\n",
	} {
		if got, err := ParsePin(bad); err == nil {
			t.Errorf("%q is read as %v", bad, got)
		}
	}
}

func TestPinsVerify(t *testing.T) {
	own, other := newIdentity(t, t.TempDir(), "192.0.2.1"), newIdentity(t, t.TempDir(), "192.0.2.1")
	shown := func(chain ...*Identity) tls.ConnectionState {
		var s tls.ConnectionState
		for _, i := range chain {
			s.PeerCertificates = append(s.PeerCertificates, i.Certificate.Leaf)
		}
		return s
	}
	if PinOf(own.Certificate.Leaf) != own.Pin() || own.Pin() == other.Pin() {
		t.Fatalf("pins %v and %v", own.Pin(), other.Pin())
	}
	for name, pins := range map[string]Pins{"it": {own.Pin()},
		"the second": {other.Pin(), own.Pin()}} {
		if err := pins.Verify(shown(own)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// An attacker can put the pinned certificate behind their own.
	for name, state := range map[string]tls.ConnectionState{"another": shown(other),
		"another with the right one above": shown(other, own)} {
		err := Pins{own.Pin()}.Verify(state)
		var wrong *PinError
		if !errors.As(err, &wrong) || wrong.Seen != other.Pin() {
			t.Fatalf("%s: %v", name, err)
		}
		for _, want := range []string{own.Pin().String(), other.Pin().String()} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not say %s", err, want)
			}
		}
	}
	if err := (Pins{own.Pin()}).Verify(tls.ConnectionState{}); err == nil {
		t.Error("no certificate, and yet the right one")
	}
	if err := (Pins{}).Verify(shown(own)); err == nil {
		t.Error("no pin, and yet the right one")
	}
}
