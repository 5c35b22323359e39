package failure

import (
	"errors"
	"fmt"
	"io"

	"tunnel/config/setting"
)

// WorkerEnded is the end of a worker that has printed the reason itself.
type WorkerEnded struct {
	Code int
	Left error // what its parent could not undo; nil if nothing
}

func (e *WorkerEnded) Error() string {
	return fmt.Sprintf("the worker ended with exit code %d", e.Code)
}

// Report prints why a run has failed, unless its worker has printed it, and returns the exit code.
func Report(stderr io.Writer, err error) int {
	var worker *WorkerEnded
	switch {
	case err == nil:
		return 0
	case errors.As(err, &worker):
		if worker.Left != nil {
			_, _ = fmt.Fprintf(stderr, "tunnel: %v\n", Of(worker.Left))
		}
		return worker.Code
	}
	var problems setting.Errors
	if errors.As(err, &problems) {
		for _, line := range problems {
			_, _ = fmt.Fprintln(stderr,
				Printable("tunnel: "+(&Failure{Step: StepUsage, Err: errors.New(line)}).Error()))
		}
		return StepUsage.ExitCode()
	}
	f := Of(err)
	_, _ = fmt.Fprintln(stderr, Printable("tunnel: "+f.Error()))
	return f.Step.ExitCode()
}
