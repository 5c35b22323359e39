package invocation

import (
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"

	"tunnel/certs"
	"tunnel/cli/failure"
)

// Input returns the name of the file to read that a flag gives; "" if there is none.
func (i *Invocation) Input(flag string) string {
	for _, s := range i.Settings() {
		if s.Name == flag && s.Input {
			return s.Text()
		}
	}
	return ""
}

// OpenInput opens the file to read that a flag gives. A signal ends the reading of it, if that
// waits for another program. A worker, which may not open it, gets it from its parent.
func (i *Invocation) OpenInput(flag string) (*os.File, error) {
	file, err := i.openInput(flag)
	if err != nil {
		return nil, err
	}
	if stop, ok := i.ends.Swap(flag, endReads(i.CLI.Context, file)); ok {
		stop.(func() bool)() //nolint:forcetypeassert // nothing else is in it
	}
	return file, nil
}

func (i *Invocation) openInput(flag string) (*os.File, error) {
	if w := Worker(i.CLI); w != nil {
		return w.Open(flag, i.pending.Load())
	}
	return i.OpenOwn(flag)
}

// OpenOwn is OpenInput for a process that is not a worker, without the end by a signal.
func (i *Invocation) OpenOwn(flag string) (*os.File, error) {
	name := i.Input(flag)
	if name == "" {
		return nil, fmt.Errorf("refused: --%.20s names no file to read", flag)
	}
	return OpenFile(name)
}

// ReadInput returns the contents of the file to read that a flag gives.
func (i *Invocation) ReadInput(flag string) ([]byte, error) {
	file, err := i.OpenInput(flag)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return readAll(i.CLI.Context, file, certs.MaxFile)
}

// CopyOfFile returns the configuration file as this process has read it, for its worker: the file
// itself may have changed since. It is empty if there is none. The caller closes it.
func (i *Invocation) CopyOfFile() (*os.File, error) {
	fd, err := unix.MemfdCreate("tunnel-config", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("copy the configuration: %w", err)
	}
	file := os.NewFile(uintptr(fd), "tunnel-config")
	if i.file != nil {
		if _, err = file.Write(i.file.Data); err == nil {
			_, err = file.Seek(0, io.SeekStart)
		}
	}
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("copy the configuration: %w", err)
	}
	return file, nil
}

// The flags of files about certificates.
const (
	flagTLSCert  = "tls-cert"
	flagTLSKey   = "tls-key"
	FlagClientCA = "client-ca"
	FlagACMECA   = "acme-ca"
	FlagCA       = "ca"
)

// CertPool reads the certificates of a flag's file; it returns nil if the flag was not given.
func (i *Invocation) CertPool(flag string) (*x509.CertPool, error) {
	name := i.Input(flag)
	if name == "" {
		return nil, nil
	}
	pem, err := i.ReadInput(flag)
	if err != nil {
		return nil, failure.Usage("--%s: %w", flag, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, failure.Usage("--%s %s has no certificate in PEM", flag, name)
	}
	return pool, nil
}

// OpenPair opens the files of --tls-cert and --tls-key.
func (i *Invocation) OpenPair(log *slog.Logger) (*certs.Files, error) {
	cert, key := i.Input(flagTLSCert), i.Input(flagTLSKey)
	files, err := certs.OpenFiles(cert, key, func(name string) (*os.File, error) {
		if name == cert {
			return i.OpenInput(flagTLSCert)
		}
		return i.OpenInput(flagTLSKey)
	}, log)
	if err := i.CLI.Err(); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, failure.Usage("--tls-cert %s, --tls-key %s: %w", cert, key, err)
	}
	return files, nil
}
