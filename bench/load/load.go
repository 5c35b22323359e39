// Package load runs many clients of one server in one process, without TUN devices: they connect,
// stay idle, and reconnect. It has its own implementation of the protocol, so that its costs do not
// depend on this program's.
package load

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// firstAtOnce is how many clients may make their first connection at once. Reconnections have no
// bound.
const firstAtOnce = 64

// reportInterval is the time between two lines about how many are connected.
const reportInterval = time.Second

// crowd has what all clients share.
type crowd struct {
	server *url.URL
	token  string
	tls    *tls.Config // nil for ws://

	report *report
	first  chan struct{} // has an element for each client that makes its first connection
}

// Main runs the clients that args describe until ctx ends, and prints to out how many are up.
func Main(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	server := flags.String("url", "", "`URL` of the server, ws:// or wss://")
	token := flags.String("token", "", "shared `SECRET`")
	ca := flags.String("ca", "", "`FILE` with the certificate that signed the server's")
	n := flags.Int("clients", 1, "`NUMBER` of clients")
	from := flags.String("from", "", "source `ADDRESSES`, separated by commas")
	if err := flags.Parse(args); err != nil {
		return err
	}
	c := &crowd{token: *token, report: newReport(out, *n), first: make(chan struct{}, firstAtOnce)}
	var err error
	if c.server, err = url.Parse(*server); err != nil {
		return err
	}
	if c.server.Port() == "" {
		return errors.New("-url needs a port")
	}
	if c.server.Scheme == "wss" {
		if c.tls, err = trust(*ca, c.server.Hostname()); err != nil {
			return err
		}
	}
	var sources []netip.Addr
	for text := range strings.SplitSeq(*from, ",") {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("-from: %w", err)
		}
		sources = append(sources, addr)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	for i := range *n {
		all.Go(func() { (&client{crowd: c, source: sources[i%len(sources)]}).stay(ctx) })
	}
	c.report.run(ctx)
	all.Wait()
	return nil
}

// trust returns the clients' TLS configuration, with one authority.
func trust(file, name string) (*tls.Config, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("-ca: no certificate in %s", file)
	}
	return &tls.Config{RootCAs: pool, ServerName: name, NextProtos: []string{"http/1.1"}}, nil
}
