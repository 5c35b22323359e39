// Package backup packs the files of a server into one that only a passphrase opens: a tar in the
// format of age (age-encryption.org/v1), with scrypt. `age -d FILE | tar t` reads it, too.
package backup

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"filippo.io/age"
)

const (
	// MinPassphrase is the length in bytes of the shortest passphrase: who has the file can try as
	// many as they like.
	MinPassphrase = 12
	// MaxSize bounds the files with their names, as a tar, in bytes.
	MaxSize = 64 << 20
	// workFactor is scrypt's, a power of two, and maxWork the largest that is accepted: 256 MiB and
	// a second, and 1 GiB.
	workFactor, maxWork = 18, 20
)

// Errors of Open, and ErrTooLarge that of Seal.
var (
	ErrTooLarge   = fmt.Errorf("a backup has at most %d MiB", MaxSize>>20)
	ErrPassphrase = errors.New("the passphrase is wrong")
	ErrDamaged    = errors.New("it is not a backup, or not whole, or was changed")
)

// Files are the contents of files by their names.
type Files map[string][]byte

// Seal writes files to w so that only the passphrase opens them. The error is ErrTooLarge if Open
// would not take them, or one of writing to w, which then has a part.
func Seal(w io.Writer, passphrase string, files Files) error {
	if size(files) > MaxSize {
		return ErrTooLarge
	}
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return err
	}
	recipient.SetWorkFactor(workFactor)
	sealed, err := age.Encrypt(w, recipient)
	if err != nil {
		return err
	}
	packed := tar.NewWriter(sealed)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := packed.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(files[name])),
			Format: tar.FormatUSTAR}); err != nil {
			return err
		}
		if _, err := packed.Write(files[name]); err != nil {
			return err
		}
	}
	return errors.Join(packed.Close(), sealed.Close())
}

// size returns the bytes of files as a tar: each has a header and whole blocks, and two end it.
func size(files Files) (n int) {
	const block = 512
	for _, data := range files {
		n += block + (len(data)+block-1)/block*block
	}
	return n + 2*block
}

// Open returns the files that Seal has written, once all of r is read and found unchanged. The
// error is ErrPassphrase or ErrDamaged, wrapped, or one of reading r.
func Open(r io.Reader, passphrase string) (Files, error) {
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, err
	}
	identity.SetMaxWorkFactor(maxWork)
	source := &source{r: r}
	opened, err := age.Decrypt(source, identity)
	var wrong *age.NoIdentityMatchError
	switch {
	case source.err != nil:
		return nil, source.err
	case errors.As(err, &wrong) && errors.Is(err, age.ErrIncorrectIdentity):
		return nil, ErrPassphrase
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	packed, err := io.ReadAll(io.LimitReader(opened, MaxSize+1))
	switch {
	case source.err != nil:
		return nil, source.err
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	case len(packed) > MaxSize:
		return nil, fmt.Errorf("%w: it has more than %d bytes", ErrDamaged, MaxSize)
	}
	return unpack(packed)
}

func unpack(packed []byte) (Files, error) {
	files := Files{}
	for r := tar.NewReader(bytes.NewReader(packed)); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if _, twice := files[header.Name]; twice || header.Typeflag != tar.TypeReg {
			return nil, fmt.Errorf("%w: %q", ErrDamaged, header.Name)
		}
		if files[header.Name], err = io.ReadAll(r); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
}

// source notes why r cannot be read.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}
