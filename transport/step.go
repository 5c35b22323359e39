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
	Advice string // what to do; begins in lower case, no full stop
}

func (e *StepError) Error() string { return string(e.Step) + ": " + e.Err.Error() }

func (e *StepError) Unwrap() error { return e.Err }

// adviseProxyAuth is for a proxy of which only the scheme is known; it may be one that nobody has chosen.
func adviseProxyAuth(scheme string) string {
	return "give the user and password that it wants: TUNNEL_PROXY=" + scheme + "://USER:PASSWORD@HOST:PORT (unlike --proxy, other users of this machine cannot see it)"
}

const adviseHTTP = "check the URL's host, port and path, and the server's --path"

// brokenAnswer is what net/http says before it says what it could not read.
const brokenAnswer = "net/http: HTTP/1.x transport connection broken: "

// refused explains why the request for a WebSocket did not lead to one.
func (d *Dialer) refused(ctx context.Context, resp *http.Response, err error) error {
	if resp == nil {
		if alert := alerted(err); alert != nil {
			return &StepError{StepTLS, fmt.Errorf("TLS with %s: %w", d.URL.Host, alert), adviseTLS(alert)}
		}
		if ctx.Err() != nil {
			err = errors.New("no answer to the request")
		}
		if d.URL.Scheme == "ws" && errors.Is(err, io.EOF) {
			return &StepError{StepHTTP, errors.New("the server hung up on the request"), "if it speaks TLS, use wss://"}
		}
		err = plain(err)
		if d.URL.Scheme == "ws" && strings.HasPrefix(err.Error(), brokenAnswer+`malformed HTTP response "\x15\x03`) {
			return &StepError{StepHTTP, errors.New("the server answered with a TLS alert"), "it speaks TLS: use wss://"}
		}
		return &StepError{StepHTTP, fmt.Errorf("%s: %w", d.URL.Redacted(), err), adviseHTTP}
	}
	what := fmt.Errorf("%s answered %s", d.URL.Redacted(), resp.Status)
	switch code := resp.StatusCode; {
	case code == http.StatusUnauthorized:
		return &StepError{StepAuth, what, "give the server's token with --token-file or TUNNEL_TOKEN"}
	case code == http.StatusTooManyRequests:
		return tooMany(what, resp)
	case code == http.StatusProxyAuthRequired:
		return &StepError{StepProxy, what, adviseProxyAuth("http")}
	case code >= 300 && code < 400 && resp.Header.Get("Location") != "":
		return &StepError{StepHTTP, fmt.Errorf("%w, and sends us to %s", what, resp.Header.Get("Location")), "give that URL if it is the server's"}
	case code == http.StatusBadRequest && d.URL.Scheme == "ws":
		return &StepError{StepHTTP, what, "if it speaks TLS, use wss://"}
	case code == http.StatusBadGateway, code == http.StatusServiceUnavailable, code == http.StatusGatewayTimeout:
		return &StepError{StepHTTP, what, "the proxy in front is up: check that `tunnel serve` runs behind it"}
	case code == http.StatusSwitchingProtocols: // the library's error has a line of details that help nobody
		return &StepError{StepHTTP, fmt.Errorf("%w, but not with a WebSocket of ours", what), adviseHTTP}
	}
	return &StepError{StepHTTP, fmt.Errorf("%w: not a tunnel server", what), adviseHTTP}
}

// TooManyError is the Err of a StepError when the server answers 429 Too Many Requests: for now it takes no more logins
// from this address, or with this token.
type TooManyError struct {
	Err   error
	After time.Duration // after which the server wants another attempt; 0 is that it has not said so
}

func (e *TooManyError) Error() string { return e.Err.Error() }

func (e *TooManyError) Unwrap() error { return e.Err }

// tooMany explains an answer of 429. Retry-After (RFC 9110 section 10.2.3) is in seconds; a date is none of our server's.
func tooMany(what error, resp *http.Response) *StepError {
	wait, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31)
	if err != nil {
		return &StepError{StepHTTP, &TooManyError{what, 0}, "too many requests came from this address: try again later"}
	}
	after := time.Duration(wait) * time.Second
	return &StepError{StepHTTP, &TooManyError{what, after}, fmt.Sprintf(
		"too many connections, or too many wrong tokens, came from this address, or too many logins with this token: try again in %v", after)}
}

// adviseTLS tells what to do about an error of the TLS handshake. An error of the caller's own check may bring its advice.
func adviseTLS(err error) string {
	var (
		own       interface{ Advice() string }
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &own):
		return own.Advice()
	case errors.As(err, &authority):
		return "give its certificate with --ca FILE" + advisePin(err)
	case errors.As(err, &hostname):
		return "use a name that the certificate has, or give the --pin that the server prints"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "renew the server's certificate, or set this machine's clock"
	case errors.As(err, &record):
		return "the server does not speak TLS on this port: use ws://, or another port"
	case alerted(err) != nil:
		return adviseAlert(err.Error())
	}
	return "check that the server speaks TLS on this port"
}

// advisePin names the key that was seen, for a person to compare: alone it proves nothing.
func advisePin(err error) string {
	var failed *tls.CertificateVerificationError
	if !errors.As(err, &failed) || len(failed.UnverifiedCertificates) == 0 {
		return ""
	}
	hash := sha256.Sum256(failed.UnverifiedCertificates[0].RawSubjectPublicKeyInfo)
	return ", or --pin sha256:" + base64.StdEncoding.EncodeToString(hash[:]) + " if the server itself prints just that"
}

// adviseAlert tells what to do about what the server has said. crypto/tls has no names for alerts but in their texts.
func adviseAlert(text string) string {
	switch _, alert, _ := strings.Cut(text, "tls: "); alert {
	case "certificate required":
		return "the server demands a client certificate: give one with --tls-cert FILE --tls-key FILE"
	case "bad certificate", "unknown certificate", "unknown certificate authority", "unsupported certificate", "expired certificate", "revoked certificate":
		return "the server refuses this client's certificate: give one with --tls-cert that its --client-ca knows"
	case "handshake failure":
		return "the server may demand a client certificate (--tls-cert, --tls-key) or another kind of TLS"
	case "internal error":
		return "the server has no certificate to show: its log says why"
	}
	return "check that the server speaks TLS on this port"
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
