package metrics

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tunnel/defect"
)

// Bounds of what those who scrape may take.
const (
	maxConnections = 16 // at once; see places
	maxScrapes     = 4  // at once; more are answered 503
	maxHeader      = 8 << 10
	requestTimeout = 5 * time.Second
	answerTimeout  = 20 * time.Second
	stopTimeout    = time.Second
)

// Program is what is asked beside the metrics.
type Program struct {
	// Alive returns unless the program is stuck: what its watchdog checks.
	Alive func()
	// Ready returns why packets cannot cross, nil if they can.
	Ready func() error
}

// Serve answers on ln until ctx ends, GET and HEAD: /metrics, /healthz and /readyz. It closes ln,
// and returns when no request is being answered.
func (m *Metrics) Serve(ctx context.Context, ln net.Listener, p Program, log *slog.Logger) {
	var defects defect.Log
	room := &places{Listener: ln}
	handler := m.handler(p, log)
	if isLoopback(ln.Addr()) {
		handler = local(handler)
	}
	web := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			room.asks(r)
			if defects.Note(defect.Do(func() { handler.ServeHTTP(w, r) }), log) {
				http.Error(w, "a defect of this program", http.StatusInternalServerError)
			}
		}),
		ReadHeaderTimeout: requestTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      answerTimeout,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       room.context,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),

		DisableGeneralOptionsHandler: true,
	}
	web.SetKeepAlivesEnabled(false) // idle connections would take the places of others
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if web.Shutdown(last) != nil {
			_ = web.Close()
		}
	})
	err := web.Serve(room)
	if !stop() {
		<-ended
	}
	if !errors.Is(err, http.ErrServerClosed) {
		log.Error("the metrics listener ended: nothing is answered there any more", "err", err)
	}
}

func (m *Metrics) handler(p Program, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ErrorHandling:       promhttp.HTTPErrorOnError,
		MaxRequestsInFlight: maxScrapes,
	}))
	alive := &watchdog{check: p.Alive}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		say(w, alive.ask(r.Context(), requestTimeout))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		err := alive.ask(r.Context(), requestTimeout) // else Ready may be stuck as well
		if err == nil {
			err = p.Ready()
		}
		say(w, err)
	})
	return mux
}

// say answers 200, or 503 with one line that says why.
func say(w http.ResponseWriter, err error) {
	text, code := "ok", http.StatusOK
	if err != nil {
		text, code = strings.Join(strings.Fields(err.Error()), " "), http.StatusServiceUnavailable
	}
	http.Error(w, text, code) // plain text, which no browser takes for anything else
}

// local refuses requests for a host by a name that others may own: a page in a browser on this
// machine could read the answers to these (DNS rebinding).
func local(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLocalName(r.Host) {
			http.Error(w, "ask for localhost, or for an address", http.StatusMisdirectedRequest)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// isLocalName reports whether host, with a port or without, is an address or localhost, or missing.
func isLocalName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	_, err := netip.ParseAddr(host)
	return err == nil || host == "" || strings.EqualFold(host, "localhost")
}

// isLoopback reports whether a is a TCP address of the loopback.
func isLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
