package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tunnel/dns/dnstest"
	"tunnel/e2e/lab"
)

// The hosts of docs/RECIPES.md, which their links make what that says.

// pageWorld is the internet of the page: the hub, the laptop behind a router, and a web server that
// answers with the address that it sees.
type pageWorld struct {
	*lab.Lab
	hub, laptop, router *lab.Host
}

func newPageWorld(t *testing.T) pageWorld {
	t.Helper()
	l := lab.New(t)
	w := pageWorld{l, l.Host("hub"), l.Host("laptop"), l.Host("router")}
	web := l.Host("web")
	l.Link(w.hub, "203.0.113.1/24", w.router, "203.0.113.254/24")
	l.Link(w.laptop, "10.77.0.2/24", w.router, "10.77.0.1/24")
	l.Link(web, "198.51.100.80/24", w.router, "198.51.100.1/24")
	w.router.Sysctl("net.ipv4.ip_forward", "1")
	for h, via := range map[*lab.Host]string{w.hub: "203.0.113.254", w.laptop: "10.77.0.1",
		web: "198.51.100.1"} {
		h.Run("ip", "route", "add", "default", "via", via)
	}
	w.hub.Sysctl("net.ipv4.ip_forward", "0")
	startNginx(t, web, `server { listen 80; location / { return 200 "$remote_addr\n"; } }`)
	noJournals(t, w.hub, w.laptop)
	return w
}

// office puts the intranet's web server on a network behind the hub.
func (w pageWorld) office(t *testing.T) {
	t.Helper()
	intranet := w.Host("intranet")
	w.Link(w.hub, "192.168.7.1/24", intranet, "192.168.7.9/24")
	startNginx(t, intranet, `server { listen 80; location / { return 200 "the intranet\n"; } }`)
}

// offices adds Berlin and Munich, with their networks, to the terminals of the page.
func (w pageWorld) offices(t *testing.T, p *page, berlin, munich string) {
	t.Helper()
	for i, o := range []struct{ name, network string }{{"berlin", berlin}, {"munich", munich}} {
		router, desk := w.Host(o.name), w.Host("desk-in-"+o.name)
		at := fmt.Sprintf("10.%d.0.", 80+i)
		w.Link(router, at+"2/24", w.router, at+"1/24")
		router.Run("ip", "route", "add", "default", "via", at+"1")
		w.Link(router, o.network+"1/24", desk, o.network+"9/24")
		desk.Run("ip", "route", "add", "default", "via", o.network+"1")
		router.Sysctl("net.ipv4.ip_forward", "0")
		startNginx(t, desk, fmt.Sprintf(
			`server { listen 80; location / { return 200 "%s's intranet\n"; } }`,
			strings.ToUpper(o.name[:1])+o.name[1:]))
		noJournals(t, router)
		p.host(o.name, router)
		p.host(desk.Name(), desk)
	}
}

// TestRecipeOffice reaches the office's network from a laptop.
func TestRecipeOffice(t *testing.T) {
	t.Parallel()
	w := newPageWorld(t)
	w.office(t)
	p := newPage(t, "Reach my office LAN")
	p.host("hub", w.hub)
	p.host("laptop", w.laptop)
	p.run()
}

// TestRecipeAllTraffic sends all traffic of a laptop through the hub.
func TestRecipeAllTraffic(t *testing.T) {
	t.Parallel()
	w := newPageWorld(t)
	p := newPage(t, "Send all traffic")
	p.host("hub", w.hub)
	p.host("laptop", w.laptop)
	p.run()
}

// TestRecipeTwoOffices joins two offices.
func TestRecipeTwoOffices(t *testing.T) {
	t.Parallel()
	w := newPageWorld(t)
	p := newPage(t, "Two offices")
	p.host("hub", w.hub)
	w.offices(t, p, "192.168.1.", "192.168.2.")
	p.run()
}

