package config

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// single is a setting that has one value.
type single[T any] struct {
	p      *T
	k      Kind
	parse  func(string) (T, error)
	format func(T) string
	plain  bool         // see Setting.bare
	secret func(T) bool // reports whether format leaves something out; nil for never
}

func (v single[T]) kind() Kind { return v.k }

func (v single[T]) bare() bool { return v.plain }

func (v single[T]) masked() bool { return v.secret != nil && v.secret(*v.p) }

func (v single[T]) texts() []string { return []string{v.format(*v.p)} }

// set takes the last of several texts, as flags do.
func (v single[T]) set(texts []string) error {
	parsed, err := v.parse(texts[len(texts)-1])
	if err == nil {
		*v.p = parsed
	}
	return err
}

// list is a setting that may be given several times. A text of flags, of the file or of the environment may hold several.
type list[T any] struct {
	p      *[]T
	split  func(string) []string // nil takes a text as it is
	parse  func(string) (T, error)
	format func(T) string
}

func (v list[T]) kind() Kind { return List }

func (v list[T]) texts() (all []string) {
	for _, one := range *v.p {
		all = append(all, v.format(one))
	}
	return all
}

func (v list[T]) set(texts []string) error {
	var all []T
	for _, text := range texts {
		words := []string{text}
		if v.split != nil {
			words = v.split(text)
		}
		for _, word := range words {
			one, err := v.parse(word)
			if err != nil {
				return err
			}
			all = append(all, one)
		}
	}
	if len(all) == 0 {
		return fmt.Errorf(" is empty: give a value or leave it out")
	}
	*v.p = all
	return nil
}

// byCommas splits a text that may hold several values, with commas or spaces between.
func byCommas(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}

func text(p *string) value {
	return single[string]{p: p, k: Text, parse: func(s string) (string, error) { return s, nil }, format: strings.Clone}
}

func number(p *int) value {
	return single[int]{p: p, k: Number, parse: parseNumber, format: strconv.Itoa, plain: true}
}

// wish is a number of which 0 says that it was not given.
func wish(p *int) value {
	return single[int]{p: p, k: Number, parse: parseNumber, plain: true, format: func(n int) string {
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

func onOff(p *bool) value {
	return single[bool]{p: p, k: Switch, plain: true, format: strconv.FormatBool, parse: func(s string) (bool, error) {
		b, err := strconv.ParseBool(s)
		if err != nil {
			return false, fmt.Errorf(" %q is neither true nor false", s)
		}
		return b, nil
	}}
}

func duration(p *time.Duration) value {
	return single[time.Duration]{p: p, k: Text, plain: true, format: shortDuration, parse: func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, fmt.Errorf(" %q is not a time like 20s or 1h30m", s)
		}
		return d, nil
	}}
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

func level(p *slog.Level) value {
	return single[slog.Level]{p: p, k: Text, format: levelText, parse: func(s string) (l slog.Level, err error) {
		if err := l.UnmarshalText([]byte(s)); err != nil || strings.ContainsAny(s, "+-") {
			return l, fmt.Errorf(" %s is none of debug, info, warn, error", s)
		}
		return l, nil
	}}
}

func levelText(l slog.Level) string { return strings.ToLower(l.String()) }
