package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"tunnel/dns/dnstest"
	"tunnel/doctor"
	"tunnel/e2e/lab"
)

// An ill machine or path, and what doctor has to call it.
type ill struct {
	name    string
	on      *lab.Host
	wrap    []string // before the program; "sh", "-c", SCRIPT runs it as "$@"
	args    []string // of doctor
	problem doctor.Problem
	verdict doctor.Verdict
	also    []doctor.Problem // that follow from it, as failures
	says    string           // in what it saw, or advises
}

// check runs doctor, which must find the problem, and no other failure.
func (i ill) check(t *testing.T, bin program) {
	t.Helper()
	argv := append(slices.Clone(i.wrap), string(bin), "doctor", "--json")
	if !slices.Contains(i.args, "--state") {
		argv = append(argv, "--state", t.TempDir())
	}
	cmd := clean(i.on.Command(append(argv, i.args...)...))
	began := time.Now()
	stdout, stderr, code := i.on.TryCommand(cmd)
	var report doctor.Report
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatalf("%s: %v\n%s%s", i.name, err, stdout, stderr)
	}
	want := 0
	if i.verdict == doctor.Fail {
		want = 19
	}
	if code != want || report.Verdict != i.verdict {
		t.Errorf("exit code %d, verdict %s\n%s%s", code, report.Verdict, stdout, stderr)
	}
	found := false
	for _, f := range report.All() {
		switch {
		case f.Problem == i.problem && f.Verdict == i.verdict:
			found = true
			if !strings.Contains(f.Saw+" → "+f.Advice, i.says) || f.Advice == "" {
				t.Errorf("%s does not say %q:\n%s\n→ %s", f.Problem, i.says, f.Saw, f.Advice)
			}
			t.Logf("%s: %s → %s (%v)", f.Check, f.Saw, f.Advice, time.Since(began).Round(time.Millisecond))
		case f.Verdict == doctor.Fail && !slices.Contains(i.also, f.Problem):
			t.Errorf("%s is no failure of this: %s", f.Problem, f.Saw)
		}
	}
	if !found {
		t.Errorf("nothing is called %s\n%s", i.problem, stdout)
	}
}

