package remote

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"tunnel/doctor"
	"tunnel/transport"
	"tunnel/transport/diagnose"
)

// clockTolerance is by how much the clock of this machine and the server's Date may differ.
const clockTolerance = 5 * time.Minute

// judgeClock compares this machine's clock with the Date of an answer, if it has one.
func (p *path) judgeClock(answer *http.Response) {
	now := time.Now()
	date, err := http.ParseTime(answer.Header.Get("Date"))
	if err != nil {
		return
	}
	if off := now.Sub(date); off.Abs() > clockTolerance {
		p.warn(checkClock, doctor.ClockWrong, wrongBy(now, date)+", or the server's is",
			"have NTP set both clocks")
		return
	}
	p.ok(checkClock, "this machine's clock agrees with the server's within %v", clockTolerance)
}

// wrongBy says by how much this machine's clock differs from a server's.
func wrongBy(now, date time.Time) string {
	off := now.Sub(date)
	direction := "ahead"
	if off < 0 {
		direction = "behind"
	}
	return fmt.Sprintf("this machine's clock is wrong by %s: it says %s, and is %s of the server, "+
		"which says %s", span(off.Abs()), day(now), direction, day(date))
}

// span returns a time in its largest units.
func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", d/time.Hour)
	}
	return fmt.Sprintf("%d minutes", d/time.Minute)
}

// judgeDates finds out whether a certificate is not valid at the time, or this machine's clock is
// wrong: by the server's clock, which the certificate fits if this machine's is. Dates are checked
// before name and authority, and anybody on the path can show a certificate and a clock: if those
// are wrong, judgeDates reports nothing and returns what is.
func (p *path) judgeDates(ctx context.Context, err error, cert *x509.Certificate) error {
	now := time.Now()
	date, known := p.serverDate(ctx)
	at := date
	if fits := !date.Before(cert.NotBefore) && !date.After(cert.NotAfter); !known || !fits {
		at = cert.NotAfter
	}
	wrong := p.verifyAt(at)
	switch {
	case wrong != nil && !expired(wrong):
		host := p.Dialer.URL.Host
		return diagnose.TLS(&transport.StepError{Step: transport.StepTLS,
			Err: fmt.Errorf("TLS with %s: %w", host, wrong)}, wrong)
	case wrong == nil && at.Equal(date) && now.Sub(date).Abs() > clockTolerance:
		p.add(doctor.Finding{Check: checkClock, Verdict: doctor.Fail, Problem: doctor.ClockWrong,
			Saw:    wrongBy(now, date) + "; " + p.certificate(),
			Advice: "set this machine's clock, or have NTP set it"})
	default:
		p.add(doctor.Finding{Check: checkTLS, Verdict: doctor.Fail, Problem: doctor.CertificateExpired,
			Saw: fmt.Sprintf("%v; %s", plain(err), p.certificate()), Err: err})
	}
	return nil
}

// verifyAt checks the certificates that the server has shown as they would be at another time.
func (p *path) verifyAt(at time.Time) error {
	var roots *x509.CertPool
	if p.Dialer.TLS != nil {
		roots = p.Dialer.TLS.RootCAs
	}
	return verifyChain(*p.seen, roots, transport.PeerHost(p.Dialer.URL), at)
}

// expired reports whether a certificate was refused because of its dates.
func expired(err error) bool {
	var invalid x509.CertificateInvalidError
	return errors.As(err, &invalid) && invalid.Reason == x509.Expired
}

// serverDate asks for the Date of the server by a request without a token, on a connection whose
// certificate is not checked.
func (p *path) serverDate(ctx context.Context) (time.Time, bool) {
	d := p.Dialer
	d.TLS = &tls.Config{InsecureSkipVerify: true} // nothing secret is sent, or believed
	conn, _, err := connect(ctx, &d, stepTime)
	if err != nil {
		return time.Time{}, false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(stepTime))
	_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
		strings.TrimSuffix(transport.PeerHost(d.URL), "."))
	if err != nil {
		return time.Time{}, false
	}
	answer, err := http.ReadResponse(bufio.NewReader(diagnose.LimitAnswer(conn)), nil)
	if err != nil {
		return time.Time{}, false
	}
	_ = answer.Body.Close()
	date, err := http.ParseTime(answer.Header.Get("Date"))
	return date, err == nil
}
