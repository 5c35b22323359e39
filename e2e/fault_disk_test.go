package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/e2e/lab"
)

// smallDisk returns the mount point of a disk of 1 MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return disk
}

// fill fills a disk and returns the path of the file that fills it.
func fill(t *testing.T, disk string) string {
	t.Helper()
	filler, err := os.Create(filepath.Join(disk, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = filler.Write(make([]byte, 4096))
	}
	_ = filler.Close()
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	return filler.Name()
}

// A client with a join token and a full disk fails without spending the token.
func TestClientDiskFull(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	state := t.TempDir()
	bin.serve(t, server, "--plain", "--state", state)
	join := bin.token(t, server, state, "create", "--once", "phone")
	disk := smallDisk(t)
	kept := filepath.Join(disk, "state")
	if err := os.Mkdir(kept, 0o700); err != nil {
		t.Fatal(err)
	}
	connect := func(flags ...string) *lab.Proc {
		return bin.start(t, client, append([]string{"connect", directURL, "--token", join,
			"--state", kept}, flags...)...)
	}
	filler := fill(t, disk)
	cl := connect()
	const says = "the join token is not used, because its session cannot be stored"
	if code := cl.Wait(soon); code != 13 || !strings.Contains(cl.Stderr(),
		"tunnel: state: "+says) || !strings.Contains(cl.Stderr(), "no space left") {
		t.Errorf("on a full disk: exit code %d\n%s%s", code, cl.Stdout(), cl.Stderr())
	}
	cl = connect("--keep-trying")
	cl.WaitFor(says, soon)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	cl.WaitFor("up: ", soon)
	stop(t, cl)
	if text, err := os.ReadFile(filepath.Join(kept, "credential-tun0.json")); err != nil ||
		!strings.Contains(string(text), "tnl_") {
		t.Errorf("the credential is %q, %v", text, err)
	}
}
