package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/transport"
	"tunnel/transport/diagnose"
)

// marked reports whether a 401 is from the tunnel server itself, by transport.Realm. why is the
// reason in it, "" for none.
func marked(resp *http.Response) (own bool, why string) {
	for _, challenge := range resp.Header.Values("WWW-Authenticate") {
		scheme, rest, _ := strings.Cut(challenge, " ")
		if strings.EqualFold(scheme, "Bearer") &&
			strings.Contains(rest, `realm="`+transport.Realm+`"`) {
			_, why, _ = strings.Cut(rest, `error_description="`)
			why, _, _ = strings.Cut(why, `"`)
			return true, diagnose.OneLine(why)
		}
	}
	return false, ""
}

// refused returns the error for a response that refuses the WebSocket; first are the first bytes of
// the response.
func (d *Request) refused(ctx context.Context, resp *http.Response, first []byte, err error) error {
	if resp == nil {
		return d.unanswered(ctx, first, err)
	}
	what := fmt.Errorf("%s answered %s", transport.Readable(d.URL), resp.Status)
	own, why := marked(resp)
	switch code := resp.StatusCode; {
	case code == http.StatusUnauthorized && own && why != "":
		return &transport.StepError{Step: transport.StepAuth, Err: fmt.Errorf("%w: %s", what, why),
			Reason: transport.ReasonTokenOver}
	case code == http.StatusUnauthorized && own:
		reason := transport.ReasonToken
		if d.ClientCertificate {
			reason = transport.ReasonTokenOrCert
		}
		about := "the server does not accept this token"
		if d.Token == "" {
			about = "this client gave no token"
		}
		what = fmt.Errorf("%w: %s", what, about)
		return &transport.StepError{Step: transport.StepAuth, Err: what, Reason: reason}
	case code == http.StatusUnauthorized && d.Header.Get("Authorization") != "":
		return &transport.StepError{Step: transport.StepAuth, Err: what,
			Reason:  transport.ReasonHeader,
			Subject: "Authorization", Advice: offered(resp), Doubtful: true}
	case code == http.StatusUnauthorized:
		return &transport.StepError{Step: transport.StepAuth, Err: what,
			Reason: transport.ReasonDoubtful, Subject: offered(resp), Doubtful: true}
	case code == http.StatusTooManyRequests:
		return tooMany(what, resp)
	case code == http.StatusProxyAuthRequired && d.Header.Get("Proxy-Authorization") != "":
		return &transport.StepError{Step: transport.StepProxy, Err: what,
			Reason: transport.ReasonHeader, Subject: "Proxy-Authorization"}
	case code == http.StatusProxyAuthRequired:
		return &transport.StepError{Step: transport.StepProxy, Err: what,
			Reason: transport.ReasonProxyFront}
	case code >= 300 && code < 400 && resp.Header.Get("Location") != "":
		return &transport.StepError{Step: transport.StepHTTP,
			Err: fmt.Errorf("%w, and sends us to %s", what,
				diagnose.OneLine(resp.Header.Get("Location"))),
			Advice: "give that URL if it is the server's; a login page of this network wants a " +
				"browser first"}
	case (code == http.StatusBadRequest || code == http.StatusForbidden) && wantsCertificate(resp):
		reason := transport.ReasonCertWanted
		if d.ClientCertificate {
			reason = transport.ReasonCertRefused
		}
		return &transport.StepError{Step: transport.StepHTTP, Err: what, Reason: reason}
	case code == http.StatusBadRequest && d.URL.Scheme == "ws":
		return &transport.StepError{Step: transport.StepHTTP, Err: what,
			Advice: "if it speaks TLS, use wss://"}
	case code == http.StatusUpgradeRequired:
		return &transport.StepError{Step: transport.StepHTTP, Err: what,
			Advice: "a proxy in front of the server removes the Upgrade header: have it pass " +
				"WebSockets on"}
	case code == http.StatusBadGateway, code == http.StatusServiceUnavailable,
		code == http.StatusGatewayTimeout:
		if after, told := retryAfter(resp, time.Now()); told &&
			code == http.StatusServiceUnavailable {
			what = &transport.BusyError{Err: what, After: after}
		}
		return &transport.StepError{Step: transport.StepHTTP, Err: what,
			Advice: "the proxy in front is up: check that `tunnel serve` runs behind it, " +
				"and that the proxy speaks HTTP/1.1 to it, not HTTP/2 or a TLS that it does not " +
				"expect: its log says so"}
	case code == http.StatusNetworkAuthenticationRequired: // RFC 6585 section 6
		return &transport.StepError{Step: transport.StepHTTP, Err: what,
			Advice: "this network wants a login: open its page in a browser"}
	// the library's error has a line of details that do not help a user
	case code == http.StatusSwitchingProtocols:
		return &transport.StepError{Step: transport.StepHTTP,
			Err:    fmt.Errorf("%w, but not with a WebSocket of ours", what),
			Reason: transport.ReasonURL, Advice: ", and that no proxy in front changes the " +
				"headers of WebSockets"}
	}
	return &transport.StepError{Step: transport.StepHTTP, Err: fmt.Errorf("%w: not a tunnel server",
		what), Reason: transport.ReasonURL, Advice: adviseAnswer(resp)}
}

