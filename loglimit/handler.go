// Package loglimit bounds how much of a log others can write: a slog.Handler that lets through so
// many lines of one kind, says how many it did not, and cuts values that are too long.
package loglimit

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"unicode/utf8"
)

// Attributes that say whom a line is about. A line with Token is of a client that has logged in;
// one with Remote alone, an address with or without a port, of somebody who has not.
const (
	Token  = "token"
	Remote = "remote"
)

// maxValue is the most bytes of one value: close reasons, header lines and certificates come from
// others.
const maxValue = 512

// Handler hands on the lines that Limits let through. Its loggers share them, whatever With has
// added.
type Handler struct {
	next   slog.Handler
	limits *limits
	who    who
}

// who is whom a line is about, as far as it says.
type who struct {
	token  string
	source netip.Prefix // the zero Prefix is unknown
}

// New returns a Handler in front of next. Close it.
func New(next slog.Handler) *Handler {
	return &Handler{next: next, limits: &limits{next: next, kinds: map[kind]*bucket{},
		sources: map[source]*bucket{}}}
}

// Enabled is slog.Handler's.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// WithAttrs is slog.Handler's.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := &Handler{h.next.WithAttrs(bounded(attrs)), h.limits, h.who}
	for _, a := range attrs {
		with.who.learn(a)
	}
	return with
}

// WithGroup is slog.Handler's.
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{h.next.WithGroup(name), h.limits, h.who}
}

// Handle is slog.Handler's.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	about := h.who
	attrs := make([]slog.Attr, 0, r.NumAttrs()+1)
	r.Attrs(func(a slog.Attr) bool {
		about.learn(a)
		attrs = append(attrs, a)
		return true
	})
	suppressed, ok := h.limits.take(r.Level, r.Message, about, r.Time)
	if !ok {
		return nil
	}
	if r.Level < slog.LevelError { // a stack is long, and ours
		attrs = bounded(attrs)
	}
	line := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	line.AddAttrs(attrs...)
	if suppressed > 0 {
		line.AddAttrs(slog.Uint64(suppressedKey, suppressed))
	}
	return h.next.Handle(ctx, line)
}

// Close logs what was not logged and is not yet said.
func (h *Handler) Close() { h.limits.flush() }

// suppressedKey says how many lines of the same kind, about the same client, had to be left out
// before.
const suppressedKey = "suppressed"

// learn takes note of an attribute that says whom the line is about.
func (w *who) learn(a slog.Attr) {
	switch a.Key {
	case Token:
		w.token = a.Value.String()
	case Remote:
		text := a.Value.String()
		address, err := netip.ParseAddr(text)
		if err != nil {
			port, _ := netip.ParseAddrPort(text)
			address = port.Addr()
		}
		bits := 32
		if address = address.Unmap(); address.Is6() {
			bits = 64 // one customer has as many
		}
		w.source, _ = address.WithZone("").Prefix(bits) // of no address: the zero Prefix
	}
}

// bounded returns attrs without values that are too long.
func bounded(attrs []slog.Attr) []slog.Attr {
	long := func(a slog.Attr) bool {
		k := a.Value.Kind()
		return (k == slog.KindString || k == slog.KindAny) && len(text(a.Value)) > maxValue
	}
	if !slices.ContainsFunc(attrs, long) {
		return attrs
	}
	attrs = slices.Clone(attrs)
	for i, a := range attrs {
		if long(a) {
			attrs[i].Value = slog.StringValue(cut(text(a.Value)))
		}
	}
	return attrs
}

// text returns what a handler prints of a value.
func text(v slog.Value) string {
	if err, ok := v.Any().(error); ok {
		return err.Error()
	}
	if v.Kind() == slog.KindAny {
		return fmt.Sprint(v.Any())
	}
	return v.String()
}

// cut returns the first maxValue bytes of s, in whole characters, and how many more there were.
func cut(s string) string {
	n := maxValue
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return fmt.Sprintf("%s… (%d bytes more)", s[:n], len(s)-n)
}
