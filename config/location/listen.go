package location

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
)

// Listen returns text, [HOST]:PORT, as a numeric address. Names are not resolved: the
// process that listens may be root, which reads no untrusted bytes, and so no answers of a name
// server. The error continues the setting's name.
func Listen(text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", fmt.Errorf(" %s is not [HOST]:PORT", text)
	}
	// A number, or a name in this machine's /etc/services.
	if _, err := net.DefaultResolver.LookupPort(context.Background(), "tcp", port); err != nil ||
		port == "" {
		return "", fmt.Errorf(" %s: %q is not a port, 0 to 65535", text, port)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" {
		return "",
			fmt.Errorf(" %s: %q is not an address, and names are not resolved: give one of this "+
				"machine's (`ip addr`), or none for all", text, host)
	}
	return net.JoinHostPort(host, port), nil
}

// ListenAt returns where a text says to listen: "unix" and a path, or "tcp" and a numeric address,
// as Listen does. The error continues the setting's name.
func ListenAt(text string) (network, address string, err error) {
	path, ok := strings.CutPrefix(text, "unix:")
	if !ok {
		if !strings.Contains(text, ":") {
			return "", "", fmt.Errorf(" %s is neither [HOST]:PORT nor unix:PATH", text)
		}
		address, err = Listen(text)
		return "tcp", address, err
	}
	if !filepath.IsAbs(path) || filepath.Clean(path) == "/" {
		return "", "", fmt.Errorf(" %s: give the whole path of the socket, unix:/PATH", text)
	}
	return "unix", filepath.Clean(path), nil
}
