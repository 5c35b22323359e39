package transport

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
)

// TLS also writes when nobody holds it, from the goroutine that reads (a KeyUpdate's answer, an alert): nothing may get
// lost between, and nothing come twice.
func TestSegmentsWriters(t *testing.T) {
	server, client := net.Pipe()
	s := &segments{Conn: client}
	const each = 500
	var group sync.WaitGroup
	record := func(writer, i uint32) []byte {
		b := make([]byte, 8+4000)
		binary.BigEndian.PutUint32(b, writer)
		binary.BigEndian.PutUint32(b[4:], i)
		return b
	}
	group.Go(func() {
		for i := uint32(0); i < each; i += 5 {
			s.hold()
			for j := range uint32(5) {
				if _, err := s.Write(record(0, i+j)); err != nil {
					t.Error(err)
				}
			}
			if err := s.release(); err != nil {
				t.Error(err)
			}
		}
	})
	group.Go(func() {
		for i := range uint32(each) {
			if _, err := s.Write(record(1, i)); err != nil {
				t.Error(err)
			}
		}
	})
	go func() {
		group.Wait()
		_ = client.Close()
	}()
	all, err := io.ReadAll(server)
	if err != nil || len(all) != 2*each*(8+4000) {
		t.Errorf("%d bytes, %v", len(all), err)
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
