package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"

	"tunnel/config"
	"tunnel/transport"
)

// printConnectLine prints the line that joins another machine to this server. A server that never had a token makes one
// here, and this is the only time that it can be seen. A secret that somebody gave is not in the line.
func printConnectLine(w io.Writer, told *config.Serve, s *serverTLS, kept *serverState, listen net.Addr) error {
	url := s.url(listen, told.Path)
	made, err := kept.makeFirst()
	if err != nil {
		return err
	}
	var credential []string
	switch file := told.TokenFile; {
	case told.InsecureNoAuth:
	case made != "":
		if url == "" {
			url = urlOf("HOST", "", told.Path) // only a person knows; but the token has to be shown now
		}
		_, _ = fmt.Fprintf(w, firstMade+", %q; it is shown this once. To join, run on another machine:\n", firstToken)
		credential = []string{"--" + flagToken, made}
	case file != "":
		credential = []string{"--" + flagTokenFile, file}
	case kept.nobody():
		return nil
	default:
		kept.remind()
		credential = []string{"--" + flagTokenFile, "FILE"}
	}
	if url != "" {
		_, _ = fmt.Fprintln(w, connectLine(url, s.pin, credential...))
	}
	return nil
}

// firstMade begins the line above the join line of a first start.
const firstMade = "made the first token"

// watchJoinLine has the log say that the line which joins another machine did not get to stdout, for
// the first token is shown nowhere else. It is for the process that writes to stdout itself. What goes
// to /dev/null is dropped by choice, but for that token.
func (o *output) watchJoinLine(log *slog.Logger) {
	var once sync.Once
	o.stdout.w.Observe(func(text []byte, err error) {
		first := bytes.Contains(text, []byte(firstMade))
		if err == nil && first && o.null {
			err = errors.New("it is closed, or /dev/null")
		}
		if err != nil && (first || bytes.Contains(text, []byte(joinCommand))) {
			once.Do(func() {
				log.Warn("stdout did not take the line to join with; a token in it is lost: "+
					"make another with `tunnel token create NAME`", "err", err)
			})
		}
	})
}

// joinCommand begins the join line.
const joinCommand = "tunnel connect "

// connectLine returns the command that joins a machine to the server at url, for a POSIX shell. pin may be empty;
// credential is the flags of the token.
func connectLine(url, pin string, credential ...string) string {
	argv := append(strings.Fields(joinCommand), url)
	if pin != "" {
		argv = append(argv, "--"+flagPin, pin)
	}
	argv = append(argv, credential...)
	for i, word := range argv {
		argv[i] = shellQuote(word)
	}
	return strings.Join(argv, " ")
}

// shellQuote returns word as a shell reads it.
func shellQuote(word string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+/:.,@%"
	if word != "" && strings.Trim(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// url returns where clients find the server that listens there; "" if that is not known: behind a proxy, only --public
// tells.
func (s *serverTLS) url(listen net.Addr, path string) string {
	port := s.port
	switch tcp, ok := listen.(*net.TCPAddr); {
	case s.host == "":
		return ""
	case port == "" && ok && !s.plain:
		port = fmt.Sprint(tcp.Port)
	}
	return urlOf(s.host, port, path)
}

// urlOf puts a server's URL together.
func urlOf(host, port, path string) string {
	if port != "" && port != "443" {
		host = net.JoinHostPort(host, port)
	} else if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if path == transport.DefaultPath {
		path = ""
	}
	host = strings.Replace(host, "%", "%25", 1) // the zone of an address (RFC 6874)
	return "wss://" + host + path
}

// withZone returns a listener's address with the zone that --listen names, which not every kernel
// tells.
func withZone(address net.Addr, listen string) net.Addr {
	tcp, ok := address.(*net.TCPAddr)
	asked, err := netip.ParseAddrPort(listen)
	if !ok || err != nil || asked.Addr().Zone() == "" {
		return address
	}
	return &net.TCPAddr{IP: tcp.IP, Port: tcp.Port, Zone: asked.Addr().Zone()}
}

// guessHost returns by what name or address clients most likely reach the server, when nobody says so.
func (s *serverTLS) guessHost(listen string) string {
	if s.plain {
		return ""
	}
	if len(s.domains) > 0 {
		return s.domains[0]
	}
	if s.files != nil {
		leaf := s.files.Current().Leaf
		for _, name := range leaf.DNSNames {
			if !strings.HasPrefix(name, "*") {
				return name
			}
		}
		if len(leaf.IPAddresses) > 0 {
			return leaf.IPAddresses[0].String()
		}
	}
	host, _, _ := net.SplitHostPort(listen)
	if a, err := netip.ParseAddr(host); err == nil && !a.IsUnspecified() || err != nil && host != "" {
		return host
	}
	return ownAddress()
}

// ownAddress returns this machine's address on the way to the internet; without one, the first that others may reach.
func ownAddress() string {
	for _, far := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} { // nobody's addresses (RFC 5737, RFC 3849)
		// No packet goes out: connecting a datagram socket only asks the kernel for a route.
		conn, err := new(net.Dialer).DialContext(context.Background(), "udp", far)
		if err != nil {
			continue
		}
		_ = conn.Close()
		if udp, ok := conn.LocalAddr().(*net.UDPAddr); ok {
			return udp.IP.String()
		}
	}
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if prefix, ok := a.(*net.IPNet); ok && prefix.IP.IsGlobalUnicast() {
			return prefix.IP.String()
		}
	}
	return "localhost"
}
