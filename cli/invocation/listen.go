package invocation

import "net"

// The flags of listeners beside --listen, by which they are known to the parent process.
const (
	FlagMetrics = "metrics"
	FlagWeb     = "web"
)

// ListensAt returns the value of FlagMetrics or FlagWeb, "" if it was not given.
func (i *Invocation) ListensAt(flag string) string {
	switch {
	case flag == FlagMetrics:
		return i.Common.Metrics
	case flag == FlagWeb && i.Serve != nil:
		return i.Serve.Web
	}
	return ""
}

// IsLoopback reports whether a is a TCP address of the loopback.
func IsLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
