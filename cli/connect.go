package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/net/http/httpguts"

	"tunnel/auth"
	"tunnel/client"
	"tunnel/ipcmd"
	"tunnel/lease"
	"tunnel/loglimit"
	"tunnel/route"
	"tunnel/rtnl"
	"tunnel/transport"
)

const (
	flagAddress    = "address"
	flagHeader     = "header"
	flagKeepTrying = "keep-trying"
	flagOnUp       = "on-up"
	flagOnDown     = "on-down"
)

func connectCommand() *cli.Command {
	return &cli.Command{
		Name:      "connect",
		Usage:     "join the network of a server",
		ArgsUsage: "URL [URL...]",
		Description: "URL is ws://HOST[:PORT][/PATH] or wss://…; the path is /ws if there is none. Further URLs are servers to join when\n" +
			"the ones before cannot be. Flags may stand before and behind; TUNNEL_URL stands for the URLs. HTTPS_PROXY, HTTP_PROXY,\n" +
			"ALL_PROXY and NO_PROXY are respected. Example:\n\n" +
			"   sudo tunnel connect wss://server.example.com --token-file token",
		Flags: slices.Concat([]cli.Flag{
			&cli.StringSliceFlag{Name: flagHeader, Category: categoryServer, EnvVars: env(flagHeader), Usage: "further HTTP header, `K=V`; may be given several times"},
			allowPlainFlag(),
			&cli.BoolFlag{Name: flagKeepTrying, Category: categoryServer, EnvVars: env(flagKeepTrying), Usage: "do not give up when the first attempt fails, as at boot"},
			connectNetworkFlag(),
			&cli.StringFlag{Name: flagAddress, Category: categoryNetwork, EnvVars: env(flagAddress), Usage: "take this `ADDRESS` of the network or none"},
			&cli.IntFlag{Name: flagMTU, Category: categoryNetwork, EnvVars: env(flagMTU), Usage: "`BYTES` of the largest packet, instead of the server's word"},
			&cli.IntFlag{Name: flagQlen, Category: categoryNetwork, EnvVars: env(flagQlen), Usage: "transmit queue length in `PACKETS`, instead of the server's word"},
			&cli.StringFlag{Name: flagOnUp, Category: categoryHost, EnvVars: env(flagOnUp), Usage: "shell `COMMAND` to run when the device is up, with TUNNEL_DEV, TUNNEL_ADDRESS and TUNNEL_PEER"},
			&cli.StringFlag{Name: flagOnDown, Category: categoryHost, EnvVars: env(flagOnDown), Usage: "shell `COMMAND` to run before it goes, within a second"},
		}, connectTLSFlags(), reachFlags(), connectLanesFlags(), commonFlags()),
		OnUsageError:    usageError,
		HideHelpCommand: true,
		Action:          connect,
	}
}

func connect(c *cli.Context) error {
	log, err := logger(c)
	if err != nil {
		return err
	}
	limited := loglimit.New(log.Handler()) // a hostile server decides how often there is something to say
	defer limited.Close()
	log = slog.New(limited)
	if err := errors.Join(checkDevice(c, true), checkCongestion(c), checkLanes(c, flagLanes)); err != nil {
		return err
	}
	if _, err := serverURLs(c); err != nil {
		return err
	}
	wanted, err := wantedAddress(c)
	if err != nil {
		return err
	}
	accepted, err := acceptedNetworks(c)
	if err != nil {
		return err
	}
	if c.Bool(flagDryRun) {
		dialers, err := newDialers(c)
		if err != nil {
			return err
		}
		return connectDryRun(c, dialers[0], wanted, accepted)
	}
	host, err := newHost(c, log)
	if host == nil {
		return err
	}
	dialers, err := newDialers(c)
	if err != nil {
		return err
	}
	dev := c.String(flagDev)
	device, router, err := host.Device(c.Context)
	if err != nil {
		return err
	}
	failed := func(err error) error { return errors.Join(err, router.Close(), device.Close()) }
	dir, err := host.State(c.Context)
	if err != nil {
		return failed(err)
	}
	session, credentials, err := openKept(dir, dev, dialers, log)
	if err != nil {
		return failed(err)
	}
	takePriority(log)
	out := c.App.Writer
	return client.New(client.Config{
		Dialer: dialers[0], Others: dialers[1:], Network: watchNetwork(log), Device: device, Router: router,
		Session: session, Credentials: credentials, Exchanges: auth.Exchanges, Log: log,
		Wanted: wanted, Accept: accepted, Resolvers: resolvers, MTU: c.Int(flagMTU), Qlen: c.Int(flagQlen), KeepTrying: c.Bool(flagKeepTrying), Lanes: c.Int(flagLanes),
		Events: client.Events{
			Connected: func(l transport.Link) {
				_, _ = fmt.Fprintf(out, "up: dev %s, address %s peer %s, network %s, mtu %d\n", dev, l.Address, l.Peer, l.Network, l.MTU)
			},
			Lost: func(err error) {
				_, _ = fmt.Fprintf(out, "down: %v\n", err)
			},
			Up: func(ctx context.Context, l transport.Link) {
				host.Hook(ctx, flagOnUp, l)
			},
			Down: func(l transport.Link) {
				host.Hook(context.WithoutCancel(c.Context), flagOnDown, l)
			},
		},
	}).Run(c.Context)
}

