package remote

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"tunnel/doctor"
	"tunnel/transport"
	"tunnel/transport/diagnose"
	"tunnel/transport/tcp"
	"tunnel/transport/ws/upgrade"
)

// upgrade asks for a WebSocket with the token. The server checks the token before it answers.
func (p *path) upgrade(ctx context.Context, conn *tcp.Conn) (early []byte, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	var answer *http.Response
	d := &p.Dialer
	early, err := upgrade.Client(ctx, conn, upgrade.Request{URL: d.URL, Header: p.Header,
		Token: p.Token, ClientCertificate: d.TLS != nil && d.TLS.GetClientCertificate != nil,
		Sent:     d.Sent,
		Answered: func(r *http.Response) { answer = r }})
	if answer != nil {
		p.judgeClock(answer)
	}
	if err == nil {
		p.ok(checkUpgrade, "101 Switching Protocols%s", answeredBy(answer))
		with := "the token is accepted"
		if p.Token == "" {
			with = "the server wants no token"
		}
		p.ok(checkProtocol, "%s, %s", transport.Subprotocol, with)
		return early, true
	}
	p.failUpgrade(ctx, answer, err)
	return nil, false
}

// answeredBy names the programs that an answer says it comes from.
func answeredBy(answer *http.Response) string {
	if answer == nil {
		return ""
	}
	text := ""
	if server := answer.Header.Get("Server"); server != "" {
		text += ", by " + diagnose.OneLine(server)
	}
	if via := strings.Join(answer.Header.Values("Via"), ", "); via != "" {
		text += ", via " + diagnose.OneLine(via)
	}
	return text
}

// failUpgrade reports what came in the place of a WebSocket.
func (p *path) failUpgrade(ctx context.Context, answer *http.Response, err error) {
	var step *transport.StepError
	if !errors.As(err, &step) {
		p.fail(checkUpgrade, doctor.NotAServer, err, "")
		return
	}
	add := func(check string, problem doctor.Problem, advice string) {
		p.add(doctor.Finding{Check: check, Verdict: doctor.Fail, Problem: problem, Err: err,
			Saw: step.Err.Error() + answeredBy(answer), Advice: advice})
	}
	var busy *transport.BusyError
	switch {
	case step.Step == transport.StepTLS: // the server refuses the client's certificate
		add(checkTLS, doctor.TLSFails, "")
	case step.Step == transport.StepAuth && step.Doubtful:
		add(checkUpgrade, doctor.CaptivePortal, "")
	case step.Step == transport.StepAuth && p.Token == "":
		p.ok(checkUpgrade, "a tunnel server answers%s", answeredBy(answer))
		p.add(doctor.Finding{Check: checkProtocol, Verdict: doctor.Fail, Problem: doctor.NoToken,
			Saw: "the server wants a token, and none was given", Err: err})
	case step.Step == transport.StepAuth:
		p.ok(checkUpgrade, "a tunnel server answers%s", answeredBy(answer))
		add(checkProtocol, doctor.TokenRefused, "")
	case step.Step == transport.StepProxy:
		add(checkUpgrade, doctor.ProxyRefuses, "")
	case errors.As(err, &busy):
		add(checkUpgrade, doctor.ServerBusy, "")
	case answer == nil && timedOutText(ctx, err) &&
		p.findHole(context.WithoutCancel(ctx), checkUpgrade, step.Err.Error()):
	case answer == nil && timedOutText(ctx, err):
		add(checkUpgrade, doctor.NoAnswer, "")
	case answer == nil:
		add(checkUpgrade, doctor.NotAServer, "")
	case p.isPortal(answer):
		add(checkUpgrade, doctor.CaptivePortal, "a login page of this network answers: open any page "+
			"with http:// in a browser, and log in; or")
	case dropsUpgrade(answer):
		add(checkUpgrade, doctor.UpgradeDropped, "have what answered pass WebSockets on: for nginx "+
			"`proxy_http_version 1.1`, `proxy_set_header Upgrade $http_upgrade` and "+
			"`proxy_set_header Connection upgrade`; or")
	default:
		add(checkUpgrade, doctor.NotAServer, "")
	}
}

// timedOutText reports whether no answer came in time: the error of the upgrade has no cause.
func timedOutText(ctx context.Context, err error) bool {
	return ctx.Err() != nil || timedOut(err)
}

// isPortal reports whether an answer is that of a login page: it leads to another host, says that a
// login is needed (RFC 6585 section 6), or is a page.
func (p *path) isPortal(answer *http.Response) bool {
	code := answer.StatusCode
	if code == http.StatusNetworkAuthenticationRequired {
		return true
	}
	if to, err := url.Parse(answer.Header.Get("Location")); err == nil && code >= 300 && code < 400 {
		return to.Host != "" && !strings.EqualFold(to.Hostname(), p.Dialer.URL.Hostname())
	}
	return code == http.StatusOK &&
		strings.HasPrefix(answer.Header.Get("Content-Type"), "text/html")
}

// dropsUpgrade reports whether an answer is of a proxy in front of the server, or behind one that
// has not passed the request for a WebSocket on. The server itself names no program.
func dropsUpgrade(answer *http.Response) bool {
	named := answer.Header.Get("Server") != "" || len(answer.Header.Values("Via")) > 0
	switch answer.StatusCode {
	case http.StatusUpgradeRequired:
		return true
	case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound,
		http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusSwitchingProtocols:
		return named
	}
	return false
}
