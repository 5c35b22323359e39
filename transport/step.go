package transport

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Step is a part of the way to a session, in the order in which they are taken.
type Step string

// The steps of Dial and of Request.
const (
	StepName    Step = "name"    // the name becomes addresses
	StepTCP     Step = "tcp"     // a TCP connection to one of them
	StepProxy   Step = "proxy"   // through the proxy
	StepTLS     Step = "tls"     // the TLS handshake
	StepHTTP    Step = "http"    // the upgrade to a WebSocket of ours
	StepAuth    Step = "auth"    // the token
	StepAddress Step = "address" // a pair of addresses
)

// StepError is a failure that a person can do something about.
type StepError struct {
	Step   Step
	Err    error
	Advice string // what to do; begins in lower case, no full stop. Behind the words of a Reason it begins with a separator

	Reason  Reason // "" where Advice says all
	Subject string // what the reason is about

	// Doubtful says of StepAuth that the refusal does not bear the server's mark: something in front of the server may
	// have said it, a login page of the network for instance, and the token may be right.
	Doubtful bool
}

func (e *StepError) Error() string { return string(e.Step) + ": " + e.Err.Error() }

func (e *StepError) Unwrap() error { return e.Err }

// Realm is the realm of the challenge in the server's 401 (RFC 6750 section 3): the mark by which a client tells the
// server's own word from that of anything in front of it. It names nothing, as no answer to strangers does.
const Realm = "tnl"

// marked reports whether a 401 is the server's own word. why is the reason that it gives, "" if none.
func marked(resp *http.Response) (own bool, why string) {
	for _, challenge := range resp.Header.Values("WWW-Authenticate") {
		scheme, rest, _ := strings.Cut(challenge, " ")
		if strings.EqualFold(scheme, "Bearer") && strings.Contains(rest, `realm="`+Realm+`"`) {
			_, why, _ = strings.Cut(rest, `error_description="`)
			why, _, _ = strings.Cut(why, `"`)
			return true, oneLine(why)
		}
	}
	return false, ""
}