// TestRecipeSameSubnet joins two offices with the same network.
func TestRecipeSameSubnet(t *testing.T) {
	t.Parallel()
	w := newPageWorld(t)
	p := newPage(t, "Same subnet on both sides")
	p.host("hub", w.hub)
	w.offices(t, p, "192.168.1.", "192.168.1.")
	p.run()
}

// TestRecipeDomain resolves the names of one domain by the office's DNS server.
func TestRecipeDomain(t *testing.T) {
	t.Parallel()
	m, _ := dnstest.NewResolved(t)
	m.Run("ip", "link", "del", "tun0")
	m.Run("ip", "-n", "outside", "link", "del", "tun0")
	m.Run("ip", "route", "add", "default", "via", dnstest.Router)
	for _, args := range []string{
		"addr add 203.0.113.1/32 dev eth0",
		"route add default dev eth0 src 203.0.113.1",
		"link add lan type veth peer name office",
		"addr add 192.168.7.53/24 dev lan",
		"link set lan up",
		"link set office up",
	} {
		m.Run(append([]string{"ip", "-n", "outside"}, strings.Fields(args)...)...)
	}
	m.Serve(dnstest.Router, outsideName)
	m.Serve("192.168.7.53", "192.168.7.9")
	p := newPage(t, "Split by domain")
	p.wrap("hub", []string{"ip", "netns", "exec", "outside"}, nil)
	p.wrap("laptop", []string{"unshare", "--mount"}, nil)
	p.run()
}

// testRecipe reaches the office from a container that uses another one's network. It is a part of
// TestDocker, which has built the image.
func (e *engine) testRecipe(t *testing.T) {
	e.importBusyBox()
	w := newPageWorld(t)
	w.office(t)
	// The engine's host is behind the router, too.
	pid := fmt.Sprint(e.pid)
	for _, args := range []string{
		"ip link add box netns " + w.router.NS() + " type veth peer name wan netns " + pid,
		"ip -n " + w.router.NS() + " addr add 10.79.0.1/24 dev box",
		"ip -n " + w.router.NS() + " link set box up",
		"nsenter -n -t " + pid + " ip addr add 10.79.0.2/24 dev wan",
		"nsenter -n -t " + pid + " ip link set wan up",
		"nsenter -n -t " + pid + " ip route add default via 10.79.0.1",
	} {
		argv := strings.Fields(args)
		if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err !=
			nil {
			t.Fatalf("%s: %v\n%s", args, err, out)
		}
	}
	p := newPage(t, "Run in a container for another container")
	p.host("hub", w.hub)
	p.wrap("box", []string{"unshare", "--mount"}, e.env)
	p.run()
	e.stop(t, "vpn")
	e.must("docker", "rm", "vpn")
}

// importBusyBox gives the engine the image busybox, made of this machine's program.
func (e *engine) importBusyBox() {
	e.t.Helper()
	dir := e.t.TempDir()
	script := `busybox=$(command -v busybox)
		for file in "$busybox" $(ldd "$busybox" 2>/dev/null | grep -o '/[^ ]*'); do
			install -D "$file" ".$file"
		done
		mkdir -p bin tmp
		[ "$busybox" = /bin/busybox ] || ln -s "$busybox" bin/busybox
		ln -s busybox bin/wget
		ln -s busybox bin/sh
		tar -cf busybox.tar --exclude=busybox.tar *`
	cmd := exec.CommandContext(e.t.Context(), "sh", "-ec", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		e.t.Fatalf("make the image busybox: %v\n%s", err, out)
	}
	e.must("docker", "import", filepath.Join(dir, "busybox.tar"), "busybox")
}

// TestRecipes has each recipe of the page run by a test.
func TestRecipes(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(recipes)
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("network_recipes_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		title, ok := strings.CutPrefix(strings.TrimSpace(line), "## ")
		if ok && !strings.Contains(string(tests), fmt.Sprintf("newPage(t, %q)", title)) {
			t.Errorf("no test runs %q", title)
		}
	}
}
