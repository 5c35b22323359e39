package local

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"tunnel/cmdrun"
	"tunnel/doctor"
	"tunnel/ipcmd"
	"tunnel/tun"
)

func (m Machine) ip(ctx context.Context) []doctor.Finding {
	const check = "ip"
	found, err := ipcmd.Version(ctx, m.Run)
	var unsuitable *ipcmd.UnsuitableError
	switch {
	case cmdrun.IsMissing(err):
		return bad(check, doctor.NoIP, true, "the program ip is not in PATH",
			"install the package iproute2 (Fedora: iproute), "+ipcmd.Oldest+" or later")
	case errors.As(err, &unsuitable) && strings.HasPrefix(unsuitable.Found, "BusyBox"):
		return bad(check, doctor.IPUnsuitable, false, fmt.Sprintf("ip is %s: it cannot remove the "+
			"device of a run that was killed while it made it, nor copy rarer attributes of the route "+
			"to the server (initcwnd, via inet6), nor add many routes at once", unsuitable.Found),
			"install the package iproute2, "+ipcmd.Oldest+" or later")
	case errors.As(err, &unsuitable):
		return bad(check, doctor.IPUnsuitable, true, "ip is "+orUnknown(unsuitable.Found)+
			", older than "+ipcmd.Oldest+" or not that of iproute2",
			"install the package iproute2 (Fedora: iproute), "+ipcmd.Oldest+" or later")
	case err != nil:
		return failed(check, doctor.IPUnsuitable, err)
	}
	return ok(check, "%s", found)
}

func orUnknown(version string) string {
	if version == "" {
		return "of an unknown version"
	}
	return version
}

// nft looks for the program, and has it read what the kernel has, which takes the capability.
func (m Machine) nft(ctx context.Context) []doctor.Finding {
	const check = "nft"
	const without = "without it there is no forwarding to networks behind this machine, no " +
		"masquerading, no full tunnel and no kill switch"
	command := func(args ...string) (string, error) {
		out, err := m.Run.Run(ctx, cmdrun.Command{Program: "nft", Args: args, Routine: true})
		return strings.TrimSpace(string(out)), err
	}
	version, err := command("--version")
	switch {
	case cmdrun.IsMissing(err):
		return bad(check, doctor.NoNft, m.Wants.Firewall, "the program nft is not in PATH: "+without,
			"install the package nftables")
	case err != nil: // the kernel was not asked yet
		return bad(check, doctor.NftRefuses, m.Wants.Firewall, err.Error()+": "+without,
			"the program nft does not run: install the package nftables again")
	}
	if has, failed := tun.NetAdmin(); failed == nil && has && err == nil {
		_, err = command("list", "tables")
	}
	if err != nil {
		return bad(check, doctor.NftRefuses, m.Wants.Firewall, err.Error()+": "+without,
			"the kernel needs nftables (CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET)")
	}
	return ok(check, "%s", version)
}
