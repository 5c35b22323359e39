package upgrade

import (
	"net/http"
	"testing"
	"time"
)

// TestRetryAfter reads the two forms of Retry-After, within an hour.
func TestRetryAfter(t *testing.T) {
	now := time.Unix(1e9, 0)
	const unsaid = -1
	for text, want := range map[string]time.Duration{
		"": unsaid, "soon": unsaid, "-1": unsaid, "1.5": unsaid, "0": 0, "60": time.Minute,
		"3601": time.Hour, "99999999999999999999": time.Hour,
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