// unanswered returns the error for a server that sent no HTTP/1 response.
func (d *Request) unanswered(ctx context.Context, first []byte, err error) error {
	if alert := diagnose.Alert(err); alert != nil {
		return diagnose.TLS(&transport.StepError{Step: transport.StepTLS,
			Err: fmt.Errorf("TLS with %s: %w", d.URL.Host, alert)}, alert)
	}
	switch protocol := diagnose.Protocol(first); {
	case protocol == "TLS":
		return &transport.StepError{Step: transport.StepHTTP,
			Err: errors.New("the server answered with a TLS alert"), Advice: "it speaks TLS: use " +
				"wss://"}
	case protocol == "HTTP/2":
		return &transport.StepError{Step: transport.StepHTTP,
			Err: fmt.Errorf("%s speaks HTTP/2 only",
				transport.Readable(d.URL)), Advice: diagnose.AdviseHTTP2}
	case protocol != "":
		return &transport.StepError{Step: transport.StepHTTP,
			Err: fmt.Errorf("%s speaks %s, not HTTP: %s", transport.Readable(d.URL), protocol,
				diagnose.QuoteLine(d.Sent.Line(first))),
			Advice: diagnose.AdviseProtocol(protocol)}
	// net/http has no error value for it
	case strings.Contains(err.Error(), "response headers exceeded"):
		return &transport.StepError{Step: transport.StepHTTP,
			Err: fmt.Errorf("%s: %w", transport.Readable(d.URL),
				diagnose.ErrLongAnswer), Reason: transport.ReasonURL}
	case ctx.Err() != nil:
		return &transport.StepError{Step: transport.StepHTTP,
			Err:    fmt.Errorf("%s: no answer to the request", transport.Readable(d.URL)),
			Reason: transport.ReasonURL, Advice: ", and that a proxy in front passes WebSockets " +
				"on at once"}
	case len(first) == 0 && diagnose.HungUp(err):
		advice := "if it speaks TLS, use wss://; if HTTP/2 only, let it offer HTTP/1.1 as well"
		if d.URL.Scheme == "wss" {
			advice = "a proxy in front may speak HTTP/2 only (let it offer HTTP/1.1 as well), or " +
				"forbid WebSockets: see its log"
		}
		if errors.Is(err, unix.ECONNRESET) {
			advice = diagnose.AdviseReset + "; " + advice
		}
		return &transport.StepError{Step: transport.StepHTTP, Err: diagnose.ErrNoAnswer,
			Advice: advice}
	}
	return &transport.StepError{Step: transport.StepHTTP,
		Err: fmt.Errorf("%s: %w", transport.Readable(d.URL),
			d.Sent.Error(diagnose.Plain(err))), Reason: transport.ReasonURL}
}

// offered returns the authentication schemes of a 401, in brackets for the middle of a sentence; ""
// for none.
func offered(resp *http.Response) string {
	names := diagnose.Schemes(resp.Header.Values("WWW-Authenticate"))
	if len(names) == 0 {
		return ""
	}
	return " (it asks for " + strings.Join(names, ", ") + ")"
}

// wantsCertificate reports whether a response is about a client certificate, as those of nginx: "No
// required SSL certificate was sent", "The SSL certificate error". The WebSocket library keeps the
// first 1,024 bytes of its body.
func wantsCertificate(resp *http.Response) bool {
	if resp.Body == nil {
		return false
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
	text := strings.ToLower(resp.Status + " " + string(body))
	return strings.Contains(text, "ssl certificate") || strings.Contains(text, "client certificate")
}

// adviseAnswer returns what to do, besides ReasonURL, about a response that is not a tunnel
// server's.
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

// maxRetryAfter bounds the Retry-After of a server, which a client obeys.
const maxRetryAfter = time.Hour

// retryAfter returns the Retry-After of a response (RFC 9110 section 10.2.3), at most
// maxRetryAfter; false if it has none.
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

// tooMany returns the error for a response of 429.
func tooMany(what error, resp *http.Response) *transport.StepError {
	after, told := retryAfter(resp, time.Now())
	if !told {
		return &transport.StepError{Step: transport.StepHTTP, Err: &transport.BusyError{Err: what},
			Advice: "too many requests came from this address: try again later"}
	}
	return &transport.StepError{Step: transport.StepHTTP, Err: &transport.BusyError{Err: what,
		After: after}, Advice: fmt.Sprintf(
		"too many connections, or too many wrong tokens, came from this address, or too many "+
			"logins with this token: try again in %v",
		after.Round(time.Second))}
}
