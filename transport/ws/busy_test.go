package ws

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"tunnel/transport"
	"tunnel/transport/dial"
)

// TestBusy has servers and proxies in front that say when to come back.
func TestBusy(t *testing.T) {
	for _, test := range []struct {
		code  int
		after string
		want  time.Duration
		busy  bool
	}{
		{429, "60", time.Minute, true}, {429, "", 0, true}, {503, "60", time.Minute, true},
		{503, "", 0, false}, {502, "60", 0, false},
	} {
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", test.after)
			w.WriteHeader(test.code)
		}))
		defer web.Close()
		u, err := transport.ParseURL("ws://" + web.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, err = (&Dialer{Dialer: dial.Dialer{URL: u}}).Dial(t.Context())
		var step *transport.StepError
		var busy *transport.BusyError
		if !errors.As(err, &step) || step.Step != transport.StepHTTP ||
			errors.As(err, &busy) != test.busy || test.busy && busy.After != test.want {
			t.Errorf("%d with Retry-After %q: %v (busy %+v)", test.code, test.after, err, busy)
		}
	}
}
