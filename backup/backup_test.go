package backup_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"reflect"
	"testing"

	"tunnel/backup"
)

const passphrase = "correct horse battery"

func sealed(t *testing.T, files backup.Files) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := backup.Seal(&b, passphrase, files); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What was sealed is opened by its passphrase, and only whole and unchanged.
func TestSeal(t *testing.T) {
	files := backup.Files{"state.json": []byte("{}"), "acme/account": {}, "key.pem": bytes.Repeat(
		[]byte("x"), 200<<10)} // several chunks of age
	data := sealed(t, files)
	if got, err := backup.Open(bytes.NewReader(data), passphrase); err != nil ||
		!reflect.DeepEqual(got, files) {
		t.Errorf("opened %d files, %v", len(got), err)
	}
	if _, err := backup.Open(bytes.NewReader(data), passphrase+"!"); !errors.Is(err,
		backup.ErrPassphrase) {
		t.Errorf("another passphrase: %v", err)
	}
	const chunk = 64 << 10
	for what, bad := range map[string][]byte{
		"empty":             {},
		"text":              []byte("tunnel"),
		"a chunk is gone":   data[:len(data)-(len(data)%chunk)],
		"a byte more":       append(bytes.Clone(data), 0),
		"a bit":             append(append(bytes.Clone(data[:chunk]), data[chunk]^1), data[chunk+1:]...),
		"only its header":   data[:bytes.Index(data, []byte("\n---"))],
		"a kind of its own": []byte("age-encryption.org/v1\n-> X25519 AAAA\nAAAA\n--- AAAA\n"),
	} {
		if _, err := backup.Open(bytes.NewReader(bad), passphrase); !errors.Is(err,
			backup.ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := backup.Open(io.MultiReader(bytes.NewReader(data[:chunk]), broken{}),
		passphrase); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a disk that fails: %v", err)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

// What Open would not take is not sealed: with the tar around it, too.
func TestTooLarge(t *testing.T) {
	for _, n := range []int{backup.MaxSize, backup.MaxSize - 3*512 + 1} {
		err := backup.Seal(io.Discard, passphrase, backup.Files{"a": make([]byte, n)})
		if !errors.Is(err, backup.ErrTooLarge) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	var b bytes.Buffer
	const most = backup.MaxSize - 3*512 // a header, and the end
	if err := backup.Seal(&b, passphrase, backup.Files{"a": make([]byte, most)}); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Open(&b, passphrase); err != nil {
		t.Error(err)
	}
}
