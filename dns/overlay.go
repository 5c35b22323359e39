package dns

import (
	"strconv"
	"strings"
)

// overlay is what stands in /etc/resolv.conf while names go to the tunnel's servers. It contains
// what stood there before: the file is on a disk that outlasts a power cut, and the journal is not.
type overlay struct {
	owner string // the journal of the run
	lists
	before saved
}

// saved is what was at the place of an overlay.
type saved struct {
	kind savedKind
	text string // of a file; the target of a symbolic link
}

type savedKind string

const (
	savedFile savedKind = "file"
	savedLink savedKind = "symlink"
	savedNone savedKind = "nothing"
)

const (
	overlayHead = "# Made by tunnel: "
	// linesHead starts the line that repeats lists, by which their lines are told from those of
	// other programs without a journal. A program that edits all nameserver lines does not match it.
	linesHead   = "# Servers of tunnel: "
	linesSearch = "; domains: "
	overlayText = "# Names are resolved through a tunnel. When it ends, and after it was killed by\n" +
		"# its next run or `tunnel cleanup`, what was here before comes back, which is the\n" +
		"# following without the three characters before each line:\n"
	savedPrefix = "#= "
	// restoredHead, a length and a line feed end a file whose restoration was cut short: only the
	// first bytes are to be kept.
	restoredHead = "# tunnel: all but the first bytes is cut off; they are: "
)

// render returns the file. Its end is the end of what it contains, which has a prefix before each
// line, so that it is always longer than that by more than restoredHead.
func (o overlay) render() string {
	var text strings.Builder
	text.WriteString(overlayHead + o.owner + "\n" + linesHead + o.Servers)
	if o.Domains != "" {
		text.WriteString(linesSearch + o.Domains)
	}
	text.WriteString("\n" + o.lines() + overlayText + savedPrefix + string(o.before.kind) + "\n")
	for line := range strings.SplitSeq(o.before.text, "\n") {
		text.WriteString(savedPrefix + line + "\n")
	}
	return text.String()
}

func (s saved) isValid() bool {
	switch s.kind {
	case savedFile:
		return true
	case savedLink:
		return s.text != "" && !strings.Contains(s.text, "\x00")
	case savedNone:
		return s.text == ""
	}
	return false
}

// tornRestore returns what is written over an overlay of that size before it is cut to text: when
// only the cut is missing, cutTorn tells so. The overlay contains text, and is longer.
func tornRestore(text string, size int) string {
	end := restoredHead + strconv.Itoa(len(text)) + "\n"
	return text + strings.Repeat("\n", max(0, size-len(text)-len(end))) + end
}

// cutTorn returns the text of tornRestore, and reports whether torn is such.
func cutTorn(torn string) (text string, ok bool) {
	at := strings.LastIndex(torn, restoredHead)
	if at < 0 {
		return "", false
	}
	n, err := strconv.Atoi(strings.TrimSuffix(torn[at+len(restoredHead):], "\n"))
	if err != nil || n < 0 || n > at || tornRestore(torn[:n], len(torn)) != torn {
		return "", false
	}
	return torn[:n], true
}