// refused explains why the request for a WebSocket did not lead to one; first is how the answer begins.
func (d *Dialer) refused(ctx context.Context, resp *http.Response, first []byte, err error) error {
	if resp == nil {
		return d.unanswered(ctx, first, err)
	}
	what := fmt.Errorf("%s answered %s", Readable(d.URL), resp.Status)
	own, why := marked(resp)
	switch code := resp.StatusCode; {
	case code == http.StatusUnauthorized && own && why != "":
		return &StepError{Step: StepAuth, Err: fmt.Errorf("%w: %s", what, why), Reason: ReasonTokenOver}
	case code == http.StatusUnauthorized && own:
		reason := ReasonToken
		if d.TLS != nil && d.TLS.GetClientCertificate != nil {
			reason = ReasonTokenOrCert
		}
		return &StepError{Step: StepAuth, Err: what, Reason: reason}
	case code == http.StatusUnauthorized && d.Header.Get("Authorization") != "":
		return &StepError{Step: StepAuth, Err: what, Reason: ReasonHeader, Subject: "Authorization", Advice: offered(resp), Doubtful: true}
	case code == http.StatusUnauthorized:
		return &StepError{Step: StepAuth, Err: what, Reason: ReasonDoubtful, Subject: offered(resp), Doubtful: true}
	case code == http.StatusTooManyRequests:
		return tooMany(what, resp)
	case code == http.StatusProxyAuthRequired && d.Header.Get("Proxy-Authorization") != "":
		return &StepError{Step: StepProxy, Err: what, Reason: ReasonHeader, Subject: "Proxy-Authorization"}
	case code == http.StatusProxyAuthRequired:
		return &StepError{Step: StepProxy, Err: what, Reason: ReasonProxyFront}
	case code >= 300 && code < 400 && resp.Header.Get("Location") != "":
		return &StepError{Step: StepHTTP, Err: fmt.Errorf("%w, and sends us to %s", what, oneLine(resp.Header.Get("Location"))),
			Advice: "give that URL if it is the server's; a login page of this network wants a browser first"}
	case (code == http.StatusBadRequest || code == http.StatusForbidden) && wantsCertificate(resp):
		reason := ReasonCertWanted
		if d.TLS != nil && d.TLS.GetClientCertificate != nil {
			reason = ReasonCertRefused
		}
		return &StepError{Step: StepHTTP, Err: what, Reason: reason}
	case code == http.StatusBadRequest && d.URL.Scheme == "ws":
		return &StepError{Step: StepHTTP, Err: what, Advice: "if it speaks TLS, use wss://"}
	case code == http.StatusUpgradeRequired:
		return &StepError{Step: StepHTTP, Err: what, Advice: "a proxy in front of the server removes the Upgrade header: have it pass WebSockets on"}
	case code == http.StatusBadGateway, code == http.StatusServiceUnavailable, code == http.StatusGatewayTimeout:
		if after, told := retryAfter(resp, time.Now()); told && code == http.StatusServiceUnavailable {
			what = &BusyError{what, after}
		}
		return &StepError{Step: StepHTTP, Err: what, Advice: "the proxy in front is up: check that `tunnel serve` runs behind it, " +
			"and that the proxy speaks HTTP/1.1 to it, not HTTP/2 or a TLS that it does not expect: its log says so"}
	case code == http.StatusNetworkAuthenticationRequired: // RFC 6585 section 6
		return &StepError{Step: StepHTTP, Err: what, Advice: "this network wants a login: open its page in a browser"}
	case code == http.StatusSwitchingProtocols: // the library's error has a line of details that help nobody
		return &StepError{Step: StepHTTP, Err: fmt.Errorf("%w, but not with a WebSocket of ours", what),
			Reason: ReasonURL, Advice: ", and that no proxy in front changes the headers of WebSockets"}
	}
	return &StepError{Step: StepHTTP, Err: fmt.Errorf("%w: not a tunnel server", what), Reason: ReasonURL, Advice: adviseAnswer(resp)}
}

// unanswered explains why no answer came that is one of HTTP/1.
func (d *Dialer) unanswered(ctx context.Context, first []byte, err error) error {
	if alert := alerted(err); alert != nil {
		return explainTLS(&StepError{Step: StepTLS, Err: fmt.Errorf("TLS with %s: %w", d.URL.Host, alert)}, alert)
	}
	switch protocol := protocolOf(first); {
	case protocol == "TLS":
		return &StepError{Step: StepHTTP, Err: errors.New("the server answered with a TLS alert"), Advice: "it speaks TLS: use wss://"}
	case protocol == "HTTP/2":
		return &StepError{Step: StepHTTP, Err: fmt.Errorf("%s speaks HTTP/2 only", Readable(d.URL)), Advice: adviseHTTP2}
	case protocol != "":
		return &StepError{Step: StepHTTP, Err: fmt.Errorf("%s speaks %s, not HTTP: %s", Readable(d.URL), protocol, quoteLine(first)),
			Advice: adviseProtocol(protocol)}
	case strings.Contains(err.Error(), "response headers exceeded"): // net/http has no error value for it
		return &StepError{Step: StepHTTP, Err: fmt.Errorf("%s: %w", Readable(d.URL), errLongAnswer), Reason: ReasonURL}
	case ctx.Err() != nil:
		return &StepError{Step: StepHTTP, Err: fmt.Errorf("%s: no answer to the request", Readable(d.URL)),
			Reason: ReasonURL, Advice: ", and that a proxy in front passes WebSockets on at once"}
	case len(first) == 0 && hungUp(err):
		advice := "if it speaks TLS, use wss://; if HTTP/2 only, let it offer HTTP/1.1 as well"
		if d.URL.Scheme == "wss" {
			advice = "a proxy in front may speak HTTP/2 only (let it offer HTTP/1.1 as well), or forbid WebSockets: see its log"
		}
		if errors.Is(err, unix.ECONNRESET) {
			advice = adviseReset + "; " + advice
		}
		return &StepError{Step: StepHTTP, Err: errHungUp, Advice: advice}
	}
	return &StepError{Step: StepHTTP, Err: fmt.Errorf("%s: %w", Readable(d.URL), plain(err)), Reason: ReasonURL}
}

