package dns

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"tunnel/dns/conf"
	"tunnel/journal"
)

// cover is an overlay as a file has it that other programs may have edited meanwhile. Its owner is
// "" if nothing names that any more: the overlay is then nobody's.
type cover struct {
	overlay
	others []string // the lines of other programs
	back   string   // these and those of before, in the order of the file
	edited bool     // it is not as it was made
}

// uncover returns the overlay in a file, and reports whether there is one: a line of it that nobody
// else would write. Its resolv.conf(5) lines are those that it names itself, and the known ones.
// All other lines are of other programs.
func uncover(text string, known lists) (c cover, is bool) {
	if text, torn := cutTorn(text); torn {
		before := saved{kind: savedFile, text: text}
		return cover{overlay: overlay{before: before}, back: text}, true
	}
	r := reader{own: []lists{known}, begins: true}
	marks := 0
	for line := range strings.Lines(text) {
		if m, value := markOf(line); m != noMark && m != savedMark {
			r.note(m, value, line)
			marks++
		}
	}
	if marks == 0 {
		return cover{}, false
	}
	if !r.described {
		c.lists = known
		if known == (lists{}) { // the journal is lost, and the line that names them
			c.lists = r.between(text)
		}
		r.own = append(r.own, c.lists)
	} else {
		c.lists = r.own[1]
	}
	for line := range strings.Lines(text) {
		r.read(line)
	}
	c.owner = r.owner
	c.before, c.others, c.back = r.before()
	c.edited = c.render() != text
	return c, true
}

// mark is what tells a line of an overlay from those of other programs.
type mark int

const (
	noMark    mark = iota
	headMark       // overlayHead; the value is the owner
	linesMark      // linesHead; the value is what follows
	textMark       // a line of overlayText
	tornMark       // restoredHead
	savedMark      // savedPrefix; the value is what follows. Without others it marks nothing.
)

// markOf returns the mark of a line, with or without its end, and its value. Some editors take
// blanks at the end of a line away, or put a carriage return there.
func markOf(line string) (mark, string) {
	bare := conf.Bare(line)
	if owner, is := strings.CutPrefix(bare, overlayHead); is {
		return headMark, owner
	}
	if value, is := strings.CutPrefix(bare, linesHead); is {
		return linesMark, value
	}
	if bare != "" && strings.Contains("\n"+overlayText, "\n"+bare+"\n") {
		return textMark, ""
	}
	if strings.HasPrefix(bare, restoredHead) {
		return tornMark, ""
	}
	if value, is := strings.CutPrefix(strings.TrimSuffix(line, "\n"), savedPrefix); is {
		return savedMark, value
	}
	if bare+" " == savedPrefix {
		return savedMark, ""
	}
	return noMark, ""
}

// reader reads the lines of an edited overlay.
type reader struct {
	owner     string
	own       []lists // whose lines are the overlay's
	described bool    // own has those of linesHead
	returns   bool    // lines end with a carriage return
	begins    bool    // a saved line that comes now may be the kind
	kind      savedKind
	out       []part
}

// part is a line that stays.
type part struct {
	text  string // of the overlay's before without its end
	saved bool   // of before
}

// note notes what the marks say. A line that was cut off says nothing.
func (r *reader) note(m mark, value, line string) {
	r.returns = r.returns || strings.HasSuffix(line, "\r\n")
	if !strings.HasSuffix(line, "\n") {
		return
	}
	switch m {
	case headMark:
		if r.owner == "" {
			r.owner = value
		}
	case linesMark:
		servers, domains, _ := strings.Cut(value, linesSearch)
		r.own = append(r.own, lists{Servers: servers, Domains: domains})
		r.described = true
	}
}

// between returns the lines from the overlay's head to its next mark.
func (r *reader) between(text string) (l lists) {
	var servers []string
	inside := false
	for line := range strings.Lines(text) {
		if m, _ := markOf(line); m != noMark {
			inside = m == headMark
			continue
		}
		words := strings.Fields(line)
		switch {
		case !inside || len(words) < 2:
		case words[0] == "nameserver":
			servers = append(servers, words[1])
		case words[0] == "search":
			l.Domains = strings.Join(words[1:], " ")
		}
	}
	l.Servers = strings.Join(servers, " ")
	return l
}

