package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"tunnel/backup"
	"tunnel/cli/failure"
	"tunnel/cli/invocation"
)

const flagPassphrase = "passphrase-file"

func passphraseFlag() cli.Flag {
	return &cli.StringFlag{Name: flagPassphrase, TakesFile: true,
		Usage: "`FILE` with the passphrase in its first line, instead of the terminal"}
}

// maxPassphrase bounds what is read, in bytes.
const maxPassphrase = 4 << 10

// passphrase returns that of the file, or asks for it on the terminal, twice for a new one.
func passphrase(c *cli.Context, isNew bool) (string, error) {
	var text string
	var err error
	switch name := c.String(flagPassphrase); {
	case name != "":
		text, err = fromFile(name)
	case c.IsSet(flagPassphrase):
		return "", failure.Usage("--%s is empty: give a file or leave it out", flagPassphrase)
	default:
		text, err = fromTerminal(c.Context, isNew)
	}
	if err != nil {
		return "", err
	}
	if isNew && len(text) < backup.MinPassphrase {
		return "", failure.Usage("the passphrase is shorter than %d bytes, it could be guessed",
			backup.MinPassphrase)
	}
	if text == "" {
		return "", failure.Usage("the passphrase is empty")
	}
	return text, nil
}

func fromFile(name string) (string, error) {
	file, err := invocation.OpenFile(name)
	if err != nil {
		return "", failure.Usage("--%s: %w", flagPassphrase, err)
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, maxPassphrase))
	if err != nil {
		return "", failure.Usage("--%s: %w", flagPassphrase, err)
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	return string(bytes.TrimSuffix(line, []byte("\r"))), nil
}

func fromTerminal(ctx context.Context, isNew bool) (string, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", failure.Usage("there is no terminal to ask for the passphrase: give --%s FILE",
			flagPassphrase)
	}
	defer func() { _ = tty.Close() }()
	text, err := ask(ctx, tty, "Passphrase: ")
	if err != nil || !isNew {
		return text, err
	}
	again, err := ask(ctx, tty, "The same again: ")
	if err == nil && again != text {
		err = failure.Usage("the two passphrases differ")
	}
	return text, err
}

// ask prints a question on a terminal, and returns the line that is typed, which is not shown. It
// ends with ctx.
func ask(ctx context.Context, tty *os.File, question string) (line string, err error) {
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = failure.Usage("interrupted: nothing was done")
		}
	}()
	raw, err := tty.SyscallConn()
	if err != nil {
		return "", err
	}
	var shown *unix.Termios
	set := func(change func(fd int) error) error {
		var failed error
		err := raw.Control(func(fd uintptr) { failed = change(int(fd)) })
		return errors.Join(err, failed)
	}
	if err := set(func(fd int) (err error) {
		if shown, err = unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
			return err
		}
		hidden := *shown
		hidden.Lflag = hidden.Lflag&^unix.ECHO | unix.ECHONL
		return unix.IoctlSetTermios(fd, unix.TCSETSF, &hidden) // what was typed before is none
	}); err != nil {
		return "", fmt.Errorf("hide the passphrase: %w", err)
	}
	defer func() {
		err = errors.Join(err, set(func(fd int) error {
			return unix.IoctlSetTermios(fd, unix.TCSETS, shown)
		}))
	}()
	defer context.AfterFunc(ctx, func() { _ = tty.SetReadDeadline(time.Unix(1, 0)) })()
	if _, err := tty.WriteString(question); err != nil {
		return "", err
	}
	buffer := make([]byte, maxPassphrase) // the terminal gives a line at a time
	n, err := tty.Read(buffer)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return string(bytes.TrimSuffix(buffer[:n], []byte("\n"))), nil
}
