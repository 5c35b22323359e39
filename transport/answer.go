package transport

import (
	"errors"
	"fmt"
	"io"
)

// maxAnswer bounds the status line and the headers of an answer that is not known to be the server's, in bytes: servers and
// proxies themselves take requests of 8 to 16 KiB.
const maxAnswer = 32 << 10

// errLongAnswer says that an answer has no end within maxAnswer.
var errLongAnswer = fmt.Errorf("its answer has headers of more than %d KiB", maxAnswer>>10)

// answerReader reads an answer of at most maxAnswer.
type answerReader struct {
	r    io.Reader
	left int
}

func newAnswerReader(r io.Reader) *answerReader { return &answerReader{r, maxAnswer} }

// Read implements io.Reader.
func (a *answerReader) Read(p []byte) (int, error) {
	if a.left == 0 {
		return 0, errLongAnswer
	}
	n, err := a.r.Read(p[:min(len(p), a.left)])
	a.left -= n
	return n, err
}

// errNoAnswer says that the other side ended the connection without an answer.
var errNoAnswer = errors.New("the server hung up on the request")
