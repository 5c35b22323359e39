package ipcmd_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tunnel/cmdrun"
	"tunnel/ipcmd"
)

// fakeIP puts an ip into PATH that fails with the exit code and text that are given, and answers -V
// by the captured file version; BusyBox's is its usage.
func fakeIP(t *testing.T, version string, code int, text string) {
	t.Helper()
	file, err := filepath.Abs(filepath.Join("../testdata/ip/old", version))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if text == "" {
		text = "$(cat " + file + ")"
	}
	script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" != -V ] || { cat %s; exit; }\n"+
		"echo \"%s\" >&2\nexit %d\n",
		file, strings.ReplaceAll(text, `"`, `\"`), code)
	if err := os.WriteFile(filepath.Join(dir, "ip"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// TestUnsuitable has texts that the ip of Debian 11 and of BusyBox 1.35 have really printed. One
// that does not know the command is named, with what is needed; one that passes on what the kernel
// refuses is not, and neither is one that is new enough.
func TestUnsuitable(t *testing.T) {
	const busybox, old, oldest = "busybox-version", "4.20-version", "5.10-version"
	for _, test := range []struct {
		version string
		code    int
		text    string // "" is the captured file
		found   string // "" if it is not named
	}{
		{busybox, 1, "", "BusyBox v1.35.0"},
		{busybox, 1, `ip: either "to" is duplicate, or "initcwnd" is garbage`, "BusyBox v1.35.0"},
		{busybox, 1, `ip: an inet address is expected rather than "inet6"`, "BusyBox v1.35.0"},
		{busybox, 1, "ip: invalid argument 'frob' to 'ip'", "BusyBox v1.35.0"},
		{busybox, 1, "ip: unrecognized option: j", "BusyBox v1.35.0"},
		{busybox, 127, "ip: applet not found", "BusyBox v1.35.0"},
		{old, 255, `unknown option "-j"`, "iproute2-ss190107"},
		{busybox, 2, "ip: RTNETLINK answers: File exists", ""},
		{busybox, 2, "ip: SIOCGIFFLAGS: No such device", ""},
		{old, 255, `Error: either "to" is duplicate, or "frob" is a garbage.`, "iproute2-ss190107"},
		{old, 255, `Command "frob" is unknown, try "ip route help".`, "iproute2-ss190107"},
		{old, 2, "RTNETLINK answers: File exists", ""},
		{oldest, 255, `Object "frob" is unknown, try "ip help".`, ""},
		{oldest, 2, "Error: ipv4: Address already assigned.", ""},
		{oldest, 1, `Cannot find device "tun0"`, ""},
	} {
		fakeIP(t, test.version, test.code, test.text)
		command := ipcmd.TunDel("tun0")
		_, err := ipcmd.NewRunner(cmdrun.NewExec(nil)).Run(t.Context(), command)
		var failed *cmdrun.Error
		if !errors.As(err, &failed) || failed.ExitCode != test.code || cmdrun.Uncertain(err) {
			t.Fatalf("%s: %v", test.text, err)
		}
		want := fmt.Sprintf("%s: %s (exit code %d)", command, test.text, test.code)
		if test.found != "" {
			want = command.String() + ": the program ip is " + test.found +
				", which does not know this " +
				"command: install the package iproute2 (Fedora: iproute), 5.10 or later"
		}
		if err.Error() != want || errors.As(err,
			new(*ipcmd.UnsuitableError)) != (test.found != "") {
			t.Errorf("got\n%v\nwant\n%s", err, want)
		}
		if exists := strings.Contains(test.text, "exists") ||
			strings.Contains(test.text, "already"); errors.Is(err, fs.ErrExist) != exists {
			t.Errorf("%s: exists %v", test.text, !exists)
		}
	}
}
