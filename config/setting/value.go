package setting

import (
	"cmp"
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Single is the value of a setting that has one text.
type Single[T any] struct {
	P      *T
	Type   Kind // "" is Text
	Parse  func(string) (T, error)
	Format func(T) string
	Bare   bool         // shown without quotation marks, as a time is
	Secret func(T) bool // reports whether Format leaves something out; nil for never
}

// Kind implements Value.
func (v Single[T]) Kind() Kind { return cmp.Or(v.Type, Text) }

func (v Single[T]) bare() bool { return v.Bare }

// Masked implements Masker.
func (v Single[T]) Masked() bool { return v.Secret != nil && v.Secret(*v.P) }

// Texts implements Value.
func (v Single[T]) Texts() []string { return []string{v.Format(*v.P)} }

// Equal implements Value.
func (v Single[T]) Equal(other Value) bool {
	o, ok := other.(Single[T])
	return ok && reflect.DeepEqual(*v.P, *o.P)
}

// Take implements Value.
func (v Single[T]) Take(other Value) {
	if o, ok := other.(Single[T]); ok {
		*v.P = *o.P
	}
}

// Set implements Value. It takes the last of several texts, as flags do.
func (v Single[T]) Set(texts []string) error {
	parsed, err := v.Parse(texts[len(texts)-1])
	if err == nil {
		*v.P = parsed
	}
	return err
}

// Several is the value of a setting that may be given several times. A text of flags, of the file
// or of the environment may hold several.
type Several[T any] struct {
	P      *[]T
	Split  func(string) []string // nil takes a text as it is
	Parse  func(string) (T, error)
	Format func(T) string
}

// Kind implements Value.
func (v Several[T]) Kind() Kind { return List }

// Texts implements Value.
func (v Several[T]) Texts() (all []string) {
	for _, one := range *v.P {
		all = append(all, v.Format(one))
	}
	return all
}

// Equal implements Value.
func (v Several[T]) Equal(other Value) bool {
	o, ok := other.(Several[T])
	return ok && (len(*v.P) == 0 && len(*o.P) == 0 || reflect.DeepEqual(*v.P, *o.P))
}

// Take implements Value.
func (v Several[T]) Take(other Value) {
	if o, ok := other.(Several[T]); ok {
		*v.P = *o.P
	}
}

// Set implements Value.
func (v Several[T]) Set(texts []string) error {
	var all []T
	for _, text := range texts {
		words := []string{text}
		if v.Split != nil {
			words = v.Split(text)
		}
		for _, word := range words {
			one, err := v.Parse(word)
			if err != nil {
				return err
			}
			all = append(all, one)
		}
	}
	if len(all) == 0 {
		return fmt.Errorf(" is empty: give a value or leave it out")
	}
	*v.P = all
	return nil
}

// ByCommas splits a text that may hold several values, with commas or spaces between.
func ByCommas(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}

// String returns the value of a setting that takes any text.
func String(p *string) Value {
	return Single[string]{
		P: p, Parse: func(s string) (string, error) { return s, nil }, Format: strings.Clone,
	}
}

// Command returns the value of a setting that is a command of a shell. Its arguments may be secrets
// in more ways than can be known, so that only the program is shown.
func Command(p *string) Value {
	return Single[string]{
		P: p, Parse: func(s string) (string, error) { return s, nil }, Format: program,
		Secret: func(s string) bool { return program(s) != s },
	}
}

// program returns the first word of a command, and an ellipsis for all that may be a secret.
func program(command string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-"
	words := strings.Fields(command)
	switch {
	case len(words) == 0:
		return ""
	case strings.Trim(words[0], plain) != "":
		return "…" // NAME=VALUE, or quoted
	case len(words) > 1:
		return words[0] + " …"
	}
	return words[0]
}

// Int returns the value of a setting that takes a whole number.
func Int(p *int) Value {
	return Single[int]{P: p, Type: Number, Parse: parseNumber, Format: strconv.Itoa, Bare: true}
}

// OptionalInt is Int where 0 means "not given".
func OptionalInt(p *int) Value {
	return Single[int]{P: p, Type: Number, Parse: parseNumber, Bare: true,
		Format: func(n int) string {
			if n == 0 {
				return ""
			}
			return strconv.Itoa(n)
		}}
}

func parseNumber(s string) (int, error) {
	n, err := strconv.ParseInt(s, 0, strconv.IntSize)
	if err != nil {
		return 0, fmt.Errorf(" %q is not a whole number", s)
	}
	return int(n), nil
}

// Bool returns the value of a setting that is on or off.
func Bool(p *bool) Value {
	parse := func(s string) (bool, error) {
		b, err := strconv.ParseBool(s)
		if err != nil {
			return false, fmt.Errorf(" %q is neither true nor false", s)
		}
		return b, nil
	}
	return Single[bool]{P: p, Type: Switch, Bare: true, Format: strconv.FormatBool, Parse: parse}
}

// Duration returns the value of a setting that takes a time like 1h30m.
func Duration(p *time.Duration) Value {
	parse := func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, fmt.Errorf(" %q is not a time like 20s or 1h30m", s)
		}
		return d, nil
	}
	return Single[time.Duration]{P: p, Bare: true, Format: shortDuration, Parse: parse}
}

// shortDuration is Duration.String without parts that are 0.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Level returns the value of a setting that takes a level of the log.
func Level(p *slog.Level) Value {
	parse := func(s string) (l slog.Level, err error) {
		if err := l.UnmarshalText([]byte(s)); err != nil || strings.ContainsAny(s, "+-") {
			return l, fmt.Errorf(" %s is none of debug, info, warn, error", s)
		}
		return l, nil
	}
	return Single[slog.Level]{P: p, Format: levelText, Parse: parse}
}

func levelText(l slog.Level) string { return strings.ToLower(l.String()) }
