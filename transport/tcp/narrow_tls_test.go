package tcp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// selfSigned returns a certificate for a server whose clients do not verify it.
func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
}

// Records of one byte, of which most is overhead, do not keep a peer that is read slowly from being
// so: what had arrived before Narrow is counted as it came from the socket.
func TestNarrowCountsRecords(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	dialed, err := new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dialed.Close() }()
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = accepted.Close() }()
	config := &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}}
	w, err := New(accepted, func(c net.Conn) net.Conn { return tls.Server(c, config) })
	if err != nil {
		t.Fatal(err)
	}
	//nolint:gosec // it is this test's
	client := tls.Client(dialed, &tls.Config{InsecureSkipVerify: true})
	shaken := make(chan error, 1)
	go func() { shaken <- client.HandshakeContext(t.Context()) }()
	server, _ := w.Conn.(*tls.Conn)
	if err := server.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	w.Trust()
	const records, least = 1000, recordHeader + 1 + 16 // with the tag of the cipher
	for range records {
		if _, err := client.Write([]byte{7}); err != nil {
			t.Fatal(err)
		}
	}
	waiting := 0
	for end := time.Now().Add(time.Minute); waiting < records*least && time.Now().Before(end); {
		if err := w.raw.Control(func(fd uintptr) {
			waiting, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ)
		}); err != nil {
			t.Fatal(err)
		}
	}
	if rest := w.Narrow(); rest < records*least {
		t.Fatalf("%d bytes have arrived, want %d and more", rest, records*least)
	}
	buffer := make([]byte, segmentsRoom)
	for n := 0; n < records; {
		more, err := w.ReadRecords(buffer)
		if err != nil {
			t.Fatal(err)
		}
		w.Received(more)
		n += more
	}
	if rest := w.Narrow(); rest != 0 {
		t.Errorf("%d bytes are left after all were read", rest)
	}
}
