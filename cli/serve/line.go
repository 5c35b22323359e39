package serve

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

	"tunnel/cli/invocation"
	"tunnel/cli/output"
	"tunnel/config"
	"tunnel/control"
	"tunnel/transport"
)

// printConnectLine prints the command that joins another machine to this server. A server that
// never had a token makes one here, and shows it this once. A secret that the user gave is not
// printed.
func printConnectLine(w io.Writer, told *config.Serve, s *serverTLS, kept *serverState,
	listen net.Addr) error {
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
			// only the user knows it, but the token must be shown now
			url = urlOf("HOST", "", told.Path)
		}
		_, _ = fmt.Fprintf(w,
			firstMade+", %q; it is shown this once. To join, run on another machine:\n", firstToken)
		credential = []string{"--" + invocation.FlagToken, made}
	case file != "":
		credential = []string{"--" + invocation.FlagTokenFile, file}
	case kept.nobody():
		return nil
	default:
		kept.remind()
		credential = []string{"--" + invocation.FlagTokenFile, "FILE"}
	}
	if url != "" {
		_, _ = fmt.Fprintln(w, invocation.ConnectLine(url, s.pin, credential...))
	}
	return nil
}

// firstMade begins the line above the join command of a first start.
const firstMade = "made the first token"

// watchJoinLine logs when the join command could not be written to stdout, because the first token
// is shown nowhere else. It is for the process that writes to stdout itself. Output to /dev/null is
// lost on purpose, except for that token.
func watchJoinLine(o *output.Output, log *slog.Logger) {
	var once sync.Once
	o.Stdout.Spool.Observe(func(text []byte, err error) {
		first := bytes.Contains(text, []byte(firstMade))
		if err == nil && first && o.Null {
			err = errors.New("it is closed, or /dev/null")
		}
		if err != nil && (first || bytes.Contains(text, []byte(invocation.JoinCommand))) {
			once.Do(func() {
				log.Warn("stdout did not take the line to join with; a token in it is lost: "+
					"make another with `tunnel token create NAME`", "err", err)
			})
		}
	})
}

// url returns the URL under which clients reach the server that listens there; "" if it is unknown,
// as behind a proxy without --public.
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

// joinShown returns a join whose URL has a place for the host if that is not known: only the user
// knows it.
func joinShown(join control.Join, path string) control.Join {
	if join.URL == "" {
		join.URL = urlOf("HOST", "", path)
	}
	return join
}

// urlOf returns a server's URL.
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

// withZone returns a listener's address with the zone of --listen, which not every kernel reports.
func withZone(address net.Addr, listen string) net.Addr {
	tcp, ok := address.(*net.TCPAddr)
	asked, err := netip.ParseAddrPort(listen)
	if !ok || err != nil || asked.Addr().Zone() == "" {
		return address
	}
	return &net.TCPAddr{IP: tcp.IP, Port: tcp.Port, Zone: asked.Addr().Zone()}
}

// guessHost returns the name or address by which clients most likely reach the server.
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
	if a, err := netip.ParseAddr(host); err == nil && !a.IsUnspecified() || err != nil &&
		host != "" {
		return host
	}
	return ownAddress()
}

// ownAddress returns this machine's source address towards the internet; without a route, its first
// global address.
func ownAddress() string {
	// documentation addresses (RFC 5737, RFC 3849)
	for _, far := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} {
		// This sends no packet: connecting a datagram socket only looks up a route.
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
