package server_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"tunnel/server"
	"tunnel/transport"
	"tunnel/tun/tuntest"
)

// ids returns the ids of packets, sorted.
func ids(packets [][]byte) (all []uint32) {
	for _, p := range packets {
		all = append(all, tuntest.IDOf(p))
	}
	slices.Sort(all)
	return all
}

// A sent is a packet that somebody sends, and where it shall arrive.
type sent struct {
	from string // who sends it: "kernel", or the number of a client
	src  string
	dst  string
	to   string // who gets it: "kernel", the number of a client, or why it is dropped
}

func TestPolicy(t *testing.T) {
	always := []sent{
		{"1", "10.1.1.3", "10.1.1.1", "kernel"},
		{"2", "10.1.1.5", "10.1.1.1", "kernel"},
		{"1", "10.1.1.5", "10.1.1.1", "source"}, // another client's
		{"1", "10.1.1.1", "10.1.1.1", "source"}, // the server's
		{"1", "10.1.1.4", "10.1.1.1", "source"}, // its own peer's
		{"1", "0.0.0.0", "10.1.1.1", "martian"},
		{"1", "8.8.8.8", "10.1.1.1", "source"},
		{"1", "10.1.1.5", "10.1.1.5", "source"},
		{"1", "fd00::3", "fd00::1", "source"},
		{"1", "::ffff:10.1.1.3", "::ffff:10.1.1.1", "martian"},
		{"1", "10.1.1.3", "8.8.8.8", "destination"},
		{"1", "10.1.1.3", "10.1.2.1", "destination"},
		{"1", "10.1.1.3", "127.0.0.1", "loopback"},
		{"1", "10.1.1.3", "224.0.0.1", "multicast"},
		{"1", "10.1.1.3", "255.255.255.255", "broadcast"},
		{"1", "10.1.1.3", "0.1.2.3", "martian"},
		{"1", "10.1.1.3", "169.254.169.254", "martian"},
		{"1", "10.1.1.3", "250.0.0.1", "martian"},
		{"1", "10.1.1.3", "10.1.1.255", "broadcast"},
		{"1", "10.1.1.3", "10.1.1.0", "broadcast"},
		{"1", "127.0.0.1", "10.1.1.1", "loopback"},
		{"1", "::1", "fd00::1", "loopback"},
		{"1", "::", "ff02::16", "martian"},
		{"1", "239.1.1.1", "10.1.1.1", "multicast"},
		{"1", "255.255.255.255", "10.1.1.1", "broadcast"},
		{"kernel", "10.1.1.1", "255.255.255.255", "broadcast"},
		{"kernel", "10.1.1.1", "224.0.0.251", "multicast"},
		{"kernel", "127.0.0.1", "10.1.1.3", "loopback"},
		{"kernel", "169.254.1.1", "10.1.1.3", "martian"},
		{"kernel", "10.1.1.1", "10.1.1.3", "1"},
		{"kernel", "10.1.1.1", "10.1.1.5", "2"},
		{"kernel", "10.1.1.1", "10.1.1.4", "no_peer"}, // the other end of a pair is nobody
		{"kernel", "10.1.1.1", "10.1.1.7", "no_peer"},
		{"kernel", "10.1.1.1", "10.1.1.255", "broadcast"},
		{"kernel", "10.1.1.1", "8.8.8.8", "no_peer"},
		{"kernel", "fe80::1", "ff02::16", "multicast"},      // the kernel's own chatter
		{"kernel", "192.168.7.7", "10.1.1.3", "not_pushed"}, // the server's kernel forwards it
	}
	for name, test := range map[string]struct {
		clientToClient bool
		sent           []sent
	}{
		"apart": {false, append([]sent{
			{"1", "10.1.1.3", "10.1.1.5", "client_to_client"},
			{"1", "10.1.1.3", "10.1.1.7", "client_to_client"},
			{"1", "10.1.1.3", "10.1.1.2", "client_to_client"},
			{"kernel", "10.1.1.3", "10.1.1.5", "client_to_client"}, // forwarded by the server's kernel
			{"kernel", "10.1.1.99", "10.1.1.3", "client_to_client"},
		}, always...)},
		"together": {true, append([]sent{
			{"1", "10.1.1.3", "10.1.1.5", "2"},
			{"2", "10.1.1.5", "10.1.1.3", "1"},
			{"1", "10.1.1.3", "10.1.1.7", "no_peer"},
			{"1", "10.1.1.3", "10.1.1.2", "no_peer"},
			{"kernel", "10.1.1.3", "10.1.1.5", "2"},
		}, always...)},
	} {
		t.Run(name, func(t *testing.T) {
			h := serve(t, "10.1.1.0/24",
				func(c *server.Config) { c.Site.Together = test.clientToClient })
			clients := map[string]*member{"1": h.join(transport.Connect{}),
				"2": h.join(transport.Connect{})}
			want, drops := map[string][]uint32{}, map[string]int{}
			batches := map[string][][]byte{}
			for i, s := range test.sent {
				batches[s.from] = append(batches[s.from], tuntest.Packet(s.src, s.dst, uint32(i)))
				switch s.to {
				case "kernel", "1", "2":
					want[s.to] = append(want[s.to], uint32(i))
				default:
					drops[s.to]++
				}
			}
			h.Device.Sends(t, batches["kernel"]...)
			clients["1"].sends(batches["1"]...)
			clients["2"].sends(batches["2"]...)
			got := map[string][][]byte{"1": clients["1"].gets(len(want["1"])),
				"2": clients["2"].gets(len(want["2"]))}
			for range want["kernel"] {
				got["kernel"] = append(got["kernel"], h.Device.Gets(t))
			}
			ended := make(chan [][]byte)
			for _, m := range clients {
				go func() {
					more, _ := m.told()
					ended <- more
				}()
			}
			if counts := h.drops(); !maps.Equal(counts, drops) {
				t.Errorf("dropped %v; want %v", counts, drops)
			}
			for range clients {
				if more := <-ended; len(more) > 0 {
					t.Errorf("a client also got %v", describe(test.sent, ids(more)))
				}
			}
			for len(h.Device.ToKernel) > 0 {
				got["kernel"] = append(got["kernel"], h.Device.Gets(t))
			}
			for who, packets := range got {
				if !slices.Equal(ids(packets), want[who]) {
					t.Errorf("%s got\n%v\nwant\n%v", who, describe(test.sent, ids(packets)),
						describe(test.sent, want[who]))
				}
			}
		})
	}
}

