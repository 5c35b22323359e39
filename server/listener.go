package server

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"tunnel/server/admission"
)

// filesPause is the time between two lines of the log that say that there are no files for connections.
const filesPause = time.Minute

// listener has no connections that the limiter does not admit. Accept never waits for anything but a connection.
type listener struct {
	net.Listener
	server *Server
	files  rate.Sometimes // limits what is said about a lack of them
}

func newListener(ln net.Listener, s *Server) *listener {
	return &listener{Listener: ln, server: s, files: rate.Sometimes{Interval: filesPause}}
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			l.failed(err)
			return nil, err // http.Server tries again what may get better
		}
		if l.server.limiter.Admit(c) {
			return c, nil
		}
		admission.Abort(c)
	}
}

// failed makes room when there are no files for connections, and says so. What else accept(2) fails with is about one
// connection, or ends the server.
func (l *listener) failed(err error) {
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		l.server.limiter.Relieve()
		l.files.Do(func() {
			l.server.Log.Warn("new connections wait: no more files can be opened, raise the hard limit (ulimit -Hn)", "err", err)
		})
	}
}

// turnedAway notes that the limiter did not admit, or has closed, a connection.
func (s *Server) turnedAway(why admission.Reason, from netip.Addr) {
	refusal := refusalOf(why)
	if refusal != refuseTotal && refusal != refuseSource { // the line about an attack has the others
		s.refused.note(refusal)
		return
	}
	s.refused.count(refusal, s.Log).Warn("refused: too many connections", "remote", from, "limit", refusal.name())
}

// refusalOf returns the name here of a reason of the limiter's.
func refusalOf(why admission.Reason) refusal {
	return [admission.Reasons]refusal{
		admission.Total: refuseTotal, admission.PerSource: refuseSource, admission.Rate: refuseRate,
		admission.Evicted: refuseEvicted, admission.Late: refuseLate, admission.Silent: refuseSilent,
	}[why]
}
