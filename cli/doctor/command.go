// Package doctor is the command `tunnel doctor`.
package doctor

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"tunnel/cli/failure"
	"tunnel/cli/invocation"
	"tunnel/cli/output"
	"tunnel/cmdrun"
	"tunnel/config"
	"tunnel/config/setting"
	"tunnel/doctor"
	"tunnel/doctor/bundle"
	"tunnel/doctor/local"
	"tunnel/rtnl"
	"tunnel/transport/redact"
)

const (
	flagJSON   = "json"
	flagBundle = "bundle"
)

// Command returns the command.
func Command() *cli.Command {
	return &cli.Command{
		Name:      "doctor",
		Usage:     "find what is wrong with this machine, or with the path to a server",
		ArgsUsage: "[URL...]",
		Description: "Examines this machine, and with a URL, or one in /etc/tunnel/connect.yaml, the\n" +
			"path to the server: name, TCP, proxy, TLS, upgrade, token, delay and packet size. It\n" +
			"changes nothing, and neither takes an address nor disturbs a client that runs. Examples:\n\n" +
			"   sudo tunnel doctor\n" +
			"   sudo tunnel doctor wss://server.example.com --token-file token\n" +
			"   sudo tunnel doctor --bundle doctor.tar.gz",
		Flags: append(invocation.Flags(settings()),
			&cli.BoolFlag{Name: flagJSON, Usage: "print JSON, as docs/DOCTOR.md describes it"},
			&cli.StringFlag{Name: flagBundle, TakesFile: true, Usage: "also write a `FILE` (tar.gz) " +
				"with what helps to find a fault, without secrets"}),
		OnUsageError:    invocation.UsageError,
		HideHelpCommand: true,
		Action:          examine,
	}
}

// settings returns those of connect that say how to reach a server.
func settings() []*setting.Setting {
	names := []string{"header", "proxy", "pin", "ca", "tls-cert", "tls-key", "token", "token-file",
		"allow-plain", "state", invocation.FlagConfig}
	return slices.DeleteFunc(config.DefaultConnect().Settings(), func(s *setting.Setting) bool {
		return !slices.Contains(names, s.Name)
	})
}

// told is the configuration of this machine's client and server.
type told struct {
	connect *invocation.Invocation // nil if the file is of a server
	serve   *invocation.Invocation // nil if this machine has no file of one
	unread  error                  // why a default file was not read, nil if it was or there is none
}

// load reads the configuration. A file is that of the command that its name begins with.
func load(c *cli.Context) (t told, err error) {
	const server = "serve"
	file, _ := os.LookupEnv(invocation.Variable(invocation.FlagConfig)[0])
	if texts := invocation.GivenFlags(c)[invocation.FlagConfig]; len(texts) > 0 {
		file = texts[len(texts)-1]
	}
	ofServer := strings.HasPrefix(filepath.Base(file), server)
	if !ofServer {
		t.connect, err = invocation.NewOf(c, "connect", invocation.GivenFlags(c))
		if file == "" && errors.Is(err, os.ErrPermission) { // of root alone, as the packages have it
			flags := invocation.GivenFlags(c)
			flags[invocation.FlagConfig] = []string{os.DevNull}
			t.unread = err
			t.connect, err = invocation.NewOf(c, "connect", flags)
		}
		if err != nil {
			return told{}, err
		}
	}
	if file == "" {
		_, missing := os.Stat(invocation.DefaultFile(server))
		ofServer = missing == nil
	}
	if ofServer {
		flags := invocation.GivenFlags(c)
		maps.DeleteFunc(flags, func(name string, _ []string) bool { // those of a client
			return name != invocation.FlagConfig && name != invocation.FlagState
		})
		t.serve, err = invocation.NewOf(c, server, flags)
	}
	return t, err
}

// all returns the configurations that there are.
func (t told) all() (all []*invocation.Invocation) {
	for _, i := range []*invocation.Invocation{t.connect, t.serve} {
		if i != nil {
			all = append(all, i)
		}
	}
	return all
}

// wants returns what the configuration wants of this machine.
func (t told) wants() (w local.Wants) {
	if t.connect != nil {
		o := t.connect.Connect
		w.Forwarding = len(o.Advertise) > 0
		w.Firewall = w.Forwarding || o.FullTunnel || o.KillSwitch
		w.AllNames, w.AllTraffic = o.AcceptDNS, o.FullTunnel
	}
	if t.serve != nil {
		o := t.serve.Serve
		forwards := len(o.PushRoute) > 0 || o.Masquerade
		w.Forwarding, w.Firewall = w.Forwarding || forwards, w.Firewall || forwards
	}
	return w
}

