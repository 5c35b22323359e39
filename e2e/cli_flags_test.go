package e2e

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tunnel/e2e/lab"
)

// asNobody runs the program as nobody without capabilities and returns its stdout. The run must
// succeed.
func asNobody(t *testing.T, h *lab.Host, bin program, args ...string) string {
	t.Helper()
	wrap := []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
		"--inh-caps=-all", string(bin)}
	stdout, stderr, code := h.TryCommand(clean(h.Command(append(wrap, args...)...)))
	if code != 0 {
		t.Errorf("tunnel %s: exit code %d\n%s", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

// commands returns the commands of a dry run, without its comments.
func commands(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "# ") {
			out.WriteString(line)
		}
	}
	// How many connections are tracked depends on the machine's memory.
	return regexp.MustCompile(`ct count over \d+`).ReplaceAllString(out.String(), "ct count over N")
}

// --dry-run prints the commands that would run, needs no privileges and changes nothing.
func TestDryRun(t *testing.T) {
	t.Parallel()
	_, client, _ := routed(t)
	client.Sysctl("net.ipv4.ip_forward", "0")
	before := tables(t, client)
	bin := plainBuild(t)
	state := filepath.Join(ownedByNobody(t), "state")
	for _, test := range []struct {
		name string
		args []string
		want []string
	}{
		{"serve", []string{"serve", "--plain", "--token", token, "--state", state, "--dry-run"},
			[]string{
				"ip link set dev tun0 up mtu 1400 qlen 100",
				"ip addr add dev tun0 local 10.1.1.1 peer 10.1.1.2",
				"ip route add 10.1.1.0/24 via 10.1.1.2 dev tun0",
			}},
		{"serve another network", []string{"serve", "--plain", "--token", token, "--state", state,
			"--dry-run", "--network", "10.9.0.0/16", "--dev", "hub", "--mtu", "1300", "--qlen",
			"7"}, []string{
			"ip link set dev hub up mtu 1300 qlen 7",
			"ip addr add dev hub local 10.9.0.1 peer 10.9.0.2",
			"ip route add 10.9.0.0/16 via 10.9.0.2 dev hub",
		}},
		{"serve with networks", []string{"serve", "--plain", "--token", token, "--state", state,
			"--dry-run", "--push-route", "192.168.7.0/24", "--masquerade", "--masquerade-only",
			"192.168.7.0/24"}, []string{
			"ip link set dev tun0 up mtu 1400 qlen 100",
			"nft create table inet tunnel_tun0",
			"nft -f - <<'EOF'",
			"table inet tunnel_tun0",
			"delete table inet tunnel_tun0",
			"table inet tunnel_tun0 {",
			"\tset tracked {", "\t\ttype ipv4_addr", "\t\tsize 65536", "\t\tflags dynamic", "\t}",
			"\tset opened {", "\t\ttype ipv4_addr", "\t\tsize 65536",
			"\t\tflags dynamic,timeout", "\t\ttimeout 60s", "\t}",
			"\tchain tracked {",
			"\t\ttype filter hook prerouting priority -150; policy accept;",
			"\t\tct status confirmed accept",
			"\t\tiifname \"tun0\" ct state new ip saddr 10.1.1.0/24 " +
				"update @opened { ip saddr limit rate over 500/second burst 4096 packets } drop",
			"\t\tiifname \"tun0\" ct state new ip saddr 10.1.1.0/24 " +
				"add @tracked { ip saddr ct count over N } drop",
			"\t\tiifname \"tun0\" ct state new ip saddr != 10.1.1.0/24 " +
				"limit rate over 500/second burst 4096 packets drop",
			"\t\tiifname \"tun0\" ct state new ip saddr != 10.1.1.0/24 ct count over N drop",
			"\t}",
			"\tchain sources {",
			"\t\ttype filter hook prerouting priority 0; policy accept;",
			"\t\tiifname \"tun0\" fib daddr type broadcast drop",
			"\t\tiifname != { \"lo\", \"tun0\" } ip saddr 10.1.1.0/24 fib saddr oifname \"tun0\" " +
				"fib daddr type != local drop",
			"\t\tct state invalid,new,untracked fib daddr oifname \"tun0\" " +
				"fib saddr . iif oif missing drop",
			"\t}",
			"\tchain forward {",
			"\t\ttype filter hook forward priority 0; policy accept;",
			"\t\tiifname != \"tun0\" ip saddr 10.1.1.0/24 drop",
			"\t\tiifname \"tun0\" meta nfproto ipv4 tcp flags syn tcp option maxseg size set 1360",
			"\t\toifname \"tun0\" meta nfproto ipv4 tcp flags syn tcp option maxseg size set 1360",
			"\t\tiifname \"tun0\" oifname != \"tun0\" ip daddr 192.168.7.0/24 " +
				"ct state invalid,untracked drop",
			"\t\tiifname != \"tun0\" oifname \"tun0\" ct state new ct original ip daddr 10.1.1.0/24 " +
				"ip saddr != 192.168.7.0/24 drop",
			"\t\tiifname \"tun0\" ip daddr 192.168.7.0/24 accept",
			"\t\tmeta nfproto ipv4 iifname \"tun0\" oifname != \"tun0\" drop",
			"\t\tmeta nfproto ipv4 meta iif \"eth0\" meta oif != \"eth0\" oifname != \"tun0\" drop",
			"\t}",
			"\tchain postrouting {",
			"\t\ttype nat hook postrouting priority 100; policy accept;",
			"\t\tiifname \"tun0\" oifname != \"tun0\" ip daddr 192.168.7.0/24 masquerade",
			"\t}",
			"}",
			"EOF",
			"ip addr add dev tun0 local 10.1.1.1 peer 10.1.1.2",
			"ip route add 10.1.1.0/24 via 10.1.1.2 dev tun0",
			"sysctl -w net.ipv4.conf.tun0.forwarding=1",
			"sysctl -w net.ipv4.conf.eth0.forwarding=1",
		}},
		{"connect", []string{"connect", "--dry-run", "--token", token, "--state", state, routedURL},
			[]string{
				"ip -4 r a 203.0.113.1/32 via 10.77.0.1 dev eth0",
				"ip link set dev tun0 up mtu 1400 qlen 100",
				"ip addr add dev tun0 local 10.1.1.3 peer 10.1.1.4",
				"ip route add 10.1.1.0/24 via 10.1.1.4 dev tun0",
			}},
		{"connect, flags after the URL", []string{"connect", routedURL, "--dry-run", "--token",
			token, "--state", state, "--dev", "vpn"}, []string{
			"ip -4 r a 203.0.113.1/32 via 10.77.0.1 dev eth0",
			"ip link set dev vpn up mtu 1400 qlen 100",
			"ip addr add dev vpn local 10.1.1.3 peer 10.1.1.4",
			"ip route add 10.1.1.0/24 via 10.1.1.4 dev vpn",
		}},
	} {
		out := asNobody(t, client, bin, test.args...)
		if got, want := commands(out), strings.Join(test.want, "\n")+"\n"; got != want {
			t.Errorf("dry run of %s prints\n%swant\n%s", test.name, out, want)
		}
		untouched(t, client, before)
	}
	if left, err := filepath.Glob(filepath.Join(state, "*")); err != nil || len(left) > 0 {
		t.Errorf("a dry run wrote its state: %q (%v)", left, err)
	}
}

