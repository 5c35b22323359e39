package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"tunnel/cmdrun"
	"tunnel/dns"
	"tunnel/doctor"
)

// names finds out how DNS servers of the tunnel would be set here.
func (m Machine) names(context.Context) []doctor.Finding {
	const check = "resolver"
	means, err := dns.Detect(dns.Owner{})
	by, program := resolvConf, ""
	switch means {
	case dns.ByResolved:
		by, program = "systemd-resolved", "resolvectl"
	case dns.ByResolvconf:
		by, program = "resolvconf", "resolvconf"
	case dns.ByFile:
		err = errors.Join(err, writable(resolvConf))
	}
	if err != nil {
		return bad(check, doctor.NamesReadOnly, m.Wants.AllNames,
			"DNS servers of the tunnel cannot be set in "+by+": "+err.Error(), "have the file be "+
				"writable, or use systemd-resolved; without that the server's DNS is not used")
	}
	if program != "" {
		if _, err := cmdrun.Find(program); err != nil {
			return bad(check, doctor.NamesReadOnly, m.Wants.AllNames,
				"names are resolved by "+by+", and the program "+program+" is not in PATH",
				"install the package that has "+program)
		}
	}
	servers, err := dns.Servers()
	if err != nil {
		return bad(check, doctor.NamesReadOnly, m.Wants.AllNames, err.Error(), "")
	}
	var texts []string
	for _, s := range servers {
		texts = append(texts, s.String())
	}
	asked := "no name servers"
	if len(texts) > 0 {
		asked = "name servers " + strings.Join(texts, ", ")
	}
	how := "takes the tunnel's DNS servers for all names only"
	if means == dns.ByResolved {
		how = "takes the tunnel's DNS servers for single domains, or all names"
	}
	return ok(check, "%s, %s; %s", by, how, asked)
}

const resolvConf = "/etc/resolv.conf"

// writable returns an error if this process may not write a file or, in the place of a link or of
// nothing, make it.
func writable(path string) error {
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() {
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		return file.Close()
	}
	dir := filepath.Dir(path)
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK, unix.AT_EACCESS); err != nil {
		return fmt.Errorf("make a file in %s: %w", dir, err)
	}
	return nil
}
