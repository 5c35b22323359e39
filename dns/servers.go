package dns

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"tunnel/atomicfile"
	"tunnel/dns/conf"
)

// resolvedUplink is systemd-resolved's list of the servers of all links (systemd-resolved(8)).
const resolvedUplink = "/run/systemd/resolve/resolv.conf"

// managerUplink is NetworkManager's list of the servers of all links, also where it has the machine
// ask a dnsmasq of its own (NetworkManager.conf(5), "dns").
const managerUplink = "/run/NetworkManager/no-stub-resolv.conf"

// Files are those that say which DNS servers this machine has. A change of one of them is one of
// the DNS, also by which what Host.Apply wrote may be lost.
func Files() []string { return []string{resolvConf, resolvedUplink, managerUplink} }

// Servers returns the addresses of this machine's DNS servers that its files name: without those
// of a tunnel in /etc/resolv.conf, but with those of one in systemd-resolved or resolvconf, which
// do not tell them apart. Where there are local ones only, those that these ask are added, as far
// as files name them. A missing file names none; an unreadable one is an error.
func Servers() ([]netip.Addr, error) {
	text, err := read(resolvConf)
	if c, is := uncover(text, lists{}); is {
		before := c.mended(lists{})
		text = before.text
		if before.kind == savedLink {
			text, err = read(beside(before.text))
		}
	}
	all := conf.Nameservers(text)
	file := ""
	switch {
	case slices.ContainsFunc(all, isStub):
		file = resolvedUplink
	case len(all) > 0 && AreLocal(all):
		file = managerUplink
	}
	if err == nil && file != "" {
		var uplink string
		uplink, err = read(file)
		all = append(all, conf.Nameservers(uplink)...)
	}
	return all, err
}

// AreLocal reports whether all servers are on this machine, as is the one that is asked where no
// file names any (resolv.conf(5)).
func AreLocal(servers []netip.Addr) bool {
	return !slices.ContainsFunc(servers, func(a netip.Addr) bool { return !a.IsLoopback() })
}

// isStub reports whether a is where systemd-resolved listens.
func isStub(a netip.Addr) bool {
	return a == netip.AddrFrom4([4]byte{127, 0, 0, 53}) ||
		a == netip.AddrFrom4([4]byte{127, 0, 0, 54})
}

// beside returns the path of a symbolic link's target.
func beside(target string) string {
	if filepath.IsAbs(target) {
		return target
	}
	return filepath.Join(filepath.Dir(resolvConf), target)
}

// read returns the text of a file, which links may lead to; "" if there is none.
func read(path string) (string, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	return readAll(file)
}

func readAll(file *os.File) (string, error) {
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s has more than %d KiB", file.Name(), maxFile>>10)
	}
	return string(text), err
}

// openAt opens what is at path, itself and not what a link leads to.
func openAt(path string, flag int) (*place, error) {
	file, err := atomicfile.Open(path, flag, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &place{saved: saved{kind: savedNone}}, nil
	case errors.Is(err, unix.ELOOP):
		target, err := os.Readlink(path)
		return &place{saved: saved{kind: savedLink, text: target}}, err
	case err != nil:
		return nil, err
	}
	text, err := readAll(file)
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return &place{saved: saved{kind: savedFile, text: text}, file: file}, nil
}
