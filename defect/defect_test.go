package defect_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"tunnel/defect"
)

func index(s []int, i int) (err error) {
	defer defect.Catch(&err)
	s[i]++
	return nil
}

func divide(a, b int) (err error) {
	defer defect.Catch(&err)
	_ = a / b
	return nil
}

func TestCatch(t *testing.T) {
	if err := index([]int{1}, 0); err != nil || defect.Is(err) {
		t.Error(err)
	}
	err := index(nil, 3)
	if !defect.Is(fmt.Errorf("read: %w", err)) || !strings.Contains(err.Error(),
		"index out of range [3]") {
		t.Errorf("%v", err)
	}
	if defect.Is(errors.New("x")) {
		t.Error("any error is a defect")
	}
}

// A defect that is met a thousand times is a dozen lines of the log, one of them with the stack.
func TestLog(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	var l defect.Log
	if l.Note(nil, log) || l.Note(errors.New("x"), log) || out.Len() > 0 {
		t.Errorf("noted what is none: %s", &out)
	}
	for range 1000 {
		if !l.Note(index(nil, 3), log) {
			t.Fatal("not noted")
		}
	}
	text := out.String()
	if l.Count() != 1000 || strings.Count(text, "stack=") != 1 || strings.Count(text, "\n") != 10 ||
		!strings.Contains(text, "defect_test.index") {
		t.Errorf("%d noted: %s", l.Count(), text)
	}
	l.Note(divide(1, 0), log)
	if text := out.String(); strings.Count(text, "stack=") != 2 {
		t.Errorf("another defect is not said: %s", text)
	}
}