// newDialers returns the paths to all servers that the flags name, at least one.
func newDialers(c *cli.Context) ([]*transport.Dialer, error) {
	dialer, err := newDialer(c)
	if err != nil {
		return nil, err
	}
	others, err := otherDialers(c, dialer)
	if err != nil {
		return nil, err
	}
	all := append([]*transport.Dialer{dialer}, others...)
	return all, checkPlain(c, all)
}

// newDialer returns the way to the server that the flags describe.
func newDialer(c *cli.Context) (*transport.Dialer, error) {
	urls, err := serverURLs(c)
	if err != nil {
		return nil, err
	}
	secret, err := token(c)
	if err != nil {
		return nil, err
	}
	header := http.Header{}
	for _, h := range c.StringSlice(flagHeader) {
		k, v, ok := strings.Cut(h, "=")
		k, v = strings.TrimSpace(k), strings.TrimSpace(v)
		switch {
		case !ok || k == "":
			return nil, usage("--header %q is not K=V", h)
		case !httpguts.ValidHeaderFieldName(k) || !httpguts.ValidHeaderFieldValue(v):
			return nil, usage("--header %s: that is no header of HTTP", strconv.Quote(k))
		case ownHeader(k):
			return nil, usage("--header %s: the program sets that one itself", k)
		}
		header.Add(k, v)
	}
	tlsConfig, err := clientTLS(c, secured(urls))
	if err != nil {
		return nil, err
	}
	proxy, err := proxies(c)
	if err != nil {
		return nil, err
	}
	return &transport.Dialer{
		URL: urls[0], Token: secret, Header: header, TLS: tlsConfig, Proxy: proxy,
		Congestion: c.String(flagCongestion),
	}, nil
}

// ownHeader reports whether a header of the request is the program's own: another value would be overwritten, or break it.
func ownHeader(name string) bool {
	switch name = http.CanonicalHeaderKey(name); name {
	case "Connection", "Upgrade", "Content-Length", "Transfer-Encoding", "Trailer", auth.TokenHeader:
		return true
	}
	return strings.HasPrefix(name, "Sec-Websocket-")
}

// wantedAddress returns the address that --address insists on; the zero Addr is none.
func wantedAddress(c *cli.Context) (netip.Addr, error) {
	text := c.String(flagAddress)
	if text == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || !a.Is4() {
		return netip.Addr{}, usage("--address %s is not an IPv4 address", text)
	}
	if a.As4()[3]%2 == 0 { // whatever the network is, see lease.PairOf
		return netip.Addr{}, usage("--address %s: no client can have that, for pairs of addresses begin with an odd one", text)
	}
	return a, nil
}

// connectDryRun prints what would run. Only the server knows the pair that it will give, so without --address the
// first one of the default network, or of the first that --network accepts, stands for it.
func connectDryRun(c *cli.Context, dialer *transport.Dialer, wanted netip.Addr, accepted []netip.Prefix) error {
	hops, err := dialer.Hops(c.Context)
	if err != nil {
		return err
	}
	router := route.New(ipcmd.DryRun{W: c.App.Writer}, rtnl.Kernel{}, nil, nil)
	if err := router.Bypass(c.Context, hops[0]); err != nil {
		return err
	}
	network := append(accepted, netip.MustParsePrefix("10.1.1.0/24"))[0]
	pair, _ := lease.PairOf(network, 1)
	if wanted.IsValid() {
		pair = lease.Pair{Local: wanted, Peer: wanted.Next()}
		network = netip.PrefixFrom(wanted, 24).Masked()
		if at := slices.IndexFunc(accepted, func(p netip.Prefix) bool { return p.Contains(wanted) }); at >= 0 {
			network = accepted[at]
		}
	}
	_, _ = fmt.Fprintln(c.App.Writer, "# the server decides on addresses, network, mtu and qlen; with its defaults:")
	want := route.Config{Dev: c.String(flagDev), MTU: 1400, Qlen: 100, Local: pair.Local, Peer: pair.Peer, Network: network}
	if mtu := c.Int(flagMTU); mtu != 0 {
		want.MTU = mtu
	}
	if qlen := c.Int(flagQlen); qlen != 0 {
		want.Qlen = qlen
	}
	return router.Set(c.Context, want)
}
