package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// WriteJSON writes v, on one line unless it is indented. All that is not ASCII is escaped: some of
// it cannot be seen, or changes the direction of text.
func WriteJSON(w io.Writer, v any, indented bool) error {
	var plain bytes.Buffer
	e := json.NewEncoder(&plain)
	if indented {
		e.SetIndent("", "  ")
	}
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(ascii(plain.Bytes()))
	return err
}

// ascii escapes what is not printable ASCII in JSON, where it stands in strings only.
func ascii(text []byte) []byte {
	var out bytes.Buffer
	for _, r := range string(text) {
		switch {
		case r < 0x7f:
			out.WriteRune(r)
		case r > 0xffff: // a surrogate pair (RFC 8259 section 7)
			r -= 0x10000
			fmt.Fprintf(&out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.Bytes()
}

// IsTerminal reports whether stdout is a terminal.
func IsTerminal() bool {
	_, err := unix.IoctlGetTermios(1, unix.TCGETS)
	return err == nil
}

// Size returns the columns and lines of the terminal that stdout is, 80 and 24 if it does not tell.
func Size() (columns, lines int) {
	size, err := unix.IoctlGetWinsize(1, unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 || size.Row == 0 {
		return 80, 24
	}
	return int(size.Col), int(size.Row)
}

// IsColored reports whether text on stdout has colors: it is a terminal, and NO_COLOR is not set
// (no-color.org).
func IsColored() bool { return IsTerminal() && os.Getenv("NO_COLOR") == "" }
