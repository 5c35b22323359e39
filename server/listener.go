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
	"tunnel/server/accept"
	"tunnel/server/admission"
)

// filesPause is the time between two log lines about a lack of file descriptors.
const filesPause = time.Minute

// listener returns only connections that the limiter admits.
type listener struct {
	net.Listener
	server *Server
	files  rate.Sometimes // limits what is said about a lack of them
}

func newListener(ln net.Listener, s *Server) (l *listener, err error) {
	l = &listener{server: s, files: rate.Sometimes{Interval: filesPause}}
	l.Listener, err = accept.New(ln, l.turnsAway)
	return l, err
}

// turnsAway is the limiter's TurnsAway, and false after a panic: then admits decides.
func (l *listener) turnsAway(from netip.Addr) (away bool) {
	err := defect.Do(func() { away = l.server.limiter.TurnsAway(from) })
	return !l.server.defects.Note(err, l.server.Log) && away
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

// failed closes unauthenticated connections and logs a line if there are no file descriptors. Other
// errors of accept(2) concern one connection, or end the server.
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
	// other reasons are in the line about an attack
	if why != admission.Total && why != admission.PerSource {
		s.refused.Note(why)
		return
	}
	s.refused.Count(why, s.Log).Warn("refused: too many connections", "remote", from, "limit",
		why.String())
}

// httpLog receives net/http's own log, whose lines unauthenticated clients can cause.
type httpLog struct{ log *slog.Logger }

func (l httpLog) Write(line []byte) (int, error) {
	l.log.Debug("http", "says", strings.TrimSpace(string(line)))
	return len(line), nil
}
