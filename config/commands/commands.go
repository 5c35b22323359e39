// Package commands has the settings of a hub's hooks: the user's commands.
package commands

import "tunnel/config/setting"

// The flags of hooks.
const (
	OnUp         = "on-up"
	OnDown       = "on-down"
	OnConnect    = "on-connect"
	OnDisconnect = "on-disconnect"
)

// Commands are shell commands; "" is none.
type Commands struct {
	OnUp, OnDown            string // of the device
	OnConnect, OnDisconnect string // of a client's session
}

// Hook returns the command of a flag, "" for none.
func (c *Commands) Hook(flag string) string {
	return map[string]string{OnUp: c.OnUp, OnDown: c.OnDown, OnConnect: c.OnConnect,
		OnDisconnect: c.OnDisconnect}[flag]
}

// Hooks reports whether there is any command.
func (c *Commands) Hooks() bool { return c.OnUp+c.OnDown+c.OnConnect+c.OnDisconnect != "" }

// Settings is the table of a hub's hooks, bound to c.
func (c *Commands) Settings() []*setting.Setting {
	return []*setting.Setting{
		{Name: OnUp, Trusted: true, Category: setting.Machine, Value: setting.Command(&c.OnUp),
			Usage: "shell `COMMAND` to run when clients can connect, with TUNNEL_DEV, TUNNEL_ADDRESS " +
				"and TUNNEL_PEER"},
		{Name: OnDown, Trusted: true, Category: setting.Machine, Value: setting.Command(&c.OnDown),
			Usage: "shell `COMMAND` to run before the device goes down, for a second at most"},
		{Name: OnConnect, Trusted: true, Category: setting.Machine, Value: setting.Command(&c.OnConnect),
			Usage: "shell `COMMAND` to run when a client's session has begun, for ten seconds at most, " +
				"with TUNNEL_CLIENT_NAME and others",
			More: "[OPERATIONS.md](OPERATIONS.md#hooks) has the variables. One hook of clients runs " +
				"at a time, in order; a session does not wait for it"},
		{Name: OnDisconnect, Trusted: true, Category: setting.Machine,
			Value: setting.Command(&c.OnDisconnect),
			Usage: "shell `COMMAND` to run when a client's session has ended, for ten seconds at most, " +
				"with TUNNEL_REASON, TUNNEL_BYTES_IN and others"},
	}
}
