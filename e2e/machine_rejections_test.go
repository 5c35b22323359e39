package e2e

import "testing"

// The client's machine has unreachable, blackhole, prohibit or throw routes. The tunnel's network
// may lie inside a less specific one, over which its route has precedence. A reject route that has
// precedence over the tunnel's is an overlap.
func TestRejectRoutes(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	for _, route := range [][]string{
		{"unreachable", "10.0.0.0/8"}, {"blackhole", "10.0.0.0/8"}, {"prohibit", "10.1.0.0/16"},
		{"throw", "10.0.0.0/8"},
		{"unreachable", "10.1.1.0/24", "metric", "9999"}, {"throw", "10.1.1.128/25", "table", "77"},
	} {
		client.Run(append([]string{"ip", "route", "add"}, route...)...)
		before := tables(t, client)
		cl := bin.connect(t, client, directURL)
		reaches(t, client, "10.1.1.1")
		stop(t, cl)
		untouched(t, client, before)
		client.Run(append([]string{"ip", "route", "del"}, route...)...)
	}
	client.Run("ip", "rule", "add", "lookup", "77")
	for _, route := range [][]string{{"unreachable", "10.1.1.128/25"}, {"blackhole", "10.1.1.0/24"},
		{"unreachable", "10.0.0.0/8", "table", "77"}} {
		client.Run(append([]string{"ip", "route", "add"}, route...)...)
		failure{
			name: "a reject route inside", code: 9, step: "address", says: "overlaps the route " +
				route[0] + " " + route[1],
			args: []string{"connect", directURL, "--token", token, "--state", t.TempDir()},
		}.check(t, client, bin)
		client.Run(append([]string{"ip", "route", "del"}, route...)...)
	}
}
