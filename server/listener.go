package server

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"tunnel/defect"
	"tunnel/server/admission"
)

// filesPause is the time between two lines of the log that say that there are no files for
// connections.
const filesPause = time.Minute

// listener has no connections that the limiter does not admit. Accept never waits for anything but
// a connection.
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
		if l.admits(c) {
			return c, nil
		}
		admission.Abort(c)
	}
}

// admits reports whether the limiter admits c. A panic refuses that connection only.
func (l *listener) admits(c net.Conn) (ok bool) {
	err := defect.Do(func() { ok = l.server.limiter.Admit(c) })
	return !l.server.defects.Note(err, l.server.Log) && ok
}

// failed makes room when there are no files for connections, and says so. What else accept(2) fails
// with is about one connection, or ends the server.
func (l *listener) failed(err error) {
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		l.server.limiter.MakeRoom()
		l.files.Do(func() {
			l.server.Log.Warn("new connections wait: no more files can be opened, raise the hard "+
				"limit (ulimit -Hn)", "err", err)
		})
	}
}

// turnedAway notes that the limiter did not admit, or has closed, a connection.
func (s *Server) turnedAway(why admission.Reason, from netip.Addr) {
	// the line about an attack has the others
	if why != admission.Total && why != admission.PerSource {
		s.refused.Note(why)
		return
	}
	s.refused.Count(why, s.Log).Warn("refused: too many connections", "remote", from, "limit",
		why.String())
}

// httpLog takes net/http's own log, whose lines unauthenticated clients cause.
type httpLog struct{ log *slog.Logger }

func (l httpLog) Write(line []byte) (int, error) {
	l.log.Debug("http", "says", strings.TrimSpace(string(line)))
	return len(line), nil
}
