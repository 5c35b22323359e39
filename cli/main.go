// Package cli is the command line: the App, signals and exit codes. The larger commands are
// packages of their own below it.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/urfave/cli/v2"

	"tunnel/cli/backup"
	"tunnel/cli/connect"
	"tunnel/cli/doctor"
	"tunnel/cli/failure"
	"tunnel/cli/invocation"
	"tunnel/cli/output"
	"tunnel/cli/reload"
	"tunnel/cli/serve"
	"tunnel/cli/status"
	"tunnel/cli/token"
	"tunnel/cli/web"
	"tunnel/config"
	"tunnel/privsep"
)

// Main runs the program, which prints version as its version, and returns the exit code. A defect
// ends the program by SIGABRT: Go's exit code, 2, is that of a wrong call, after which a service is
// not started again. A worker's parent tells the two apart.
func Main(version string) int {
	if !privsep.IsWorker(os.Args) {
		debug.SetTraceback("crash")
	}
	program := func() int {
		code := run(version, os.Args, os.Stdout, os.Stderr)
		if privsep.IsWorker(os.Args) {
			code = privsep.ExitCode(code)
		}
		return code
	}
	if os.Getpid() == 1 {
		return runAsInit(program)
	}
	return program()
}

// run is Main with its arguments and streams.
func run(version string, args []string, stdout, stderr io.Writer) int {
	if err := privsep.CloseOnExec(); err != nil {
		_, _ = fmt.Fprintf(stderr, "tunnel: %v\n", failure.Of(err))
		return failure.StepInternal.ExitCode()
	}
	// Signals are caught until the exit: a second Ctrl-C must not interrupt a clean shutdown.
	hangs := !signal.Ignored(syscall.SIGHUP)
	reloads := hangs && (privsep.IsWorker(args) || !onTerminal())
	ctx, stop := signal.NotifyContext(context.Background(), ending(hangs && !reloads)...)

	config.UnsetEmpty()
	output := output.New(stdout, stderr)
	defer output.Close()
	// A signal ends a command that waits for a reader of its output.
	defer context.AfterFunc(ctx, output.Hasten)()
	stderr = output.Stderr
	app := newApp(version, output.Stdout, output.Stderr)
	app.Metadata = map[string]any{invocation.MetaArgs: args, invocation.MetaOutput: output}
	switch {
	case privsep.IsWorker(args): // its parent says what a hangup means
		signal.Ignore(syscall.SIGHUP)
	case reloads:
		app.Metadata[invocation.MetaHangup] = onHangup(stop)
	}
	if privsep.IsWorker(args) {
		worker, err := privsep.Inherit(output.Orphan)
		if err != nil {
			_, _ = fmt.Fprintf(stderr, "tunnel: %v\n", failure.Of(err))
			return failure.StepInternal.ExitCode()
		}
		worker.OnStop(stop)
		app.Metadata[invocation.MetaWorker] = worker
	}
	err := app.RunContext(ctx, invocation.FlagsFirst(app, invocation.HelpLast(app, args)))
	if errors.Is(err, context.Canceled) && ctx.Err() != nil { // a signal before the command began
		return 0
	}
	if err == nil {
		err = output.Stdout.Err()
	}
	return failure.Report(stderr, err)
}

// ending returns the signals that end a run cleanly, SIGHUP with hangup. A signal that is ignored
// at the start stays ignored: SIGHUP under nohup, SIGINT for a background job of a script.
func ending(hangup bool) []os.Signal {
	all := []os.Signal{syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGINT) {
		all = append(all, syscall.SIGINT)
	}
	if hangup {
		all = append(all, syscall.SIGHUP)
	}
	return all
}

func newApp(version string, stdout, stderr io.Writer) *cli.App {
	return &cli.App{
		Name:  "tunnel",
		Usage: "a private layer-3 network over plain HTTPS",
		Description: "On a machine with a public address; the first start makes a key, a " +
			"certificate and a token:\n\n" +
			"   sudo tunnel serve\n\n" +
			"On all other machines, the command that it prints:\n\n" +
			"   sudo tunnel connect wss://HOST:8443 --pin sha256:HASH --token TOKEN\n" +
			"   ping 10.1.1.1\n\n" +
			"Exit codes:\n" + failure.ExitCodes(),
		Writer:                    stdout,
		ErrWriter:                 stderr,
		Version:                   version,
		HideVersion:               true, // `tunnel version`
		EnableBashCompletion:      true,
		DisableSliceFlagSeparator: true, // a comma may stand in a header
		Suggest:                   true,
		Commands: []*cli.Command{
			serve.Command(), connect.Command(), token.Command(), token.InviteCommand(),
			configCommand(), cleanupCommand(),
			confirmCommand(), reload.Command(), status.Command(), status.PeersCommand(),
			status.TopCommand(), status.KickCommand(), web.Command(), doctor.Command(),
			backup.Command(), backup.RestoreCommand(), versionCommand(), completionCommand(),
		},
		OnUsageError: invocation.UsageError,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return invocation.NoCommand(c, "")
			}
			return cli.ShowAppHelp(c)
		},
		// run prints errors and chooses the exit code.
		ExitErrHandler: func(*cli.Context, error) {},
	}
}

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:            "version",
		Usage:           "print the version",
		Description:     "Example:\n\n   tunnel version",
		OnUsageError:    invocation.UsageError,
		HideHelpCommand: true,
		Action: func(c *cli.Context) error {
			if err := invocation.NoMore(c, 0); err != nil {
				return err
			}
			_, err := fmt.Fprintln(c.App.Writer, c.App.Version)
			return err
		},
	}
}
