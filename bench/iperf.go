package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"tunnel/e2e/lab"
)

// iperfExtra is how much longer than its measurement a run of iperf3 may take.
const iperfExtra = 30 * time.Second

// stream is what one run of iperf3 over TCP has moved.
type stream struct {
	bytes float64 // at the receiver
	rate  float64 // bit/s, at the receiver
}

// runStream runs TCP streams from a host to an address of another for some seconds, backwards with the flag -R.
func runStream(t *scope, from, to *lab.Host, addr string, seconds int, flags ...string) stream {
	server, client := startStream(from, to, addr, seconds, flags...)
	return endStream(t, server, client, seconds)
}

// startStream is the first half of runStream.
func startStream(from, to *lab.Host, addr string, seconds int, flags ...string) (server, client *lab.Proc) {
	server = to.Start("iperf3", "-s", "-1", "-B", addr, "--forceflush")
	server.WaitFor("Server listening", soon)
	argv := []string{"iperf3", "-J", "-c", addr, "-t", strconv.Itoa(seconds), "--connect-timeout", "10000"}
	return server, from.Start(append(argv, flags...)...)
}

// endStream is the second half of runStream.
func endStream(t *scope, server, client *lab.Proc, seconds int) stream {
	client.Wait(time.Duration(seconds)*time.Second + iperfExtra)
	server.Kill() // it ends by itself, unless the client did not reach it
	s, err := parseStream([]byte(client.Stdout()))
	t.must(err)
	return s
}

// parseStream reads iperf3's report of TCP streams.
func parseStream(report []byte) (stream, error) {
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
		return stream{}, fmt.Errorf("read the report of iperf3: %w", err)
	case r.Error != "":
		return stream{}, errors.New("iperf3: " + r.Error)
	case r.End.Received == nil:
		return stream{}, errors.New("iperf3 reports no received bytes")
	}
	return stream{bytes: r.End.Received.Bytes, rate: r.End.Received.Rate}, nil
}
