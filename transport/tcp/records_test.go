package tcp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// Half the header of a record takes no buffer while the rest is waited for, and is not lost.
func TestSegmentsHalfHeader(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not wait
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	client, err := net.Dial("tcp", ln.Addr().String()) //nolint:noctx // nor does this
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	tcp, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tcp.Close() }()
	w, err := New(tcp, func(c net.Conn) net.Conn { return c })
	if err != nil {
		t.Fatal(err)
	}
	record := []byte{22, 3, 3, 0, 2, 7, 8}
	sent := 0
	w.under.waits = func() {
		if w.under.in != nil || len(w.under.unread) != sent {
			t.Errorf("waits with %d of %d bytes, and a buffer: %v", len(w.under.unread), sent,
				w.under.in != nil)
		}
		if sent < recordHeader {
			sent++
			_, _ = client.Write(record[sent-1 : sent])
		}
	}
	header := make([]byte, 100)
	n, err := w.under.Read(header)
	if err != nil || !bytes.Equal(header[:n], record[:recordHeader]) {
		t.Errorf("read %x, %v", header[:n], err)
	}
}

// TLS also writes from the goroutine that reads (a KeyUpdate's answer, an alert): nothing may get
// lost between, and nothing come twice.
func TestSegmentsWriters(t *testing.T) {
	s := &segments{}
	s.gather()
	const each = 500
	record := func(writer, i uint32) []byte {
		b := make([]byte, 8+4000)
		binary.BigEndian.PutUint32(b, writer)
		binary.BigEndian.PutUint32(b[4:], i)
		return b
	}
	var all []byte
	var group sync.WaitGroup
	for writer := range uint32(2) {
		group.Go(func() {
			for i := range uint32(each) {
				if _, err := s.Write(record(writer, i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	over := make(chan struct{})
	go func() { group.Wait(); close(over) }()
	for done := false; !done; {
		select {
		case <-over:
			done = true
		default:
		}
		if out := s.take(); out != nil {
			all = append(all, *out...)
		}
	}
	if len(all) != 2*each*(8+4000) {
		t.Errorf("%d bytes", len(all))
	}
	var next [2]uint32
	for ; len(all) >= 8+4000; all = all[8+4000:] {
		writer := binary.BigEndian.Uint32(all)
		if writer > 1 || !bytes.Equal(all[:8+4000], record(writer, next[writer])) {
			t.Fatalf("after %v comes %x", next, all[:8])
		}
		next[writer]++
	}
}

// However records arrive, each read ends at the end of one, and ready reports whether another is
// complete.
func TestSegmentsRecords(t *testing.T) {
	var sent []byte
	var sizes []int
	for i := range 200 {
		n := (i * 977) % 16000
		sizes = append(sizes, recordHeader+n)
		sent = append(binary.BigEndian.AppendUint16(append(sent, 23, 3, 3), uint16(n)),
			bytes.Repeat([]byte{byte(i)}, n)...)
	}
	address := make(chan net.Conn, 1)
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		c, _ := ln.Accept()
		address <- c
	}()
	client, err := new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server := <-address
	go func() {
		for p := sent; len(p) > 0; {
			n := min(len(p), 1+len(p)*7%30001)
			_, _ = server.Write(p[:n])
			p = p[n:]
		}
		_ = server.Close()
	}()
	raw, err := client.(*net.TCPConn).SyscallConn() // it is one
	if err != nil {
		t.Fatal(err)
	}
	s := newSegments(client, raw, func(int) {})
	var got []byte
	p := make([]byte, 20000)
	for _, size := range sizes {
		complete := s.ready()
		for left := size; left > 0; {
			had := len(s.unread)
			n, err := s.Read(p)
			if err != nil || n > left {
				t.Fatalf("%d bytes of a record that has %d left, %v", n, left, err)
			}
			if complete && had < left {
				t.Fatalf("ready, and yet %d of %d bytes", had, left)
			}
			got, left = append(got, p[:n]...), left-n
		}
	}
	if !bytes.Equal(got, sent) {
		t.Error("something else came out")
	}
	if _, err := s.Read(p); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}
