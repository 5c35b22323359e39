package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// stateDir returns the directory for what is kept between runs, and makes it with mode 0700 if there is none. Without
// --state, a user who may not write to the default gets one of their own (XDG Base Directory Specification).
func stateDir(c *cli.Context) (string, error) {
	dir := c.String(flagState)
	err := makeDir(dir)
	if err != nil && !c.IsSet(flagState) && os.Geteuid() != 0 && errors.Is(err, os.ErrPermission) {
		if own, ok := userStateDir(); ok {
			dir, err = own, makeDir(own)
		}
	}
	if err != nil {
		return "", fail(stepState, err, "give a directory that you may write to with --state DIR")
	}
	return dir, nil
}

func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return fmt.Errorf("write to %s: %w", dir, err)
	}
	return nil
}

func userStateDir() (string, bool) {
	base := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(base) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", false
		}
		base = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(base, "tunnel"), true
}
