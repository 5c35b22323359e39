// Bridge joins a TUN device to one on another host by the packages tun and transport, as `tunnel
// serve` and `tunnel connect` do, but assigns no addresses and passes every packet. The end-to-end
// tests use it to send IPv6 across, for which the program has no addresses, and to choose the
// framing, which the program chooses by itself. It prints its progress on stdout and, on SIGTERM,
// its counters as JSON.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"tunnel/packet"
	"tunnel/transport"
	"tunnel/transport/dial"
	"tunnel/transport/fq"
	"tunnel/transport/tcp"
	"tunnel/transport/ws"
	"tunnel/tun"
)

// queueLimit, in bytes, is far larger than the program's own: only CoDel drops here, segment by
// segment, so that sent, dropped and received packets add up.
const queueLimit = 1 << 30

// counts are the counters that the bridge prints when it ends.
type counts struct {
	// packets put into the queue; a super-packet counts as its segments
	Pushed    uint64
	Queue     fq.Drops
	Written   uint64 // packets written to the device; a super-packet counts as its segments
	Malformed uint64 // records whose virtio_net_hdr contradicts the packet
	Refused   uint64 // by the kernel
	Vnet, IP  uint64 // batches received, by framing
}

type bridge struct {
	dev       tun.Device
	offload   packet.Offload // told to the other side
	queue     *fq.Queue
	keepalive time.Duration
	out       io.Writer
	pushed    atomic.Uint64
	written   atomic.Uint64
	malformed atomic.Uint64
	refused   atomic.Uint64
	framings  [2]atomic.Uint64 // batches received, by packet.Framing
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bridge:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("bridge", flag.ContinueOnError)
	listen := flags.String("listen", "", "`ADDRESS` to listen on")
	url := flags.String("url", "", "`URL` to dial")
	cert := flags.String("cert", "",
		"`FILE` with the certificate, for TLS: the server's own, or what the client trusts")
	key := flags.String("key", "", "`FILE` with the server's key")
	plain := flags.Bool("plain", false, "make the device without offload, which makes the framing ip")
	if err := flags.Parse(args); err != nil {
		return err
	}
	open := tun.Open
	if *plain {
		open = tun.OpenPlain
	}
	dev, err := open("tun0")
	if err != nil {
		return err
	}
	b := &bridge{dev: dev, offload: dev.Offload(), queue: fq.NewQueue(queueLimit),
		keepalive: 5 * time.Second, out: out}
	_, _ = fmt.Fprintln(out, "made", dev.Name())
	if err := up(ctx, dev.Name()); err != nil {
		return errors.Join(err, dev.Close())
	}
	read := make(chan error, 1)
	go func() { read <- b.forward() }()
	if *listen != "" {
		err = b.serve(ctx, *listen, *cert, *key)
	} else {
		err = b.dial(ctx, *url, *cert)
	}
	_ = dev.Close()
	if failed := <-read; !errors.Is(failed, os.ErrClosed) {
		err = errors.Join(err, failed)
	}
	var closed *transport.CloseError
	if ctx.Err() == nil && !(errors.As(err, &closed) && closed.Remote &&
		closed.Code == transport.CodeGoingAway) {
		return fmt.Errorf("ended by itself: %w", err)
	}
	return json.NewEncoder(out).Encode(counts{
		Pushed: b.pushed.Load(), Queue: b.queue.Drops(), Written: b.written.Load(),
		Malformed: b.malformed.Load(), Refused: b.refused.Load(),
		Vnet: b.framings[packet.FramingVnet].Load(), IP: b.framings[packet.FramingIP].Load(),
	})
}

// up waits until the device is up, since before that the kernel refuses packets.
func up(ctx context.Context, name string) error {
	for ctx.Err() == nil {
		i, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		if i.Flags&net.FlagUp != 0 {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return ctx.Err()
}

// forward moves packets from the device to the queue.
func (b *bridge) forward() error {
	return b.dev.ReadBatches(func(batch *packet.Batch) {
		for i := range batch.Len() {
			b.pushed.Add(packets(batch.Record(i)))
			b.queue.Push(batch.Take(i))
		}
		b.queue.Flush()
	})
}

// deliver moves packets from the other side to the device.
func (b *bridge) deliver(batch *packet.Batch) error {
	b.framings[batch.Framing()].Add(1)
	batch.Filter(func(i int) bool {
		if batch.Framing() == packet.FramingVnet && packet.Check(batch.Record(i)) != nil {
			b.malformed.Add(1)
			return false
		}
		return true
	})
	for i := range batch.Len() {
		if batch.Framing() == packet.FramingVnet {
			b.written.Add(packets(batch.Record(i)))
		} else {
			b.written.Add(1)
		}
	}
	refused, err := b.dev.WriteBatch(batch)
	b.refused.Add(uint64(refused))
	return err
}

// packets returns the number of packets that a record stands for.
func packets(record []byte) uint64 {
	h, ip := packet.ParseHeader(record), record[packet.HeaderLen:]
	if !h.Segmented() {
		return 1
	}
	transport := int(h.ChecksumStart)
	payload := len(ip) - transport - 8
	if !h.UDP() {
		payload = len(ip) - transport - int(ip[transport+12]>>4)*4
	}
	return uint64((payload + int(h.GSOSize) - 1) / int(h.GSOSize))
}

func (b *bridge) dial(ctx context.Context, address, ca string) error {
	u, err := transport.ParseURL(address)
	if err != nil {
		return err
	}
	dialer := &ws.Dialer{Dialer: dial.Dialer{URL: u}, Congestion: tcp.CongestionAuto}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		dialer.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	conn, err := dialer.Dial(ctx)
	if err != nil {
		return err
	}
	if _, err := conn.Request(ctx, transport.Connect{}, b.offload); err != nil {
		return err
	}
	return b.run(ctx, conn)
}

// serve accepts one connection, and returns when it ends.
func (b *bridge) serve(ctx context.Context, address, cert, key string) error {
	var config *tls.Config
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return err
		}
		config = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12,
			NextProtos: []string{"http/1.1"}}
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	web := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		ConnContext:       tcp.ConnContext,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ended <- b.accept(ctx, w, r)
		}),
	}
	go func() { _ = web.Serve(tcp.Listener(ln, config, nil)) }()
	defer web.Close()
	_, _ = fmt.Fprintln(b.out, "listening")
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return <-ended
	}
}

func (b *bridge) accept(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	conn, err := ws.Accept(w, r, tcp.CongestionAuto)
	if err != nil {
		return err
	}
	request, err := conn.Requested(ctx, b.offload)
	if err != nil {
		return err
	}
	err = conn.Grant(ctx, request, transport.Connected{
		Address: "10.1.1.3", Peer: "10.1.1.4", Network: "10.1.1.0/24", MTU: 1400, Qlen: 100,
		Keepalive: b.keepalive.Seconds(),
	}, b.offload)
	if err != nil {
		return err
	}
	return b.run(ctx, conn)
}

func (b *bridge) run(ctx context.Context, conn *ws.Conn) error {
	_, _ = fmt.Fprintln(b.out, "connected, offload", b.offload)
	return conn.Run(ctx, b.queue, b.keepalive, b.deliver)
}
