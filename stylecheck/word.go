package main

import (
	"bytes"
	"fmt"
	"go/scanner"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
)

// A word is an entry of words.txt: an expression that is not used, and what to write instead.
type word struct {
	identifier bool // a whole identifier of Go; else any text
	expr       *regexp.Regexp
	instead    string
	dirs       []string // in these directories, with those below them; none means everywhere
	allowed    []string // text in which the expression may stand
}

// parseWords reads words.txt: KIND, expression, replacement and directories, separated by tabs. The
// kinds are text, name (an identifier of Go) and allow (text in which all of them may stand).
func parseWords(text string) ([]word, error) {
	var words []word
	var allowed []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, "\t")
		if fields[0] == "allow" && len(fields) == 2 {
			allowed = append(allowed, fields[1])
			continue
		}
		if len(fields) < 3 || fields[0] != "text" && fields[0] != "name" {
			return nil, fmt.Errorf("words.txt: not KIND, expression, replacement, directories: %s",
				line)
		}
		w := word{identifier: fields[0] == "name", instead: fields[2]}
		expr := "(?i:" + fields[1] + ")"
		if w.identifier {
			expr = "^(?:" + fields[1] + ")$"
		}
		var err error
		if w.expr, err = regexp.Compile(expr); err != nil {
			return nil, fmt.Errorf("words.txt: %w", err)
		}
		if len(fields) > 3 {
			w.dirs = strings.Fields(fields[3])
		}
		words = append(words, w)
	}
	for i := range words {
		words[i].allowed = allowed
	}
	return words, nil
}

// find calls report with each place of a file where the word stands.
func (w word) find(name string, text []byte, report func(line int, is string)) {
	inside := func(dir string) bool { return strings.HasPrefix(name, dir+"/") }
	if w.dirs != nil && !slices.ContainsFunc(w.dirs, inside) || inside("stylecheck") {
		return
	}
	if !w.identifier {
		for i, line := range bytes.Split(text, []byte("\n")) {
			for _, may := range w.allowed {
				line = bytes.ReplaceAll(line, []byte(may), nil)
			}
			if is := w.expr.Find(line); is != nil {
				report(i+1, string(is))
			}
		}
		return
	}
	if path.Ext(name) != ".go" {
		return
	}
	var s scanner.Scanner
	file := token.NewFileSet().AddFile(name, -1, len(text))
	s.Init(file, text, nil, 0)
	for {
		pos, tok, literal := s.Scan()
		if tok == token.EOF {
			return
		}
		if tok == token.IDENT && w.expr.MatchString(literal) {
			report(file.Line(pos), literal)
		}
	}
}
