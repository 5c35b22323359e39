// Package cli is the command line: flags, wiring, signals and exit codes; one file per subcommand.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"tunnel/config/setting"
	"tunnel/privsep"
)

// Main is the whole program, of the version that it is to print; it returns the exit code of the process.
func Main(version string) int {
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

// run is Main with everything handed in; it returns the exit code.
func run(version string, args []string, stdout, stderr io.Writer) int {
	if err := privsep.CloseOnExec(); err != nil {
		_, _ = fmt.Fprintf(stderr, "tunnel: %v\n", asFailure(err))
		return stepInternal.exitCode()
	}
	// They are caught up to the exit: another Ctrl-C must not end what ends in order.
	ctx, stop := signal.NotifyContext(context.Background(), ending()...)

	setting.UnsetEmpty()
	output := newOutput(stdout, stderr)
	defer output.close()
	// A signal ends a command that prints while its reader does not read.
	defer context.AfterFunc(ctx, output.hasten)()
	stderr = output.stderr
	app := newApp(version, output.stdout, output.stderr)
	app.Metadata = map[string]any{metaArgs: args, metaOutput: output}
	if privsep.IsWorker(args) {
		worker, err := privsep.Inherit(output.orphan)
		if err != nil {
			_, _ = fmt.Fprintf(stderr, "tunnel: %v\n", asFailure(err))
			return stepInternal.exitCode()
		}
		worker.OnStop(stop)
		app.Metadata[metaWorker] = worker
	}
	err := app.RunContext(ctx, flagsFirst(app, args))
	if errors.Is(err, context.Canceled) && ctx.Err() != nil { // before it had begun
		return 0
	}
	if err == nil {
		err = output.stdout.err()
	}
	return report(stderr, err)
}

// report prints why a run has failed, unless its worker has, and returns its exit code.
func report(stderr io.Writer, err error) int {
	var worker *exited
	switch {
	case err == nil:
		return 0
	case errors.As(err, &worker):
		if worker.left != nil {
			_, _ = fmt.Fprintf(stderr, "tunnel: %v\n", asFailure(worker.left))
		}
		return worker.code
	}
	var told setting.Errors
	if errors.As(err, &told) {
		for _, line := range told {
			_, _ = fmt.Fprintln(stderr, printable("tunnel: "+(&failure{step: stepUsage, err: errors.New(line)}).Error()))
		}
		return stepUsage.exitCode()
	}
	f := asFailure(err)
	_, _ = fmt.Fprintln(stderr, printable("tunnel: "+f.Error()))
	return f.step.exitCode()
}

// ending returns the signals that end a run in good order. One that whoever started us has switched off stays off:
// SIGHUP under nohup, SIGINT for a job that a script has put into the background.
func ending() []os.Signal {
	all := []os.Signal{syscall.SIGTERM}
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			all = append(all, s)
		}
	}
	return all
}

func newApp(version string, stdout, stderr io.Writer) *cli.App {
	return &cli.App{
		Name:  "tunnel",
		Usage: "a private layer-3 network over plain HTTPS",
		Description: "On a machine with a public address; its first start makes a key, a certificate and a token:\n\n" +
			"   sudo tunnel serve\n\n" +
			"On everything else, what that prints:\n\n" +
			"   sudo tunnel connect wss://HOST:8443 --pin sha256:HASH --token TOKEN\n" +
			"   ping 10.1.1.1\n\n" +
			"Exit codes:\n" + exitCodes(),
		Writer:                    stdout,
		ErrWriter:                 stderr,
		Version:                   version,
		HideVersion:               true, // `tunnel version`
		EnableBashCompletion:      true,
		DisableSliceFlagSeparator: true, // a comma may stand in a header
		Suggest:                   true,
		Commands: []*cli.Command{
			serveCommand(), connectCommand(), tokenCommand(), configCommand(), cleanupCommand(), versionCommand(), completionCommand(),
		},
		OnUsageError: usageError,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return noCommand(c, "")
			}
			return cli.ShowAppHelp(c)
		},
		// Errors are run's to print, and exit codes its to choose.
		ExitErrHandler: func(*cli.Context, error) {},
	}
}

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:            "version",
		Usage:           "print the version",
		Description:     "Example:\n\n   tunnel version",
		OnUsageError:    usageError,
		HideHelpCommand: true,
		Action: func(c *cli.Context) error {
			if err := noMore(c, 0); err != nil {
				return err
			}
			_, err := fmt.Fprintln(c.App.Writer, c.App.Version)
			return err
		},
	}
}
