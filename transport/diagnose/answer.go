package diagnose

import (
	"errors"
	"fmt"
	"io"
)

// MaxAnswer bounds the status line and the headers of an answer that is not known to be the
// server's, in bytes: servers and proxies themselves take requests of 8 to 16 KiB.
const MaxAnswer = 32 << 10

// ErrLongAnswer is the error for an answer of more than MaxAnswer bytes.
var ErrLongAnswer = fmt.Errorf("its answer has headers of more than %d KiB", MaxAnswer>>10)

// answerReader reads an answer of at most MaxAnswer.
type answerReader struct {
	r    io.Reader
	left int
}

// LimitAnswer returns a reader of r that fails with ErrLongAnswer after MaxAnswer bytes.
func LimitAnswer(r io.Reader) io.Reader { return &answerReader{r, MaxAnswer} }

// Read implements io.Reader.
func (a *answerReader) Read(p []byte) (int, error) {
	if a.left == 0 {
		return 0, ErrLongAnswer
	}
	n, err := a.r.Read(p[:min(len(p), a.left)])
	a.left -= n
	return n, err
}

// ErrNoAnswer is the error when the other side closes the connection without an answer.
var ErrNoAnswer = errors.New("the server hung up on the request")