// On a healthy machine doctor says nothing but ok, changes nothing, and leaves a running client of
// the same token alone. Its bundle has no secret, wherever one stands.
func TestDoctorHealthy(t *testing.T) {
	t.Parallel()
	const secret, password = "planted-s3cr3t-of-16", "planted-passw0rd"
	server, client := direct(t)
	client.Hosts("198.51.100.1 server.example")
	ca := newAuthority(t)
	cert, key := ca.issue(t, time.Now().Add(time.Hour), "server.example")
	bin := plainBuild(t)
	srv := bin.start(t, server, "serve", "--token", secret, "--state", t.TempDir(), "--listen", ":443",
		"--tls-cert", cert, "--tls-key", key)
	srv.WaitFor("listening on ", soon)
	dir := t.TempDir()
	state, file := filepath.Join(dir, "state"), filepath.Join(dir, "connect.yaml")
	config := "url: wss://server.example/ws?key=" + password + "\nca: " + ca.File + "\nstate: " +
		state + "\ntoken: " + secret + "\nheader: X-Key=" + password + "\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cl := bin.start(t, client, "connect", "--config", file)
	cl.WaitFor("up: ", soon)
	client.Run("ip", "link", "set", "dev", "eth0", "alias", "http://user:"+password+"@proxy.example/")
	client.Run("nft", `add table ip t { comment "tnl_abcdefghij_planted-passw0rd"; }`)
	all := func() string {
		return tables(t, client) + client.Run("nft", "list", "ruleset") +
			client.Run("ip", "-6", "rule") + client.Run("sh", "-c", `stat -c '%n %s %Y %Z %a' `+
			`/etc/resolv.conf /etc/hosts "$1"; ls -A "$2"; cat "$1"`,
			"sh", file, state)
	}
	before := all()
	bundle := filepath.Join(dir, "bundle.tar.gz")
	cmd := bin.command(client, "doctor", "--config", file, "--bundle", bundle)
	cmd.Env = append(cmd.Env, "NO_PROXY=server.example", "HTTPS_PROXY=http://user:"+password+"@proxy")
	stdout, stderr, code := client.TryCommand(cmd)
	if code != 0 || strings.Contains(stdout, "warn") || strings.Contains(stdout, "FAIL") ||
		strings.Contains(stdout, "→") || !strings.Contains(stdout, "large messages pass") ||
		!strings.Contains(stdout, "this machine's clock agrees") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	t.Log("\n" + stdout)
	if after := all(); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
	if strings.Contains(cl.Stdout(), "down: ") ||
		strings.Count(srv.Stderr(), "msg=connected") != 1 {
		t.Errorf("the client was disturbed\n%s\n%s", cl.Stdout(), srv.Stderr())
	}
	reaches(t, client, "10.1.1.1")

	names := client.Run("tar", "-tzf", bundle)
	text := client.Run("tar", "-xzOf", bundle)
	for _, name := range []string{"doctor.json", "status.json", "version.txt", "ip-addr.txt",
		"ip-route4.txt", "ip-rule4.txt", "nft.txt", "config-connect.yaml", "journal-tun0.json"} {
		if !strings.Contains(names, "tunnel-doctor/"+name+"\n") {
			t.Errorf("no %s in\n%s", name, names)
		}
	}
	for _, want := range []string{`"state": "connected"`, "alias http://…@proxy.example/",
		`comment "tnl_…`, "# token: (hidden)", "10.1.1.3", `"schema": 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	for _, planted := range []string{secret, password} {
		if strings.Contains(text+stdout+stderr, planted) {
			t.Errorf("%s is in\n%s", planted, text)
		}
	}
	if _, stderr, code := client.Try(string(bin), "doctor", "--config", file, "--bundle",
		bundle); code != 14 || !strings.Contains(stderr, "file exists") {
		t.Errorf("a second bundle of that name: exit code %d\n%s", code, stderr)
	}

	cl.Kill()
	eventually(t, "doctor finds what the killed client has left", func() bool {
		stdout, _, code := client.Try(string(bin), "doctor")
		return code == 0 && strings.Contains(stdout, "warn  leftovers") &&
			strings.Contains(stdout, "of a run with the device tun0")
	})
	client.Run(string(bin), "cleanup")
}

// Each of these machines lacks one thing.
func TestDoctorMachine(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	h, two, peer := l.Host("machine"), l.Host("two"), l.Host("peer")
	for _, each := range []*lab.Host{h, two} {
		l.Link(each, "198.51.100.2/24", peer, "")
		each.Hosts()
		each.Run("ip", "route", "add", "default", "via", "198.51.100.1")
	}
	l.Link(two, "203.0.113.2/24", peer, "")
	two.Run("ip", "route", "add", "default", "via", "203.0.113.1", "metric", "500")
	for dev, strict := range map[string]string{"all": "0", "eth1": "0", "eth0": "1"} {
		two.Sysctl("net.ipv4.conf."+dev+".rp_filter", strict)
	}
	bin := plainBuild(t)
	dir := t.TempDir()
	programs := func(names ...string) string {
		path := t.TempDir()
		for _, name := range names {
			at, err := exec.LookPath(name)
			if err == nil {
				err = os.Symlink(at, filepath.Join(path, name))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	busy := programs("nft")
	if err := os.Symlink("/usr/bin/busybox", filepath.Join(busy, "ip")); err != nil {
		t.Fatal(err)
	}
	serve := filepath.Join(dir, "serve.yaml")
	if err := os.WriteFile(serve, []byte("push-route: 192.168.7.0/24\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	mounts := func(script string) []string {
		return []string{"unshare", "-m", "sh", "-ec", script + "\nexec \"$@\"", "sh"}
	}
	for _, i := range []ill{
		{name: "no capability", wrap: []string{"setpriv", "--inh-caps=-all",
			"--bounding-set=-net_admin"}, problem: doctor.NoCapability, says: "--cap-add NET_ADMIN"},
		{name: "no /dev/net/tun", wrap: mounts("mount -t tmpfs tmpfs /dev/net"),
			problem: doctor.NoTunDriver, says: "modprobe tun"},
		{name: "no ip", wrap: []string{"env", "PATH=" + programs("nft")}, problem: doctor.NoIP,
			says: "install the package iproute2"},
		{name: "BusyBox", wrap: []string{"env", "PATH=" + busy}, problem: doctor.IPUnsuitable,
			verdict: doctor.Warn, says: "initcwnd"},
		{name: "no nft", wrap: []string{"env", "PATH=" + programs("ip")}, problem: doctor.NoNft,
			verdict: doctor.Warn, says: "install the package nftables"},
		{name: "no nft, and it is needed", wrap: []string{"env", "PATH=" + programs("ip")},
			args: []string{"--config", serve}, problem: doctor.NoNft, says: "no masquerading"},
		{name: "full disk", wrap: mounts("mount -t tmpfs -o size=64k tmpfs " + state + "\n" +
			"head -c 1M /dev/zero >" + state + "/full 2>&- || true"), args: []string{"--state", state},
			problem: doctor.DiskFull, says: "make room",
			also: []doctor.Problem{doctor.NoStart}}, // another program's file is there
		{name: "rp_filter", on: two, problem: doctor.StrictFilter, verdict: doctor.Warn,
			says: "strict on eth0, and eth0, eth1 have default routes"},
		{name: "forwarding off", wrap: mounts("mount --bind /proc/sys /proc/sys\n" +
			"mount -o remount,ro,bind /proc/sys"), args: []string{"--config", serve},
			problem: doctor.NoForwarding, says: "read-only file system"},
		{name: "read-only resolv.conf", wrap: mounts("mount -o remount,ro,bind /etc/resolv.conf"),
			problem: doctor.NamesReadOnly, verdict: doctor.Warn, says: "read-only file system"},
	} {
		t.Run(i.name, func(t *testing.T) {
			if i.on == nil {
				i.on = h
			}
			if i.verdict == "" {
				i.verdict = doctor.Fail
			}
			i.check(t, bin)
		})
	}
}

// Each of these paths is broken in one place.
func TestDoctorPath(t *testing.T) {
	t.Parallel()
	server, client, router := routed(t)
	l := lab.New(t)
	held, through := l.Host("held"), l.Host("through") // a path with a hole
	l.Link(held, "10.78.0.2/24", through, "10.78.0.1/24")
	l.Link(through, "203.0.112.254/24", server, "203.0.112.1/24")
	through.Sysctl("net.ipv4.ip_forward", "1")
	held.Run("ip", "route", "add", "default", "via", "10.78.0.1")
	server.Run("ip", "route", "add", "10.78.0.0/24", "via", "203.0.112.254")
	through.Run("ip", "link", "set", "dev", "eth1", "mtu", "1000")
	through.Run("nft", "add table ip hole; add chain ip hole out "+
		"{ type filter hook output priority 0; }; add rule ip hole out icmp type "+
		"destination-unreachable drop")
	router.Run("nft", "add table ip f; add chain ip f forward "+
		"{ type filter hook forward priority 0; }; add rule ip f forward tcp dport 9998 drop")
	lines := []string{routedServer + " server.example"}
	client.Hosts(lines...)
	held.Hosts("203.0.112.1 server.example")
	lie(t, client, "10.77.0.1", router)

	ca, corporate := newAuthority(t), newAuthority(t)
	cert, key := ca.issue(t, time.Now().Add(time.Hour), "server.example")
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--listen", ":443", "--tls-cert", cert, "--tls-key", key)
	plain := bin.serve(t, server, "--plain", "--listen", ":8443", "--dev", "tun1", "--network",
		"10.2.2.0/24")
	pin := regexp.MustCompile(`sha256:\S+`).FindString(srv.Stdout() + srv.Stderr())
	if pin == "" {
		pin = "sha256:" + strings.Repeat("A", 43) + "="
	}
	then := time.Date(time.Now().Year()-2, 6, 1, 12, 0, 0, 0, time.UTC)
	answering(t, server, 8451, ca, then.Add(-time.Hour), then.Add(time.Hour), then)
	expired := time.Now().Add(-time.Hour)
	answering(t, server, 8455, ca, expired.Add(-time.Hour), expired, time.Now())
	answering(t, server, 8452, corporate, time.Now().Add(-time.Hour), time.Now().Add(time.Hour),
		time.Now())
	startNginx(t, server, `
		server { listen 8453; location / { proxy_pass http://127.0.0.1:8443; } }
		server { listen 8454; location / { return 302 http://login.example/; } }`)
	const of = "server.example:"
	tls := func(url string, flags ...string) []string {
		return append([]string{"--ca", ca.File, "--token", token, url}, flags...)
	}
	clear := func(url string) []string { return []string{"--token", token, url} }

	t.Run("paths", func(t *testing.T) {
		for _, i := range []ill{
			{name: "hole, TLS", on: held, args: tls("wss://server.example"), problem: doctor.MTUHole,
				says: "mtu 1000"},
			{name: "hole, no TLS", on: held, args: clear("ws://" + of + "8443"),
				problem: doctor.MTUHole, says: "larger ones vanish"},
			{name: "silent drop", args: clear("wss://" + of + "9998"), problem: doctor.NoAnswer,
				says: "does not answer"},
			{name: "wrong clock", args: tls("wss://" + of + "8451"), problem: doctor.ClockWrong,
				says: "this machine's clock is wrong by"},
			{name: "expired certificate", args: tls("wss://" + of + "8455"),
				problem: doctor.CertificateExpired, says: "renew the server's certificate"},
			{name: "another key", args: []string{"--pin", pin, "--token", token, "wss://" + of + "8452"},
				problem: doctor.TLSIntercepted, says: "issued by e2e authority"},
			{name: "another authority", args: tls("wss://" + of + "8452"),
				problem: doctor.UnknownAuthority, says: "--ca FILE"},
			{name: "proxy without Upgrade", args: clear("ws://" + of + "8453"),
				problem: doctor.UpgradeDropped, says: "by nginx"},
			{name: "DNS that lies", args: clear("wss://hub.example.com"), problem: doctor.NameLies,
				also: []doctor.Problem{doctor.PortClosed},
				says: "hub.example.com is 10.77.0.1, says 10.77.0.1"},
			{name: "captive portal", args: clear("ws://" + of + "8454"),
				problem: doctor.CaptivePortal, says: "sends us to http://login.example/"},
			{name: "wrong token", args: []string{"--ca", ca.File, "--token", "another-" + token,
				"wss://server.example"}, problem: doctor.TokenRefused, says: "--token-file"},
			{name: "no token", args: []string{"--ca", ca.File, "wss://server.example"},
				problem: doctor.NoToken, says: "--token-file"},
			{name: "port closed", args: clear("wss://" + of + "9999"), problem: doctor.PortClosed,
				says: "connection refused"},
			{name: "no such name", args: clear("wss://nowhere.example"), problem: doctor.NameNotFound,
				says: "asked: 10.77.0.1"},
			{name: "no proxy", args: tls("wss://server.example", "--proxy", "http://10.77.0.1:3128"),
				problem: doctor.ProxyRefuses, says: "10.77.0.1:3128, from --proxy: connect to"},
		} {
			t.Run(i.name, func(t *testing.T) {
				t.Parallel()
				if i.on == nil {
					i.on = client
				}
				if i.verdict == "" {
					i.verdict = doctor.Fail
				}
				i.check(t, bin)
			})
		}
	})
	for _, hub := range []*lab.Proc{srv, plain} {
		if strings.Contains(hub.Stderr(), "msg=connected") {
			t.Errorf("doctor was given an address:\n%s", hub.Stderr())
		}
	}
}

// lie has a host ask the name server of another, which answers names below example.com by its own
// address, and has no other name.
func lie(t *testing.T, h *lab.Host, address string, of *lab.Host) {
	t.Helper()
	var pc net.PacketConn
	err := of.Do(func() (err error) {
		pc, err = new(net.ListenConfig).ListenPacket(t.Context(), "udp", address+":53")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	go dnstest.Answer(pc, func(m *dnsmessage.Message) bool {
		m.Additionals = nil
		if strings.HasSuffix(m.Questions[0].Name.String(), ".example.com.") {
			dnstest.AnswerA(m, [4]byte(net.ParseIP(address).To4()))
		} else {
			m.RCode = dnsmessage.RCodeNameError
		}
		return true
	})
	t.Cleanup(func() { _ = pc.Close() })
	err = os.WriteFile(filepath.Join("/etc/netns", h.NS(), "resolv.conf"),
		[]byte("nameserver "+address+"\n"), 0o644)
	if err != nil {
		t.Fatal(err)
	}
}

// answering runs a web server with a certificate of these dates, and a clock of its own.
func answering(t *testing.T, h *lab.Host, port int, ca *authority, from, until, clock time.Time) {
	t.Helper()
	cert, key := ca.issueFrom(t, from, until, "server.example")
	var ln net.Listener
	err := h.Do(func() (err error) {
		ln, err = new(net.ListenConfig).Listen(t.Context(), "tcp", fmt.Sprintf(":%d", port))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{ReadHeaderTimeout: soon, ErrorLog: log.New(io.Discard, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", clock.UTC().Format(http.TimeFormat))
			w.WriteHeader(http.StatusNotFound)
		})}
	go func() { _ = web.ServeTLS(ln, cert, key) }()
	t.Cleanup(func() { _ = web.Close() })
}
