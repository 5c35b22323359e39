package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"tunnel/e2e/lab"
	"tunnel/e2e/wan"
)

// superPacket is how many datagrams a sender passes to the kernel at once.
const superPacket = 16

var soakTime = flag.Duration("soak", 15*time.Second, "how long each of the soaks runs")

// Packets of all kinds, IPv4 and IPv6, go both ways through the data path with the race detector.
// What arrives is what was sent, in each flow's order, and each lost packet is in some counter of
// drops. It has the machine for itself: a reader that gets too little of the processors leaves the
// kernel's buffers full for longer than a connection lasts.
func TestSoakTraffic(t *testing.T) {
	type soak struct {
		name                     string
		plainServer, plainClient bool // sides with a device without offload
		tls                      bool
		link                     wan.Link
		calm                     int // divides the rate of UDP
	}
	for _, test := range sample(t, 1, []soak{
		{name: "vnet", calm: 1},
		// A packet at a time: with more, the queues hold more than the kernel sends again in time.
		{name: "ip", plainServer: true, plainClient: true, calm: 6},
		// The server segments packets, completes checksums, and coalesces the other direction.
		{name: "vnet with a plain client, TLS", plainClient: true, tls: true, calm: 3},
		// Standing queues: ECN marks, and drops.
		{name: "vnet on a slow link, TLS", tls: true, link: wan.Link{Rate: 60e6,
			Delay: 5 * time.Millisecond, Queue: 300e3}, calm: 8},
	}) {
		t.Run(test.name, func(t *testing.T) {
			l := lab.New(t)
			server, client := l.Host("server"), l.Host("client")
			if test.link.Rate > 0 {
				wan.Connect(t, server, client, directServer+"/24", "198.51.100.2/24", test.link,
					test.link)
			} else {
				l.Link(server, directServer+"/24", client, "198.51.100.2/24")
			}
			p := bridges(t, server, client, test.plainServer, test.plainClient, test.tls)
			slow := time.Duration(test.calm)
			// 16 MB/s, more than the path can carry.
			bulk := pace{piece: 256 << 10, tick: 16 * time.Millisecond}

			var exchanges []*exchange
			var flows []*datagrams
			var pings []*lab.Proc
			for _, pair := range []struct{ server, client, ping string }{{"10.1.1.1", "10.1.1.3",
				"-4"}, {"fd00::1", "fd00::3", "-6"}} {
				exchanges = append(exchanges,
					startPaced(t, client, server, pair.server, bulk),
					startPaced(t, server, client, pair.client, bulk),
					startPaced(t, client, server, pair.server,
						pace{piece: 300, tick: time.Millisecond, mixed: true}))
				for _, d := range []struct {
					from, to *lab.Host
					addr     string
				}{{client, server, pair.server}, {server, client, pair.client}} {
					flows = append(flows,
						(&datagrams{name: "all sizes", least: headerSize, most: 1352, burst: 2,
							tick: 2 * slow * time.Millisecond}).start(t, d.from, d.to,
							d.addr),
						(&datagrams{name: "bursts of small ones, with ECN", least: 64, most: 64,
							burst: 24, tick: 5 * slow * time.Millisecond, capable: true}).start(t,
							d.from, d.to, d.addr),
						(&datagrams{name: "super-packets", least: 1200, most: 1200,
							burst: superPacket, tick: 10 * slow * time.Millisecond,
							segmented: true}).start(t, d.from, d.to, d.addr),
						(&datagrams{name: "fragments", least: 3000, most: 20000, burst: 1,
							tick: 10 * slow * time.Millisecond}).start(t, d.from, d.to,
							d.addr))
				}
				pings = append(pings,
					client.Start("ping", pair.ping, "-q", "-n", "-W10", "-i0.05", "-c",
						fmt.Sprint(1+soakTime.Milliseconds()/100), pair.server),
					server.Start("ping", pair.ping, "-q", "-n", "-W10", "-i0.2", "-c",
						fmt.Sprint(1+soakTime.Milliseconds()/400), "-s4000", pair.client))
			}
			time.Sleep(*soakTime)

			for _, x := range exchanges {
				x.end()
			}
			settle(flows)
			var lost int64
			for _, ping := range pings {
				ping.Wait(soon + *soakTime)
				lost += int64(packetsLost(t, ping))
			}
			for _, f := range flows {
				lost += f.verify()
			}
			for _, x := range exchanges {
				x.finish()
			}
			for _, h := range []*lab.Host{server, client} {
				if n := checksumErrors(t, h); n > 0 {
					t.Errorf("the kernel of %s has received %d damaged packets", h.Name(), n)
				}
			}
			most := func(plain bool) int64 {
				if plain {
					return 1
				}
				return superPacket
			}
			accounted := dropped(t, server, most(test.plainServer)) + dropped(t, client,
				most(test.plainClient))
			marks := ceSeen(t, server) + ceSeen(t, client)
			c := p.stop(t)
			t.Logf("lost %d; the kernels have dropped up to %d; bridges: %+v; %d packets arrived "+
				"with CE", lost, accounted, c, marks)
			if accounted += int64(c.Queue.CoDel); lost > accounted {
				t.Errorf("%d packets were lost and only %d drops were counted", lost, accounted)
			}
			if c.Malformed > 0 || c.Refused > 0 || c.Queue.Full > 0 {
				t.Errorf(
					"packets that this side itself has made were refused, or found no room: %+v", c)
			}
			// The kernel's own IPv6 packets may be in flight at the end.
			if missing := int64(c.Pushed - c.Written - c.Queue.CoDel); missing < 0 || missing > 2 {
				t.Errorf("%d packets went in, %d were dropped and %d came out: %d are missing",
					c.Pushed, c.Queue.CoDel, c.Written, missing)
			}
			if marks == 0 && c.Queue.Marked > 0 || marks > 0 && c.Queue.Marked == 0 ||
				test.link.Rate > 0 && marks == 0 {
				t.Errorf("the queues marked %d packets, the kernels received %d marks",
					c.Queue.Marked, marks)
			}
			if vnet := !test.plainServer && !test.plainClient; (c.Vnet > 0) != vnet ||
				(c.IP > 0) == vnet {
				t.Errorf("%d batches came in framing vnet, %d in framing ip", c.Vnet, c.IP)
			}
		})
	}
}