// read reads a line.
func (r *reader) read(line string) {
	cut := !strings.HasSuffix(line, "\n")
	switch m, value := markOf(line); m {
	case headMark, linesMark, textMark:
		r.begins = true
	case noMark:
		if !r.isOwn(line, cut) {
			r.out = append(r.out, part{text: line})
		}
	case savedMark:
		if r.returns {
			value = strings.TrimSuffix(value, "\r")
		}
		kind := savedKind(value)
		switch begins := r.begins || r.kind == ""; { // or the lines were sorted
		case begins && (kind == savedFile || kind == savedLink || kind == savedNone):
			if r.kind == "" {
				r.kind = kind
			}
		case cut: // half a line could name another server
			r.out = append(r.out, part{saved: true})
		default:
			r.out = append(r.out, part{text: value, saved: true})
		}
		r.begins = false
	case tornMark:
		for n := len(r.out); n > 0 && conf.Bare(r.out[n-1].text) == ""; n-- {
			r.out = r.out[:n-1]
		}
	}
}

// isOwn reports whether a line without a mark is the overlay's: one of its lists, or the beginning
// of a line where the file was cut off.
func (r *reader) isOwn(line string, cut bool) bool {
	if cut && strings.Contains("\n"+overlayText+overlayHead+"\n"+linesHead, "\n"+line) {
		return true
	}
	return slices.ContainsFunc(r.own, func(l lists) bool {
		return l.has(line) || cut && strings.Contains("\n"+l.lines(), "\n"+line)
	})
}

// has reports whether a line of resolv.conf(5) says what one of l's does.
func (l lists) has(line string) bool {
	words := strings.Fields(line)
	if len(words) < 2 {
		return false
	}
	switch words[0] {
	case "nameserver":
		a, ok := conf.Nameserver(words[1])
		return ok && slices.Contains(strings.Fields(l.Servers), a.String())
	case "search":
		return strings.Join(words[1:], " ") == l.Domains
	}
	return false
}

// before returns what the overlay contains, the lines of others, and both together.
func (r *reader) before() (before saved, others []string, back string) {
	before.kind = cmp.Or(r.kind, savedFile)
	var texts []string
	for _, p := range r.out {
		if p.saved {
			texts = append(texts, p.text)
		} else {
			others = append(others, conf.Bare(p.text))
		}
	}
	before.text = strings.Join(texts, "\n")
	if before.kind != savedFile {
		r.out = slices.DeleteFunc(r.out, func(p part) bool { return p.saved })
	}
	if !before.isValid() {
		before = saved{kind: savedFile}
	}
	var all strings.Builder
	left := len(texts)
	for i, p := range r.out {
		all.WriteString(p.text)
		if !p.saved {
			continue
		}
		// The last line is what followed the last line feed.
		if left--; left > 0 || i < len(r.out)-1 && p.text != "" {
			all.WriteString("\n")
		}
	}
	return before, others, all.String()
}

// depth bounds the overlays within one another, which programs make that save such files.
const depth = 4

// mended returns what comes back in the place of c: what was there before, with the lines of
// others, and no line of this program, see uncover. A link cannot contain lines: it stays a file,
// with those to which the link leads now, if others have more in it than comments.
func (c cover) mended(known lists) saved {
	back := c.alone()
	for range depth {
		within, is := uncover(back.text, known)
		if back.kind != savedFile || !is {
			break
		}
		back = within.alone()
	}
	return back
}

// alone is mended without the overlays that are within c.
func (c cover) alone() saved {
	switch {
	case c.before.kind == savedFile:
		return saved{kind: savedFile, text: c.back}
	case c.before.kind == savedLink && slices.ContainsFunc(c.others, conf.IsSetting):
		target, _ := read(beside(c.before.text)) // which may lead nowhere
		return saved{kind: savedFile, text: conf.Ended(c.back) + target}
	case c.before.kind == savedNone && strings.TrimSpace(c.back) != "":
		return saved{kind: savedFile, text: c.back}
	}
	return c.before
}

// report tells a person that c was not as it was made, and what came in its place.
func (c cover) report(ctx context.Context, m journal.Machine, back saved) {
	if !c.edited || m.Log == nil {
		return
	}
	kept := slices.DeleteFunc(slices.Clone(c.others),
		func(line string) bool { return !conf.IsSetting(line) })
	about := []any{"servers", c.Servers, "kept", fmt.Sprintf("%.500s", strings.Join(kept, "; "))}
	switch {
	case back.kind == savedFile && c.before.kind == savedLink:
		about = append(about, "advice", "it was a link, which has no room for other lines, and is a "+
			"file now: if you do not need them, "+c.before.command().String())
	case back.kind == savedFile && len(conf.Nameservers(back.text)) == 0:
		about = append(about, "advice", "it names no DNS server any more: add one, or restart the "+
			"DHCP client")
	}
	m.Log.WarnContext(ctx, "another program has edited "+resolvConf+" while it had the DNS servers "+
		"of a tunnel: these are removed, what was there before is restored, and the other program's "+
		"lines are kept", about...)
}
