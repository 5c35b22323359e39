package config

import (
	"tunnel/config/setting"
	"tunnel/tun"
)

// Confirm is the configuration of `tunnel confirm`.
type Confirm struct {
	// Dev is the device of the run to confirm.
	Dev string

	From setting.Origins
}

// DefaultConfirm returns the defaults.
func DefaultConfirm() *Confirm { return &Confirm{Dev: defaultCommon().Dev} }

// Settings is the table of confirm's settings, bound to c.
func (c *Confirm) Settings() []*setting.Setting {
	return []*setting.Setting{
		{Name: "dev", Category: setting.Machine, Value: setting.String(&c.Dev),
			Usage: "`NAME` of the TUN device of the run"},
	}
}

// LoadConfirm is LoadServe for confirm.
func LoadConfirm(from setting.Sources) (*Confirm, error) {
	c := DefaultConfirm()
	c.From = setting.Origins{}
	return c, setting.Load(c.Settings(), from, c.From, c.check)
}

func (c *Confirm) check(checker *setting.Checker) {
	if err := tun.CheckName(c.Dev); err != nil {
		checker.Wrong("dev", ": %v", err)
	}
}
