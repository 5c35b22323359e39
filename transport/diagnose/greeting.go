package diagnose

import (
	"bytes"
	"strconv"
	"strings"
)

// GreetingLen is how many bytes of an answer are kept to identify its protocol: a line of a banner.
const GreetingLen = 64

// Protocol returns the name of the protocol of a connection with these first bytes, of which 5
// suffice; "" for an unknown one, and for HTTP/1, which is expected.
func Protocol(first []byte) string {
	for _, p := range []struct{ prefix, name string }{
		{"SSH-", "SSH"},          // RFC 4253 section 4.2
		{"220", "SMTP or FTP"},   // RFC 5321 section 4.2, RFC 959
		{"* OK", "IMAP"},         // RFC 9051 section 7.1.1
		{"+OK", "POP3"},          // RFC 1939 section 4
		{"RFB ", "VNC"},          // RFC 6143 section 7.1.1
		{"\x15\x03", "TLS"},      // RFC 8446 section 5.1: an alert
		{"\x16\x03", "TLS"},      // a handshake
		{"\x05\xff", "SOCKS5"},   // RFC 1928 section 3: no acceptable method
		{"\x00\x5b", "SOCKS4"},   // rejected
		{"HTTP/2", "HTTP/2"},     // printed by some servers
		{"PRI * HTTP", "HTTP/2"}, // RFC 9113 section 3.4
	} {
		if bytes.HasPrefix(first, []byte(p.prefix)) {
			return p.name
		}
	}
	// RFC 9113 section 4.1: 3 bytes of length, a type. A server begins with SETTINGS (4), perhaps
	// only to say GOAWAY (7).
	if len(first) >= 5 && first[0] == 0 && (first[3] == 4 || first[3] == 7) {
		return "HTTP/2"
	}
	return ""
}

// AdviseProtocol returns what to do about a server that speaks another protocol than HTTP/1.1.
func AdviseProtocol(name string) string {
	switch name {
	case "TLS":
		return "use wss://"
	case "HTTP/2":
		return AdviseHTTP2
	}
	return "check the port: a tunnel server, or the proxy in front of it, speaks HTTP"
}

// AdviseHTTP2 is what to do about a server that speaks HTTP/2 only.
const AdviseHTTP2 = "a WebSocket of ours begins with HTTP/1.1: let the proxy in front offer that " +
	"as well (ALPN http/1.1), or give the server's own port"

// Schemes returns the names of the authentication schemes in the values of Proxy-Authenticate or
// WWW-Authenticate (RFC 9110 section 11.6.1), in their order, at most four. It leaves out anything
// that is not a valid name, because the values are not trusted.
func Schemes(values []string) []string {
	var names []string
	for _, value := range values {
		for _, part := range splitQuoted(value) {
			name, _, _ := strings.Cut(strings.TrimSpace(part), " ")
			if len(names) < 4 && isScheme(name) && !strings.Contains(strings.Join(names, " ")+" ",
				name+" ") {
				names = append(names, name)
			}
		}
	}
	return names
}

// splitQuoted splits s at commas outside of quotes.
func splitQuoted(s string) []string {
	quoted := false
	return strings.FieldsFunc(s, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ',' && !quoted
	})
}

// isScheme reports whether a part of a challenge is the name of a scheme, and no parameter.
func isScheme(s string) bool {
	return s != "" && len(s) <= 20 && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-')
	})
}

// HasScheme reports whether one of names is a scheme, whose case does not matter.
func HasScheme(names []string, scheme string) bool {
	for _, n := range names {
		if strings.EqualFold(n, scheme) {
			return true
		}
	}
	return false
}

// QuoteLine returns the first line of an answer, quoted for display.
func QuoteLine(first []byte) string {
	line, _, _ := bytes.Cut(first, []byte("\n"))
	return strconv.Quote(strings.TrimRight(string(line), "\r"))
}

// OneLine returns a text of the other side for display, without control characters and shortened.
func OneLine(s string) string {
	if len(s) > 80 {
		s = s[:80] + "…"
	}
	return strings.Trim(strconv.Quote(s), `"`)
}