// Flags may stand before and after the URL.
func TestFlagsAroundTheURL(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	state := t.TempDir()
	for _, args := range [][]string{
		{"connect", "--token", token, "--state", state, "--dev", "vpn", directURL},
		{"connect", directURL, "--token", token, "--state", state, "--dev", "vpn"},
		{"connect", "--token", token, directURL, "--dev=vpn", "--state=" + state, "--keep-trying"},
	} {
		cl := bin.start(t, client, args...)
		cl.WaitFor("up: dev vpn, address 10.1.1.3 ", soon)
		stop(t, cl)
	}
}

// A server gets its flags from environment variables; the command line takes precedence.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	cmd := bin.command(server, "serve", "--qlen", "300")
	cmd.Env = append(cmd.Env, "TUNNEL_LISTEN=:80", "TUNNEL_PLAIN=true", "TUNNEL_PATH=/p",
		"TUNNEL_NETWORK=10.7.0.0/20",
		"TUNNEL_DEV=hub", "TUNNEL_MTU=1200", "TUNNEL_QLEN=200", "TUNNEL_TOKEN="+token,
		"TUNNEL_CLIENT_TO_CLIENT=true",
		"TUNNEL_PING_INTERVAL=7s", "TUNNEL_STATE="+t.TempDir(), "TUNNEL_LOG_FORMAT=json",
		"TUNNEL_LOG_LEVEL=warn")
	srv := watch(t, server.StartCommand(cmd))
	srv.WaitFor(
		"listening on [::]:80, network 10.7.0.0/20, dev hub, address 10.7.0.1 peer 10.7.0.2", soon)
	srv.WaitFor(`"level":"WARN"`, soon)
	if strings.Contains(srv.Stderr(), "INFO") {
		t.Errorf("the log is not of level warn:\n%s", srv.Stderr())
	}
	if text := server.Run("ip", "link", "show", "dev", "hub"); !strings.Contains(text,
		"mtu 1200") || !strings.Contains(text, "qlen 300") {
		t.Errorf("the device is not as told:\n%s", text)
	}
	cl := bin.connect(t, client, "ws://198.51.100.1/p")
	reaches(t, client, "10.7.0.1")
	stop(t, cl)
}

// Help, version and completion work for any user.
func TestHelp(t *testing.T) {
	t.Parallel()
	h := lab.New(t).Host("h")
	bin := plainBuild(t)
	for _, test := range []struct {
		args []string
		want []string
	}{
		{[]string{"--help"}, []string{"serve", "connect", "cleanup", "version", "completion"}},
		{[]string{"serve", "--help"}, []string{"--listen", ":8443", "--client-to-client",
			"TUNNEL_PING_INTERVAL", "tunnel serve "}},
		{[]string{"connect", "--help"}, []string{"--keep-trying", "--on-up", "TUNNEL_TOKEN_FILE",
			"TUNNEL_URL", "tunnel connect "}},
		{[]string{"cleanup", "--help"}, []string{"tunnel cleanup"}},
		{[]string{"version"}, []string{"\n"}},
		{[]string{"completion", "bash"}, []string{"complete"}},
		{[]string{"completion", "zsh"}, []string{"compdef"}},
		{[]string{"completion", "fish"}, []string{"complete -c tunnel"}},
	} {
		out := asNobody(t, h, bin, test.args...)
		for _, want := range test.want {
			if !strings.Contains(out, want) {
				t.Errorf("tunnel %s lacks %q:\n%s", strings.Join(test.args, " "), want, out)
			}
		}
	}
	for _, args := range [][]string{{"serv"}, {}, {"completion", "tcsh"}} {
		stdout, stderr, code := h.TryCommand(bin.command(h, args...))
		if len(args) > 0 && code != 2 {
			t.Errorf("tunnel %v: exit code %d, want 2\n%s%s", args, code, stdout, stderr)
		}
	}
}
