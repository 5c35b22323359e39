package invocation

import (
	"github.com/urfave/cli/v2"

	"tunnel/cli/output"
	"tunnel/privsep"
)

// The keys of an App's metadata: what a command must know about its process.
const (
	MetaWorker = "worker"
	MetaArgs   = "args"
	MetaOutput = "output"
	MetaHangup = "hangup"
)

// Worker returns the worker that this process is; nil if it is not one.
func Worker(c *cli.Context) *privsep.Worker {
	w, _ := c.App.Metadata[MetaWorker].(*privsep.Worker)
	return w
}

// Output returns the process's output.
func Output(c *cli.Context) *output.Output {
	o, _ := c.App.Metadata[MetaOutput].(*output.Output)
	return o
}

// Args returns the process's arguments, the program included.
func Args(c *cli.Context) []string {
	args, _ := c.App.Metadata[MetaArgs].([]string)
	return args
}

// Reload returns a channel that receives when SIGHUP arrives, and has SIGHUP end the run no more;
// nil, which never receives, on a terminal, whose hangup ends the run.
func Reload(c *cli.Context) <-chan struct{} {
	take, ok := c.App.Metadata[MetaHangup].(func() <-chan struct{})
	if !ok {
		return nil
	}
	return take()
}
