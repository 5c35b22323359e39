package transport

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestRetryAfter reads the two forms of Retry-After, within an hour.
func TestRetryAfter(t *testing.T) {
	now := time.Unix(1e9, 0)
	const unsaid = -1
	for text, want := range map[string]time.Duration{
		"": unsaid, "soon": unsaid, "-1": unsaid, "1.5": unsaid, "0": 0, "60": time.Minute, "3601": time.Hour, "99999999999999999999": time.Hour,
		now.Add(90 * time.Second).UTC().Format(http.TimeFormat): 90 * time.Second,
		now.Add(-time.Hour).UTC().Format(http.TimeFormat):       0,
		now.Add(48 * time.Hour).UTC().Format(http.TimeFormat):   time.Hour,
	} {
		got, told := retryAfter(&http.Response{Header: http.Header{"Retry-After": {text}}}, now)
		if !told {
			got = unsaid
		}
		if got != want {
			t.Errorf("%q: %v; want %v", text, got, want)
		}
	}
}

// TestBusy has servers and proxies in front that say when to come back.
func TestBusy(t *testing.T) {
	for _, test := range []struct {
		code  int
		after string
		want  time.Duration
		busy  bool
	}{
		{429, "60", time.Minute, true}, {429, "", 0, true}, {503, "60", time.Minute, true}, {503, "", 0, false}, {502, "60", 0, false},
	} {
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", test.after)
			w.WriteHeader(test.code)
		}))
		defer web.Close()
		u, err := ParseURL("ws://" + web.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, err = (&Dialer{URL: u}).Dial(t.Context())
		var step *StepError
		var busy *BusyError
		if !errors.As(err, &step) || step.Step != StepHTTP || errors.As(err, &busy) != test.busy || test.busy && busy.After != test.want {
			t.Errorf("%d with Retry-After %q: %v (busy %+v)", test.code, test.after, err, busy)
		}
	}
}