// bridgePair is both ends of the data path.
type bridgePair struct{ server, client *lab.Proc }

// bridges connects two hosts by a bridge, and gives the devices IPv4 and IPv6 addresses, .1 and .3.
// TCP inside uses ECN.
func bridges(t *testing.T, server, client *lab.Host, plainServer, plainClient,
	secure bool) bridgePair {
	t.Helper()
	bin := string(buildNamed(t, "bridge-race"))
	url, serve, dial := "ws://"+directServer+":8443", []string{bin, "-listen", ":8443"},
		[]string{bin}
	if secure {
		a := newAuthority(t)
		cert, key := a.issue(t, time.Now().Add(soon+*soakTime), directServer)
		url = "wss://" + directServer + ":8443"
		serve = append(serve, "-cert", cert, "-key", key)
		dial = append(dial, "-cert", a.File)
	}
	if plainServer {
		serve = append(serve, "-plain")
	}
	if plainClient {
		dial = append(dial, "-plain")
	}
	start := func(h *lab.Host, number int, argv ...string) *lab.Proc {
		h.Sysctl("net.ipv4.tcp_ecn", "1")
		proc := watch(t, h.Start(argv...))
		proc.WaitFor("made tun0", soon)
		h.Run("ip", "addr", "add", "dev", "tun0", fmt.Sprintf("10.1.1.%d/24", number))
		h.Run("ip", "addr", "add", "dev", "tun0", fmt.Sprintf("fd00::%d/64", number), "nodad")
		h.Run("ip", "link", "set", "dev", "tun0", "up", "mtu", "1400", "qlen", "500")
		return proc
	}
	var p bridgePair
	p.server = start(server, 1, serve...)
	p.server.WaitFor("listening", soon)
	p.client = start(client, 3, append(dial, "-url", url)...)
	p.client.WaitFor("connected", soon)
	p.server.WaitFor("connected", soon)
	return p
}

// bridgeCounts is what a bridge has counted, as e2e/bridge prints it.
type bridgeCounts struct {
	Pushed, Written    uint64
	Queue              struct{ Full, CoDel, Marked uint64 }
	Malformed, Refused uint64
	Vnet, IP           uint64
}

// stop stops both ends and returns the sums of their counters.
func (p bridgePair) stop(t *testing.T) bridgeCounts {
	t.Helper()
	var sum bridgeCounts
	for _, proc := range []*lab.Proc{p.client, p.server} {
		if proc.Exited() {
			t.Fatalf("a bridge ended by itself:\n%s", proc.Stderr())
		}
	}
	for _, proc := range []*lab.Proc{p.client, p.server} {
		proc.Signal(syscall.SIGTERM)
	}
	for _, proc := range []*lab.Proc{p.client, p.server} {
		proc.Wait(soon)
		var c bridgeCounts
		out := proc.Stdout()
		if err := json.Unmarshal([]byte(out[max(0, strings.Index(out, "{")):]), &c); err != nil {
			t.Fatalf("%v\n%s%s", err, out, proc.Stderr())
		}
		sum.Pushed += c.Pushed
		sum.Written += c.Written
		sum.Queue.Full += c.Queue.Full
		sum.Queue.CoDel += c.Queue.CoDel
		sum.Queue.Marked += c.Queue.Marked
		sum.Malformed += c.Malformed
		sum.Refused += c.Refused
		sum.Vnet += c.Vnet
		sum.IP += c.IP
	}
	return sum
}

// ceSeen returns the number of IP packets that a host has received with a congestion mark.
func ceSeen(t *testing.T, h *lab.Host) int64 {
	t.Helper()
	c := kernelCounters(t, h)
	return c["IpExt.InCEPkts"] + c["Ip6InCEPkts"]
}
