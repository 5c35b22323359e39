package main

// figure is one thing that is measured, in a unit.
type figure struct {
	id     string
	title  string
	unit   string
	higher bool // is better
}

// group is a set of figures that are measured together.
type group struct {
	name    string // for -only
	title   string
	explain string // how it is measured, for the report
	plots   []plot
}

// plot is a file with a chart: figures of one unit, whose bars stand side by side.
type plot struct {
	file  string // without .svg
	title string
	ids   []string
}

// ids returns the figures of a group.
func (g group) ids() []string {
	var list []string
	for _, p := range g.plots {
		list = append(list, p.ids...)
	}
	return list
}

// The figures' ids.
const (
	figUp        = "up"
	figDown      = "down"
	figCPU       = "cpu"
	figUDP       = "udp"
	figRTT       = "rtt"
	figRTTMean   = "rtt-mean"
	figStall     = "stall"
	figMemory    = "memory"
	figReconnect = "reconnect"
	figMissing   = "missing"
	figBusy      = "busy"
)

// wanFigure is the id of a figure on the WAN with some loss, in percent.
func wanFigure(percent, what string) string { return "wan" + percent + "-" + what }

func figures() []figure {
	list := []figure{
		{figUp, "one TCP stream, client to server", "Gbit/s", true},
		{figDown, "one TCP stream, server to client", "Gbit/s", true},
		{figCPU, "CPU of the tunnel's own processes, both ends, both directions", "s/GB", false},
		{figUDP, "64-byte UDP flood, datagrams that reach the receiver's UDP layer", "1000/s", true},
		{figRTT, "idle round trip, median", "ms", false},
		{figRTTMean, "idle round trip, mean", "ms", false},
	}
	for _, percent := range []string{"0", "1"} {
		list = append(list,
			figure{wanFigure(percent, figUp), "one stream, client to server, " + percent + " % loss", "Mbit/s", true},
			figure{wanFigure(percent, figDown), "one stream, server to client, " + percent + " % loss", "Mbit/s", true},
			figure{wanFigure(percent, figRTT), "mean round trip under four streams up, " + percent + " % loss", "ms", false})
	}
	for _, l := range fatLines() {
		list = append(list,
			figure{l.figure(figUp), "one stream up, " + l.title, "Mbit/s", true},
			figure{l.figure(figUpFour), "four streams up, " + l.title, "Mbit/s", true},
			figure{l.figure(figDownFour), "four streams down, " + l.title, "Mbit/s", true},
			figure{l.figure(figRTT), "mean round trip under four streams up, " + l.title, "ms", false})
	}
	return append(list,
		figure{figStall, "two clients' throughput while a third is stopped ÷ without", "", true},
		figure{figMemory, "resident memory of the server per idle client", "KiB", false},
		figure{figReconnect, "1 000 clients all back after a restart of the server", "s", false},
		figure{figMissing, "of them not back, or back with another address", "clients", false},
		figure{figBusy, "throughput of one client beside 1 000 idle ones ÷ alone", "", true},
	)
}

// groups returns what -only can name, in the order of the report.
func groups() []group {
	wan := func(percent string) group {
		return group{
			name:  "wan" + percent,
			title: "A line of 100 Mbit/s, 40 ms, 500 KB queue, " + percent + " % loss",
			explain: "The line is emulated in user space between the hosts: 100 Mbit/s, 20 ms and a drop-tail queue of 500 KB in " +
				"each direction, random loss with the same seed for all in a round. Goodput is what iperf3's receiver counts, slow start included. " +
				"The round trip is that of pings through the tunnel every 50 ms while four streams run from client to server, " +
				"from one second after their start.",
			plots: []plot{
				{"wan" + percent + "-goodput", "100 Mbit/s, 40 ms, " + percent + " % loss: goodput of one stream", []string{wanFigure(percent, figUp), wanFigure(percent, figDown)}},
				{"wan" + percent + "-rtt", "100 Mbit/s, 40 ms, " + percent + " % loss: mean round trip under four streams", []string{wanFigure(percent, figRTT)}},
			},
		}
	}
	return []group{
		{"stream", "One TCP stream on a LAN", "iperf3, one stream, what the receiver counts; the hosts are joined by a veth pair, and every program " +
			"is in a session of its own (sched(7), autogroups). CPU is " +
			"utime and stime of all processes of the contender at both ends, by the bytes of both directions; " +
			"what the kernel does in interrupts is on nobody's account, so a contender that leaves its work to the kernel looks cheaper than it is.",
			[]plot{{"stream", "One TCP stream on a LAN", []string{figUp, figDown}}, {"cpu", "CPU seconds per GB, both ends", []string{figCPU}}}},
		{"udp", "Small packets", "iperf3 -u -b 0 -l 64 from client to server; counted are InDatagrams + RcvbufErrors of the receiver's " +
			"kernel, from one second after the start, because the reader itself is too slow. Where the tunnel itself travels in UDP its own " +
			"datagrams are taken off.",
			[]plot{{"udp", "64-byte UDP flood", []string{figUDP}}}},
		{"rtt", "Idle round trip on a LAN", "200 pings from client to server, one every 10 ms.", []plot{{"rtt", "Idle round trip on a LAN", []string{figRTT, figRTTMean}}}},
		wan("0"),
		wan("1"),
		fatGroup(),
		{"stall", "A stalled client", "Three clients on a switch. The server sends one TCP stream to each of two; in turns, three times, the third, for which it " +
			"has datagrams waiting, is stopped with SIGSTOP. The figure is the mean sum of the two while it is, by that while it is not.",
			[]plot{{"stall", "Two clients' throughput while a third is stopped ÷ without", []string{figStall}}}},
		{"memory", "Idle clients", "Clients of the load generator in a host of their own, TLS, each with a session. The figure is the growth of the " +
			"server's resident memory from none to all of them, by their number, after a time to settle.",
			[]plot{{"memory", "Resident memory of the server per idle client", []string{figMemory}}}},
		{"reconnect", "A restart of the server", "1 000 clients of the load generator, which come back as the program's own do: 0.25 to 0.5 s after the loss, then " +
			"twice as long each time, to 15 s at most. The time runs from SIGTERM to the old server until the last client has its session again, with the same address.",
			[]plot{{"reconnect", "1 000 clients all back after a restart", []string{figReconnect}}, {"missing", "Clients lost in a restart, of 1 000", []string{figMissing}}}},
		{"busy", "One busy client among idle ones", "One TCP stream from client to server, in turns, three times, alone and beside 1 000 idle clients of the load generator. " +
			"The figure is the mean beside them by that alone.",
			[]plot{{"busy", "One busy client beside 1 000 idle ones ÷ alone", []string{figBusy}}}},
	}
}

func groupNames() []string {
	var list []string
	for _, g := range groups() {
		list = append(list, g.name)
	}
	return list
}

// figureOf returns the figure with an id.
func figureOf(id string) figure {
	for _, f := range figures() {
		if f.id == id {
			return f
		}
	}
	return figure{id: id, title: id}
}
