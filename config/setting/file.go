package setting

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
	"github.com/xrash/smetrics"
)

// MaxFile bounds a configuration file, in bytes.
const MaxFile = 1 << 20

// A File is a configuration file: a mapping of YAML whose keys are the names of settings.
type File struct {
	Name string
	Data []byte
	// Owner is the uid of a user, neither root nor that of this process, to whom the file belongs;
	// 0 if there is none. Such a file has no Trusted setting and no Path.
	Owner  int
	Public bool // other users may read it

	entries map[string]entry
}

// An entry is a key of the file and its value.
type entry struct {
	texts []string
	line  int
}

// read parses the file by a table of settings, and returns all problems: unknown keys, wrong types,
// duplicates.
func (f *File) read(settings []*Setting) (all Errors) {
	f.entries = map[string]entry{}
	wrong := func(at *token.Token, format string, args ...any) {
		all = append(all, fmt.Sprintf("%s:%d:%d: ", f.Name, at.Position.Line,
			at.Position.Column)+fmt.Sprintf(format, args...))
	}
	known := map[string]*Setting{}
	for _, s := range settings {
		if !s.FlagOnly {
			known[s.Name] = s
		}
	}
	// What the parser says quotes the file, which may be a secret or not a configuration at all.
	parsed, err := parser.ParseBytes(f.Data, 0, parser.AllowDuplicateMapKey())
	var syntax interface{ GetToken() *token.Token }
	switch {
	case errors.As(err, &syntax) && syntax.GetToken() != nil:
		wrong(syntax.GetToken(), "this is not YAML: look at indentation, quotation marks and "+
			"brackets, here and in the line before")
		return all
	case err != nil:
		return Errors{f.Name + ": this is not YAML"}
	}
	for i, doc := range parsed.Docs {
		if doc.Body == nil {
			continue
		}
		mapping, ok := doc.Body.(*ast.MappingNode)
		switch {
		case i > 0:
			wrong(doc.Body.GetToken(), "a second document: only one is allowed")
			return all
		case !ok:
			wrong(doc.Body.GetToken(), "not a list of `key: value`")
			return all
		}
		for _, pair := range mapping.Values {
			key := pair.Key.GetToken()
			s := known[key.Value]
			if s == nil {
				wrong(key, "%s%s", unknown(key.Value), nearestOf(key.Value, known))
				continue
			}
			if first, ok := f.entries[s.Name]; ok {
				wrong(key, "%s: this key is in line %d already%s", s.Name, first.line, s.several())
				continue
			}
			texts, at := f.texts(s, pair.Value)
			if at != nil {
				wrong(at, "%s: it must be %s", s.Name, s.wants())
				continue
			}
			f.entries[s.Name] = entry{texts, key.Position.Line}
		}
	}
	return all
}

// maxKey is the longest key that is shown, in bytes.
const maxKey = 40

// unknown describes a key that no setting has. It is shown only if it looks like a key: it may be a
// line of anything, if the file is not a configuration.
func unknown(key string) string {
	if key == "" || len(key) > maxKey || strings.ContainsFunc(key, func(r rune) bool {
		return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) {
		return "this is not the name of a setting"
	}
	return key + ": unknown key"
}

// texts returns the texts of a value in the file. If its type is wrong, the token is its position.
func (f *File) texts(s *Setting, node ast.Node) ([]string, *token.Token) {
	nodes := []ast.Node{node}
	if sequence, ok := node.(*ast.SequenceNode); ok && s.Kind() == List {
		nodes = sequence.Values
	}
	texts := []string{} // an empty list is a value
	for _, n := range nodes {
		text, ok := scalar(s, n)
		if !ok {
			return nil, n.GetToken()
		}
		if s.Path && text != "" && !filepath.IsAbs(text) {
			text = filepath.Join(filepath.Dir(f.Name), text)
		}
		texts = append(texts, text)
	}
	return texts, nil
}

// scalar returns the text of a node, and whether the node is of the setting's type.
func scalar(s *Setting, n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, s.Kind() == Text || s.Kind() == List
	case *ast.LiteralNode:
		return n.Value.Value, s.Kind() == Text || s.Kind() == List
	case *ast.IntegerNode:
		return n.Token.Value, s.Kind() == Number || s.OrNumber
	case *ast.BoolNode:
		return fmt.Sprint(n.Value), s.Kind() == Switch
	}
	return "", false
}

// wants describes the type of the setting.
func (s *Setting) wants() string {
	switch s.Kind() {
	case Number:
		return "a whole number"
	case Switch:
		return "true or false"
	case List:
		return "a text, or a list of them"
	}
	return "a text; a number or the like needs quotation marks"
}

// several says how the file has several values of a setting, for the end of a sentence.
func (s *Setting) several() string {
	if s.Kind() != List {
		return ""
	}
	return fmt.Sprintf(": write several values as one list, `%s: [A, B]`", s.Name)
}

// of returns the value of a setting in the file, and its place.
func (f *File) of(s *Setting) ([]string, Place) {
	e, ok := f.entries[s.Name]
	if !ok {
		return nil, Place{}
	}
	return e.texts, Place{File: f.Name, Line: e.line}
}

// nearestOf names the nearest known key, for the end of a sentence.
func nearestOf(text string, known map[string]*Setting) string {
	names := make([]string, 0, len(known))
	for name := range known {
		names = append(names, name)
	}
	if name := Nearest(text, names); name != "" {
		return ": did you mean " + name + "?"
	}
	return ""
}

// Nearest returns the name that text most likely means, "" if none is near.
func Nearest(text string, names []string) (nearest string) {
	text = strings.ToLower(strings.ReplaceAll(text, "_", "-"))
	best := max(2, len(text)/3) + 1
	for _, name := range names {
		d := smetrics.WagnerFischer(text, name, 1, 1, 1)
		if d < best && d < len(name) || d == best && nearest != "" && name < nearest {
			nearest, best = name, d
		}
	}
	return nearest
}