func describe(all []sent, ids []uint32) (text []string) {
	for _, id := range ids {
		text = append(text, fmt.Sprint(all[id]))
	}
	return text
}

// What the kernel refuses is counted, and harms nothing else.
func TestKernelRefuses(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	m := h.join(transport.Connect{})
	m.sends(tuntest.Packet(m.own(), "10.1.1.1", tuntest.RefusedID),
		tuntest.Packet(m.own(), "10.1.1.1", 1), tuntest.Packet(m.own(), "10.1.1.1",
			tuntest.RefusedID))
	if p := h.Device.Gets(t); tuntest.IDOf(p) != 1 {
		t.Errorf("got packet %d", tuntest.IDOf(p))
	}
	go m.told()
	if drops := h.drops(); drops["kernel"] != 2 || len(drops) != 1 {
		t.Errorf("dropped %v", drops)
	}
}

// A client that never reads costs itself only: its queue overflows, others do not notice.
func TestStuckPeer(t *testing.T) {
	h := serve(t, "10.1.1.0/24", func(c *server.Config) { c.Site.Together = true })
	stuck, other := h.join(transport.Connect{}), h.join(transport.Connect{})
	const each = 8
	for i := range uint32(100) { // far more than its queue and the sockets hold
		var batch [][]byte
		for range each {
			batch = append(batch, tuntest.SizedPacket("10.1.1.1", stuck.own(), i, 60000))
		}
		h.Device.Sends(t, append(batch, tuntest.Packet("10.1.1.1", other.own(), i))...)
		if p := other.gets(1)[0]; tuntest.IDOf(p) != i {
			t.Fatalf("got packet %d; want %d", tuntest.IDOf(p), i)
		}
		other.sends(tuntest.SizedPacket(other.own(), stuck.own(), i, 60000),
			tuntest.Packet(other.own(), "10.1.1.1", i))
		if p := h.Device.Gets(t); tuntest.IDOf(p) != i {
			t.Fatalf("the kernel got packet %d; want %d", tuntest.IDOf(p), i)
		}
	}
	go other.told()
	drops := h.drops()
	delete(drops, "stale") // on a busy machine the stuck client is given up before the end
	if drops["queue_full"] < 100 || len(drops) != 1 {
		t.Errorf("dropped %v", drops)
	}
}

// One that leaves without a word, or sends garbage, is gone alone.
func TestBadPeer(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	bad, good := h.join(transport.Connect{}), h.join(transport.Connect{})
	garbage := tuntest.Packet(bad.own(), "10.1.1.1", 1)
	garbage[0] = 0x55 // IP of version 5
	bad.sends(garbage)
	if _, closed := bad.told(); closed.Code != transport.CodeProtocol {
		t.Errorf("told %+v", closed)
	}
	good.sends(tuntest.Packet(good.own(), "10.1.1.1", 2))
	if p := h.Device.Gets(t); tuntest.IDOf(p) != 2 {
		t.Errorf("the kernel got packet %d", tuntest.IDOf(p))
	}
}
