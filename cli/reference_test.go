package cli

import (
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"tunnel/cli/failure"
	"tunnel/config"
	"tunnel/config/setting"
)

var update = flag.Bool("update", false, "write docs/REFERENCE.md")

// TestReference holds docs/REFERENCE.md to the tables that make the flags, the file and the exit
// codes. `make docs` writes between its marks what they say.
func TestReference(t *testing.T) {
	const name = "../docs/REFERENCE.md"
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]func() string{
		"serve":   func() string { return settingsTable(config.DefaultServe().Settings(), true) },
		"connect": func() string { return settingsTable(config.DefaultConnect().Settings(), true) },
		"cleanup": func() string { return settingsTable(config.DefaultCleanup().Settings(), false) },
		"confirm": func() string { return settingsTable(config.DefaultConfirm().Settings(), false) },
		"trusted": trustedKeys,
		"token":   tokenTable,
		"exits":   exitTable,
	}
	marked := regexp.MustCompile(`(?s)(<!-- make docs: (\w+) -->\n).*?(<!-- end -->)`)
	made := marked.ReplaceAllStringFunc(string(text), func(part string) string {
		m := marked.FindStringSubmatch(part)
		table := parts[m[2]]
		if table == nil {
			t.Fatalf("%s: nothing makes %q, or it is there twice", name, m[2])
		}
		delete(parts, m[2])
		return m[1] + "\n" + table() + "\n" + m[3]
	})
	if len(parts) > 0 {
		t.Fatalf("%s lacks %v", name, parts)
	}
	if *update {
		if err := os.WriteFile(name, []byte(made), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	if made != string(text) {
		t.Errorf("%s is stale: run `make docs`", name)
	}
}

// trustedKeys lists the keys that are an error in another user's file.
func trustedKeys() string {
	var keys []string
	for _, s := range slices.Concat(config.DefaultServe().Settings(),
		config.DefaultConnect().Settings()) {
		if s.Trusted || s.Path {
			keys = append(keys, "`"+s.Name+"`")
		}
	}
	slices.Sort(keys)
	return "| keys |\n|---|\n| " + strings.Join(slices.Compact(keys), ", ") + " |\n"
}

// settingsTable has a table of settings; those of what runs long say from when on a reload holds.
func settingsTable(settings []*setting.Setting, reloads bool) string {
	var b strings.Builder
	b.WriteString("| flag and key | default | meaning |\n|---|---|---|\n")
	for _, s := range settings {
		name := "--" + s.Name
		if s.Argument {
			name = s.Name
		}
		meaning := sentence(strings.ReplaceAll(s.Usage, "`", ""))
		if s.More != "" {
			meaning += " " + sentence(s.More)
		}
		if reloads && s.Reload != setting.Restart {
			meaning += " Reloads " + string(s.Reload) + "."
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name+argument(s.Usage), value(s), meaning)
	}
	return b.String()
}

// value returns a default for a table.
func value(s *setting.Setting) string {
	switch text := strings.Trim(s.Shown(), `"`); text {
	case "", s.Default:
		return text
	default:
		return "`" + text + "`"
	}
}

// argument returns what stands behind a flag, from its usage.
func argument(usage string) string {
	if _, rest, ok := strings.Cut(usage, "`"); ok {
		word, _, _ := strings.Cut(rest, "`")
		return " " + word
	}
	return ""
}

// sentence returns a text of the tables as a sentence.
func sentence(text string) string {
	return strings.ToUpper(text[:1]) + strings.ReplaceAll(text[1:], "|", `\|`) + "."
}

func tokenTable() string {
	var b strings.Builder
	b.WriteString("| flag of `token create` | meaning |\n|---|---|\n")
	for _, f := range newApp("", io.Discard, io.Discard).Command("token").Command("create").Flags {
		described, ok := f.(cli.DocGenerationFlag)
		if !ok {
			continue
		}
		meaning := strings.ReplaceAll(described.GetUsage(), "`", "")
		if text := described.GetDefaultText(); text != "" && described.TakesValue() {
			meaning += " (default: " + strings.Trim(text, `"`) + ")"
		}
		fmt.Fprintf(&b, "| `--%s` | %s |\n", f.Names()[0]+argument(described.GetUsage()),
			sentence(meaning))
	}
	return b.String()
}

func exitTable() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| code | step | |\n|---|---|---|\n| 0 | | %s |\n", failure.DoneText)
	for i, e := range failure.Exits() {
		fmt.Fprintf(&b, "| %d | %s | %s |\n", i+1, e.Step, e.What)
	}
	return b.String()
}
