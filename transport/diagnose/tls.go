// Package diagnose explains why a step failed and what a user can do about it, from errors of the
// operating system, TLS alerts, and answers of servers and proxies of other kinds.
package diagnose

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
	"net/url"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"tunnel/transport"
)

// TLS adds what to do about cause, an error of the TLS handshake, to the error of a step. An error
// of the caller's own check may have a method Reason.
func TLS(step *transport.StepError, cause error) *transport.StepError {
	var (
		own       interface{ Reason() string }
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
	)
	switch {
	case errors.As(cause, &own):
		step.Reason = transport.Reason(own.Reason())
	case errors.As(cause, &authority):
		step.Reason, step.Subject = transport.ReasonAuthority, shownPin(cause)
	case errors.As(cause, &hostname):
		step.Reason = transport.ReasonHostname
	case Alert(cause) != nil:
		step.Reason, step.Advice = explainAlert(cause.Error())
	default:
		step.Advice = adviseTLS(cause)
	}
	return step
}

// adviseTLS returns what to do about an error of the TLS handshake that no setting can solve.
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
		return AdviseReset + ", or it does not speak TLS on this port"
	}
	if HungUp(err) {
		return "check that the server speaks TLS on this port, and that nothing between forbids it"
	}
	return adviseNoTLS
}

const adviseNoTLS = "check that the server speaks TLS on this port"

// adviseRecord returns what to do about a server that does not speak TLS, from the first bytes that
// it sent.
func adviseRecord(first []byte) string {
	switch protocol := Protocol(first); {
	case string(first) == "HTTP/":
		return "the server speaks plain HTTP on this port: use ws://, or the port that has TLS"
	case protocol == "HTTP/2":
		return "the server speaks HTTP/2 only, and no TLS, on this port: use another port"
	case protocol != "" && protocol != "TLS":
		return "the server speaks " + protocol + " on this port, not TLS: use another port (or " +
			"ws://)"
	}
	return "the server does not speak TLS on this port: use ws://, or another port"
}

// AdviseReset is the advice for a reset before there is a session: tunnel servers reset connections
// that they limit.
const AdviseReset = "try again: the server may have too many connections from this address, or " +
	"be under attack, as its log says"

// shownPin returns the pin of the server's key, for the user to compare, since it proves nothing by
// itself; "" if the server has shown no key.
func shownPin(err error) string {
	var failed *tls.CertificateVerificationError
	if !errors.As(err, &failed) || len(failed.UnverifiedCertificates) == 0 {
		return ""
	}
	hash := sha256.Sum256(failed.UnverifiedCertificates[0].RawSubjectPublicKeyInfo)
	return "sha256:" + base64.StdEncoding.EncodeToString(hash[:])
}

// explainAlert returns the reason or advice for an alert of the server. crypto/tls identifies
// alerts only by their texts.
func explainAlert(text string) (reason transport.Reason, advice string) {
	switch _, alert, _ := strings.Cut(text, "tls: "); alert {
	case "certificate required":
		return transport.ReasonCertWanted, ""
	case "bad certificate", "unknown certificate", "unknown certificate authority",
		"unsupported certificate", "expired certificate", "revoked certificate":
		return transport.ReasonCertRefused, ""
	case "handshake failure":
		return transport.ReasonCertPerhaps, ""
	case "no application protocol":
		return "", "the server speaks HTTP/2 only: " + AdviseHTTP2
	case "internal error":
		return "", "the server has no certificate to show: its log says why"
	}
	return "", adviseNoTLS
}

// Plain returns an error without the operation and addresses that packages net and os add to it,
// for a text that has them already.
func Plain(err error) error {
	var step *transport.StepError
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

// HungUp reports whether err means that the other side closed the connection.
func HungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// Alert returns the TLS alert of the other side in err; nil for none. With TLS 1.3, the alert of a
// server that refuses a client's certificate arrives after the handshake has ended for the client.
func Alert(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return op
	}
	return nil
}
