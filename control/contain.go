package control

import (
	"log/slog"
	"net"
	"net/http"
	"time"

	"tunnel/defect"
)

// contained answers by handler; a panic ends that request only.
func contained(handler http.Handler, defects *defect.Log, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := defect.Do(func() { handler.ServeHTTP(w, r) })
		if defects.Note(err, log) {
			answer(w, 0, nil, err)
		}
	})
}

// containedListener accepts on after a panic, and a pause. The connection over which it came is
// closed when the garbage collector finds it.
type containedListener struct {
	net.Listener
	over    <-chan struct{} // ends the pause
	defects *defect.Log
	log     *slog.Logger
}

// defectPause keeps a listener that always panics from occupying a processor.
const defectPause = 100 * time.Millisecond

func (l *containedListener) Accept() (net.Conn, error) {
	for {
		var conn net.Conn
		var failed error
		err := defect.Do(func() { conn, failed = l.Listener.Accept() })
		if !l.defects.Note(err, l.log) {
			return conn, failed
		}
		select {
		case <-time.After(defectPause):
		case <-l.over:
			return nil, http.ErrServerClosed
		}
	}
}
