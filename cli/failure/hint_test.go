package failure

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"tunnel/transport"
)

// Each reason has words, and those of some are looked for by people who have met them before.
func TestHints(t *testing.T) {
	source, err := os.ReadFile("../../transport/reason.go")
	if err != nil {
		t.Fatal(err)
	}
	reasons := regexp.MustCompile(`(?m)^\tReason\w+ +Reason = "([^"]+)"`).FindAllStringSubmatch(
		string(source), -1)
	if len(reasons) < 20 {
		t.Fatalf("found %d reasons", len(reasons))
	}
	for _, r := range reasons {
		e := &transport.StepError{Step: transport.StepTLS, Err: errors.New("e"),
			Reason: transport.Reason(r[1]), Subject: "SUBJECT"}
		if text := hint(e); text == "" || strings.ToLower(text[:1]) != text[:1] ||
			strings.HasSuffix(text, ".") {
			t.Errorf("%s: %q", r[1], text)
		}
	}
	for reason, want := range map[transport.Reason]string{
		transport.ReasonToken:       "give the server's token with --token-file or TUNNEL_TOKEN",
		transport.ReasonTokenOrCert: "bound to another certificate than --tls-cert's",
		transport.ReasonDoubtful:    "older one, give its token with --token-file",
		transport.ReasonURL:         "the server's --path",
		transport.ReasonProxy:       "by --proxy none",
		transport.ReasonProxyFront:  "--header Proxy-Authorization=",
		transport.ReasonProxyLogin:  "TUNNEL_PROXY=SUBJECT://USER:PASSWORD@HOST:PORT",
		transport.ReasonAuthority:   "--ca FILE, or --pin SUBJECT if the server itself",
		transport.ReasonCertWanted:  "--tls-cert",
		transport.ReasonCertRefused: "--client-ca",
		transport.ReasonNotAccepted: "--network SUBJECT",
		transport.ReasonTokenOver:   "new token",
		transport.ReasonHasResolver: "--network SUBJECT; else choose another --network on the " +
			"server",
		transport.ReasonSessions:     "--max-sessions of",
		transport.ReasonNetworkFull:  "a larger --network",
		transport.ReasonAddress:      "leave --address out",
		transport.ReasonProxyRefuses: "it refuses this user and password",
	} {
		got := hint(&transport.StepError{Reason: reason, Subject: "SUBJECT", Advice: "; more"})
		if !strings.Contains(got, want) || !strings.HasSuffix(got, "; more") {
			t.Errorf("%s: %q lacks %q", reason, got, want)
		}
	}
	if got := hint(&transport.StepError{Advice: "wait"}); got != "wait" {
		t.Errorf("without a reason: %q", got)
	}
}
