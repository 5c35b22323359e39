package local

import (
	"context"
	"errors"
	"fmt"
	"os"

	"tunnel/doctor"
	"tunnel/tun"
)

func (m Machine) capability(context.Context) []doctor.Finding {
	const check = "capability"
	has, err := tun.NetAdmin()
	switch {
	case err != nil:
		return failed(check, doctor.NoCapability, err)
	case !has:
		found := failed(check, doctor.NoCapability, tun.ErrPermission)
		found[0].Saw = fmt.Sprintf("this process, of uid %d, has no CAP_NET_ADMIN", os.Geteuid())
		return found
	}
	return ok(check, "CAP_NET_ADMIN")
}

// device makes a device, which goes with its descriptor. Without the capability it only looks for
// the driver: the check before has said what is missing.
func (m Machine) device(context.Context) []doctor.Finding {
	const check = "device"
	if has, err := tun.NetAdmin(); err != nil || !has {
		file, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
		if errors.Is(err, os.ErrPermission) { // as the check before says
			return nil
		}
		if err != nil {
			return failed(check, doctor.NoTunDriver, fmt.Errorf("%w: %w", tun.ErrNoTun, err))
		}
		_ = file.Close()
		return nil
	}
	device, err := tun.OpenPlain(fmt.Sprintf("doctor%d", os.Getpid()))
	switch {
	case errors.Is(err, tun.ErrNoTun):
		return failed(check, doctor.NoTunDriver, err)
	case err != nil:
		return failed(check, doctor.NoDevice, err)
	}
	if err := device.Close(); err != nil {
		return failed(check, doctor.NoDevice, err)
	}
	return ok(check, "/dev/net/tun makes a device")
}
