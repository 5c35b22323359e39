// Package load is many clients of one server in one process, without TUN devices: they connect,
// stay idle, and come back when they are cut off. It speaks the protocol by itself, so that what it
// costs is not the program's doing.
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

// firstAtOnce is how many clients connect at a time at first. Those that come back all do so at
// once.
const firstAtOnce = 64

// reportInterval is the time between two lines about how many are connected.
const reportInterval = time.Second

// crowd is all clients.
type crowd struct {
	server *url.URL
	token  string
	tls    *tls.Config // nil for ws://

	report *report
	first  chan struct{} // holds a token for each client that connects for the first time
}

// Main runs the clients that args ask for until ctx ends, and prints to out how they are.
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

// trust returns the client's side of TLS, with one authority.
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
