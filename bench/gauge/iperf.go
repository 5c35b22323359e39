package gauge

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"tunnel/bench/scope"
	"tunnel/e2e/lab"
)

// iperfExtra is how long iperf3 may run beyond its measurement.
const iperfExtra = 30 * time.Second

// Stream is the result of a run of iperf3 over TCP.
type Stream struct {
	Bytes float64 // at the receiver
	Rate  float64 // bit/s, at the receiver
}

// RunStream runs iperf3 from a host to an address of another for some seconds; flags are iperf3's.
func RunStream(t *scope.Scope, from, to *lab.Host, addr string, seconds int,
	flags ...string) Stream {
	server, client := StartStream(from, to, addr, seconds, flags...)
	return EndStream(t, server, client, seconds)
}

// StartStream starts iperf3 as RunStream does.
func StartStream(from, to *lab.Host, addr string, seconds int, flags ...string) (server,
	client *lab.Proc) {
	server = to.Start("iperf3", "-s", "-1", "-B", addr, "--forceflush")
	server.WaitFor("Server listening", scope.Soon)
	argv := []string{"iperf3", "-J", "-c", addr, "-t", strconv.Itoa(seconds), "--connect-timeout",
		"10000"}
	return server, from.Start(append(argv, flags...)...)
}

// EndStream waits for the end of iperf3, and returns its result.
func EndStream(t *scope.Scope, server, client *lab.Proc, seconds int) Stream {
	client.Wait(time.Duration(seconds)*time.Second + iperfExtra)
	server.Kill() // still runs if the client did not reach it
	s, err := parseStream([]byte(client.Stdout()))
	t.Must(err)
	return s
}

// parseStream parses iperf3's report of TCP streams, in JSON.
func parseStream(report []byte) (Stream, error) {
	var r struct {
		Error string `json:"error"`
		End   struct {
			Received *struct {
				Bytes float64 `json:"bytes"`
				Rate  float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	switch err := json.Unmarshal(report, &r); {
	case err != nil:
		return Stream{}, fmt.Errorf("read the report of iperf3: %w", err)
	case r.Error != "":
		return Stream{}, errors.New("iperf3: " + r.Error)
	case r.End.Received == nil:
		return Stream{}, errors.New("iperf3 reports no received bytes")
	}
	return Stream{Bytes: r.End.Received.Bytes, Rate: r.End.Received.Rate}, nil
}
