package server_test

import (
	"strings"
	"testing"
	"time"

	"tunnel/auth"
	"tunnel/transport"
)

// TestOverIsTold asks with tokens that are over: the answer to the secret says why, and the answer
// to another secret with the same id is that to any wrong token.
func TestOverIsTold(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	revoked, used := h.token(auth.Spec{Name: "revoked"}), h.token(auth.Spec{Name: "used",
		Once: true})
	end := time.Now().Add(time.Second)
	expired := h.token(auth.Spec{Name: "expired", Expires: end})
	m := h.joinWith(used, transport.Connect{Session: "of-the-first"})
	h.joinWith(m.link.Credential, transport.Connect{Session: "of-the-first"})
	if _, err := h.Server.RevokeToken("revoked"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(end) + time.Millisecond)
	for text, why := range map[string]string{
		revoked: "the token was revoked", expired: "the token has expired",
		used: "the join token was used by another client",
	} {
		const wrong = `Bearer realm="tnl", error="invalid_token"`
		for _, forged := range []bool{false, true} {
			want := wrong + `, error_description="` + why + `"`
			if forged {
				text, want = text[:len(text)-4]+"0000", wrong // no digit of a secret
			}
			response, body := h.ask("GET /ws HTTP/1.1\n" + upgrade + "Authorization: Bearer " +
				text + "\n\n")
			if got := response.Header.Get("WWW-Authenticate"); response.StatusCode != 401 ||
				got != want || strings.Contains(body, "token") {
				t.Errorf("%s: %s %q; want %q\n%s", why, response.Status, got, want, body)
			}
		}
	}
}