// offered returns by which schemes a 401 asks for a password, in brackets for the middle of a sentence; "" for none.
func offered(resp *http.Response) string {
	names := schemes(resp.Header.Values("WWW-Authenticate"))
	if len(names) == 0 {
		return ""
	}
	return " (it asks for " + strings.Join(names, ", ") + ")"
}

// wantsCertificate reports whether an answer is about a client certificate, as nginx's are: "No required SSL certificate was
// sent", "The SSL certificate error". The WebSocket library keeps the first 1,024 bytes of its body.
func wantsCertificate(resp *http.Response) bool {
	if resp.Body == nil {
		return false
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
	text := strings.ToLower(resp.Status + " " + string(body))
	return strings.Contains(text, "ssl certificate") || strings.Contains(text, "client certificate")
}

// adviseAnswer tells what to do besides ReasonURL about an answer that no tunnel server gives.
func adviseAnswer(resp *http.Response) string {
	switch code := resp.StatusCode; {
	case code == http.StatusNotFound:
		return "; a proxy in front must pass the Upgrade header on"
	case code == http.StatusForbidden:
		return "; a proxy or firewall between may forbid WebSockets"
	case code == http.StatusBadRequest:
		return "; a proxy in front may not know WebSockets"
	case code < 300 && strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html"):
		return "; if it is a login page of this network, open it in a browser"
	}
	return ""
}

// oneLine returns what the other side says without control characters, and not too long.
func oneLine(s string) string {
	if len(s) > 80 {
		s = s[:80] + "…"
	}
	return strings.Trim(strconv.Quote(s), `"`)
}

// BusyError is the Err of a StepError when the server takes no login for now: it answers 429 Too Many Requests, for this
// address or this token, or 503 Service Unavailable with the time at which to come back.
type BusyError struct {
	Err   error
	After time.Duration // after which the server wants another attempt, 0 to maxRetryAfter; 0 if it has not said so
}

func (e *BusyError) Error() string { return e.Err.Error() }

func (e *BusyError) Unwrap() error { return e.Err }

// maxRetryAfter is the longest time for which a client takes a server's word to stay away.
const maxRetryAfter = time.Hour

// retryAfter returns how long an answer wants us to stay away (RFC 9110 section 10.2.3), at most maxRetryAfter; false if
// it does not say.
func retryAfter(resp *http.Response, now time.Time) (time.Duration, bool) {
	text := resp.Header.Get("Retry-After")
	if date, err := http.ParseTime(text); err == nil {
		return min(max(date.Sub(now), 0), maxRetryAfter), true
	}
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	seconds, err := strconv.ParseUint(text, 10, 31)
	if err != nil { // out of range
		return maxRetryAfter, true
	}
	return min(time.Duration(seconds)*time.Second, maxRetryAfter), true
}

// tooMany explains an answer of 429.
func tooMany(what error, resp *http.Response) *StepError {
	after, told := retryAfter(resp, time.Now())
	if !told {
		return &StepError{Step: StepHTTP, Err: &BusyError{what, 0}, Advice: "too many requests came from this address: try again later"}
	}
	return &StepError{Step: StepHTTP, Err: &BusyError{what, after}, Advice: fmt.Sprintf(
		"too many connections, or too many wrong tokens, came from this address, or too many logins with this token: try again in %v",
		after.Round(time.Second))}
}

// explainTLS adds what to do about cause, an error of the TLS handshake, to the error of a step. An error of the caller's own
// check may bring its reason.
func explainTLS(step *StepError, cause error) *StepError {
	var (
		own       interface{ Reason() string }
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
	)
	switch {
	case errors.As(cause, &own):
		step.Reason = Reason(own.Reason())
	case errors.As(cause, &authority):
		step.Reason, step.Subject = ReasonAuthority, shownPin(cause)
	case errors.As(cause, &hostname):
		step.Reason = ReasonHostname
	case alerted(cause) != nil:
		step.Reason, step.Advice = explainAlert(cause.Error())
	default:
		step.Advice = adviseTLS(cause)
	}
	return step
}

// adviseTLS tells what to do about an error of the TLS handshake that is no matter of settings.
func adviseTLS(err error) string {
	var (
		invalid x509.CertificateInvalidError
		record  tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "renew the server's certificate, or set this machine's clock"
	case errors.As(err, &record):
		return adviseRecord(record.RecordHeader[:])
	case errors.Is(err, unix.ECONNRESET):
		return adviseReset + ", or it does not speak TLS on this port"
	}
	if hungUp(err) {
		return "check that the server speaks TLS on this port, and that nothing between forbids it"
	}
	return adviseNoTLS
}

const adviseNoTLS = "check that the server speaks TLS on this port"

// adviseRecord tells what to do about a server that speaks first, or answers a TLS handshake by something else: its first
// bytes say by what.
func adviseRecord(first []byte) string {
	switch protocol := protocolOf(first); {
	case string(first) == "HTTP/":
		return "the server speaks plain HTTP on this port: use ws://, or the port that has TLS"
	case protocol == "HTTP/2":
		return "the server speaks HTTP/2 only, and no TLS, on this port: use another port"
	case protocol != "" && protocol != "TLS":
		return "the server speaks " + protocol + " on this port, not TLS: use another port (or ws://)"
	}
	return "the server does not speak TLS on this port: use ws://, or another port"
}

// adviseReset tells what a server of ours means by a reset before there is a session.
const adviseReset = "try again: the server may have too many connections from this address, or be under attack, as its log says"

// shownPin returns the pin of the key that was seen, for a person to compare: alone it proves nothing. It is "" if none was.
func shownPin(err error) string {
	var failed *tls.CertificateVerificationError
	if !errors.As(err, &failed) || len(failed.UnverifiedCertificates) == 0 {
		return ""
	}
	hash := sha256.Sum256(failed.UnverifiedCertificates[0].RawSubjectPublicKeyInfo)
	return "sha256:" + base64.StdEncoding.EncodeToString(hash[:])
}

// explainAlert tells what to do about what the server has said. crypto/tls has no names for alerts but in their texts.
func explainAlert(text string) (reason Reason, advice string) {
	switch _, alert, _ := strings.Cut(text, "tls: "); alert {
	case "certificate required":
		return ReasonCertWanted, ""
	case "bad certificate", "unknown certificate", "unknown certificate authority", "unsupported certificate", "expired certificate", "revoked certificate":
		return ReasonCertRefused, ""
	case "handshake failure":
		return ReasonCertPerhaps, ""
	case "no application protocol":
		return "", "the server speaks HTTP/2 only: " + adviseHTTP2
	case "internal error":
		return "", "the server has no certificate to show: its log says why"
	}
	return "", adviseNoTLS
}

// plain strips the operation and addresses that net and os wrap around an error's cause where the text around has them.
func plain(err error) error {
	var step *StepError
	if errors.As(err, &step) {
		return step.Err
	}
	if errors.Is(err, context.DeadlineExceeded) || os.IsTimeout(err) {
		var op *net.OpError
		if errors.As(err, &op) && op.Addr != nil {
			return fmt.Errorf("%s does not answer", op.Addr)
		}
		return errors.New("no answer in time")
	}
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Addr != nil {
		var sys *os.SyscallError
		if errors.As(op.Err, &sys) {
			return fmt.Errorf("%s: %w", op.Addr, sys.Err)
		}
		return fmt.Errorf("%s: %w", op.Addr, op.Err)
	}
	return err
}
