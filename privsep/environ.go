package privsep

import (
	"slices"
	"strings"
)

// inherited returns those variables of an environment that a worker needs: this program's own,
// those of proxies and of roots of TLS, the time zone of the log, and those of the Go runtime.
// The rest, such as the keys of a cloud in the shell of root, is not the business of a process
// that talks to the network.
func inherited(environ []string) []string {
	return slices.DeleteFunc(environ, func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		switch name {
		case "SSL_CERT_FILE", "SSL_CERT_DIR", "TZ", "GODEBUG", "GOMEMLIMIT", "GOGC", "GOMAXPROCS",
			"GOTRACEBACK", "GORACE", "GOCOVERDIR", "REQUEST_METHOD":
			return false
		}
		switch strings.ToUpper(name) {
		case "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY":
			return false
		}
		return !strings.HasPrefix(name, "TUNNEL_")
	})
}
