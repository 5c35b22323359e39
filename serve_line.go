package main

import (
	"net"
	"net/netip"
	"os"
	"strings"

	"tunnel/transport"
)

// connectLine returns the command that joins the server at url. Without the token's text it says where to put it.
func connectLine(url, pin, token string) string {
	line := []string{"sudo tunnel connect", url}
	if pin != "" {
		line = append(line, "--pin", pin)
	}
	if token != "" {
		return strings.Join(append(line, "--token", token), " ")
	}
	return strings.Join(append(line, "--token-file", "FILE"), " ")
}

// serverURL returns the URL at which a server on this machine that listens on a is most likely reached.
func serverURL(a net.Addr, secured bool, path string) string {
	scheme := "ws"
	if secured {
		scheme = "wss"
	}
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		host = a.String()
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		if name, err := os.Hostname(); err == nil {
			host = name
		}
	}
	if path == transport.DefaultPath {
		path = ""
	}
	return scheme + "://" + net.JoinHostPort(host, port) + path
}
