package journal

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// line is a fact of a kind that this program has not: a file with a text.
type line struct {
	Path string `json:"path"`
	Text string `json:"text"`
}

func (l line) Kind() string   { return "line" }
func (l line) String() string { return "the file " + l.Path }

func (l line) Check(Rules) error {
	if !filepath.IsAbs(l.Path) {
		return ErrFact
	}
	return nil
}

func (l line) Find(Machine) (bool, error) {
	text, err := os.ReadFile(l.Path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return string(text) == l.Text, err
}

func (l line) Remove(context.Context, Machine) error { return os.Remove(l.Path) }

// TestAnotherKind has a kind join by nothing but its type: it is noted, read again, checked, and
// undone as far as it is still there.
func TestAnotherKind(t *testing.T) {
	dir := t.TempDir()
	ours, changed, gone := filepath.Join(dir, "ours"), filepath.Join(dir, "changed"),
		filepath.Join(dir, "gone")
	kinds := KindsOf(line{})
	j, err := Open(dir, "tun0", kinds)
	if err != nil {
		t.Fatal(err)
	}
	facts := []Fact{line{ours, "our words"}, line{changed, "our words"}, line{gone, "our words"}}
	for _, f := range facts {
		if err := j.Note(f); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f.(line).Path, []byte(f.(line).Text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := j.path
	// as if killed
	if err := errors.Join(j.file.Close(), os.WriteFile(changed, []byte("another's"), 0o600),
		os.Remove(gone)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	forged := `{"kind":"line","path":"relative","text":"x"}` + "\n" + // which its kind refuses
		// which says more than its kind
		`{"kind":"line","path":"` + changed + `","text":"another's","more":1}` + "\n" +
		`{"kind":"lines","path":"` + changed + `","text":"another's"}` + "\n"
	if err := os.WriteFile(path, append(text, forged...), 0o600); err != nil {
		t.Fatal(err)
	}
	if j, err = Open(dir, "tun0", kinds); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(j.facts, facts) {
		t.Errorf("read %v", j.facts)
	}
	removed, err := j.Heal(t.Context(), Machine{})
	if err != nil || strings.Join(removed, ", ") != "the file "+ours {
		t.Errorf("removed %q, %v", removed, err)
	}
	if text, err := os.ReadFile(changed); err != nil || string(text) != "another's" {
		t.Errorf("what another program wrote is %q, %v", text, err)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the journal is left: %v", err)
	}
}

// TestSecureHealsOnlyHarmless has a kind that does not say when its removal is harmless be left
// alone under AT_SECURE.
func TestSecureHealsOnlyHarmless(t *testing.T) {
	if err := (Rules{Secure: true}).allows(line{"/x", "y"}); !errors.Is(err, ErrFact) {
		t.Error(err)
	}
	if err := (Rules{}).allows(line{"/x", "y"}); err != nil {
		t.Error(err)
	}
}
