package control

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"tunnel/admin/status"
	"tunnel/auth"
)

// The shortest and the longest time for which flows are measured.
const (
	LeastMeasured = 100 * time.Millisecond
	MostMeasured  = 5 * time.Second // less than requestTimeout
)

// handleFlows has mux answer what measure measures, for as long as the caller waits.
func handleFlows(mux *http.ServeMux,
	measure func(context.Context, time.Duration) (status.Flows, error)) {
	mux.HandleFunc("GET /flows", func(w http.ResponseWriter, r *http.Request) {
		during, err := time.ParseDuration(r.URL.Query().Get("for"))
		if err != nil || during < LeastMeasured || during > MostMeasured {
			answer(w, 0, nil, fmt.Errorf("%w: for=T is %v to %v", auth.ErrSpec, LeastMeasured,
				MostMeasured))
			return
		}
		flows, err := measure(r.Context(), during)
		answer(w, http.StatusOK, flows, err)
	})
}

// Flows has the server measure its flows for that time, from LeastMeasured to MostMeasured. What it
// says may be of a server that was broken into. The error is meter.ErrBusy if too many measure.
func (c *Client) Flows(ctx context.Context, during time.Duration) (flows status.Flows, err error) {
	path := "/flows?for=" + url.QueryEscape(during.String())
	err = c.call(ctx, http.MethodGet, path, nil, http.StatusOK, into(&flows))
	return flows, err
}

// ClientFlows is Flows for the client whose journal has that name in dir. Without one the error is
// an ErrNoClient.
func ClientFlows(ctx context.Context, dir, journal string, during time.Duration) (status.Flows,
	error) {
	flows, err := newClient(dir, journal+ClientSuffix).Flows(ctx, during)
	return flows, noClient(err)
}