func examine(c *cli.Context) error {
	file := c.String(flagBundle)
	if c.IsSet(flagBundle) && file == "" {
		return failure.Usage("--%s is empty: give a value or leave it out", flagBundle)
	}
	if file == "-" {
		return failure.Usage("--%s is a file, not stdout: name one", flagBundle)
	}
	if file != "" && cmdrun.SecureMode() {
		return failure.Usage("--%s is for root: a program with file capabilities does not tell others "+
			"the rules of the firewall", flagBundle)
	}
	t, err := load(c)
	if err != nil {
		return err
	}
	run := cmdrun.NewExec(nil)
	report := doctor.Report{Schema: doctor.Schema, Version: c.App.Version, Time: time.Now().Round(0),
		Paths: []doctor.Path{}}
	report.Machine = local.Machine{Run: run, Look: rtnl.Kernel{},
		State: t.all()[0].Common.State, Wants: t.wants()}.Check(c.Context)
	if t.unread != nil {
		report.Machine = append(report.Machine, doctor.Finding{Check: "configuration",
			Verdict: doctor.Warn, Problem: doctor.NotReadable, Saw: failure.Of(t.unread).Err.Error() +
				": examined without it"})
	}
	for _, i := range t.all() {
		report.Machine = append(report.Machine, start{i}.check(c.Context)...)
	}
	if t.connect != nil {
		paths, err := examinePaths(t.connect)
		if err != nil {
			return err
		}
		report.Paths = append(report.Paths, paths...)
	}
	if err := c.Err(); err != nil { // a signal: what is missing would look like a success
		return err
	}
	advise(&report)
	scrub(&report, secrets(t))
	report.Judge()
	if c.Bool(flagJSON) {
		err = output.WriteJSON(c.App.Writer, report, true)
	} else {
		err = (&page{c.App.Writer, output.IsColored()}).print(report)
	}
	if err != nil {
		return err
	}
	if file != "" {
		if err := writeBundle(c, file, t, run, report); err != nil {
			return failure.New(failure.StepOutput, fmt.Errorf("write the bundle: %w", err),
				"name a new file in a directory that you may write to, and whose disk has room")
		}
		_, _ = fmt.Fprintf(c.App.ErrWriter, "wrote %s: look into it before you give it away\n", file)
	}
	return verdict(report)
}

// verdict returns the failure of the command, nil if nothing has failed.
func verdict(r doctor.Report) error {
	var names []string
	for _, f := range r.All() {
		if f.Verdict == doctor.Fail {
			names = append(names, f.Check)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return failure.New(failure.StepDoctor, errors.New("failed: "+
		strings.Join(slices.Compact(names), ", ")), "")
}

// advise completes the advice of the findings by what depends on flags.
func advise(r *doctor.Report) {
	complete := func(all []doctor.Finding) {
		for i := range all {
			f := &all[i]
			if f.Err != nil {
				f.Advice = strings.TrimSpace(f.Advice + " " + failure.Of(f.Err).Advice)
			}
			if more := hints()[f.Problem]; more != "" && f.Advice == "" {
				f.Advice = more
			}
		}
	}
	complete(r.Machine)
	for _, p := range r.Paths {
		complete(p.Checks)
	}
}

// scrub hides secrets in what the findings say: others may have sent them back.
func scrub(r *doctor.Report, hide redact.Set) {
	clean := func(all []doctor.Finding) {
		for i := range all {
			for _, text := range []*string{&all[i].Saw, &all[i].Advice} {
				*text = string(bundle.Scrub([]byte(*text), hide))
			}
		}
	}
	clean(r.Machine)
	for _, p := range r.Paths {
		clean(p.Checks)
	}
}

// hints returns what to do about problems whose findings say nothing about that.
func hints() map[doctor.Problem]string {
	return map[doctor.Problem]string{
		doctor.NotWritable: "run it with sudo, or give a directory that you may write to with " +
			"--state DIR",
		doctor.NoDevice:      "see the kernel's log: `dmesg`",
		doctor.NamesReadOnly: "have the file be readable",
		doctor.NotReadable:   "run it with sudo",
		doctor.NotAServer:    "check the URL's host, port and path, and the server's --path",
	}
}
