package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"tunnel/cli/failure"
	"tunnel/config"
	"tunnel/config/setting"
)

// TestManPages holds docs/man to the commands: tunnel(8), a page for each command, as
// tunnel-serve(8), and tunnel.yaml(5). `make docs` writes them.
func TestManPages(t *testing.T) {
	const dir = "../docs/man"
	pages := manPages()
	if *update {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for name, page := range pages {
		path := filepath.Join(dir, name)
		if *update {
			if err := os.WriteFile(path, []byte(page), 0o666); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != page {
			t.Errorf("%s is stale (%v): run `make docs`", path, err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != len(pages) {
		t.Errorf("%d files in %s, of %d pages (%v): run `make docs`", len(files), dir, len(pages), err)
	}
}

// manPages returns the pages by their file names.
func manPages() map[string]string {
	app := newApp("", io.Discard, io.Discard)
	pages := map[string]string{}
	var names []string
	for _, c := range app.VisibleCommands() {
		if c.Name == "help" {
			continue
		}
		name := app.Name + "-" + c.Name
		names = append(names, name+"(8)")
		pages[name+".8"] = commandPage(name, c)
	}
	pages[fileName+".5"] = filePage()
	var b strings.Builder
	manHead(&b, app.Name, "8", app.Usage)
	manSection(&b, "SYNOPSIS", "tunnel COMMAND [OPTIONS] [ARGUMENTS]")
	description, _, _ := strings.Cut(app.Description, "Exit codes:")
	manText(&b, "DESCRIPTION", description)
	b.WriteString(".SH COMMANDS\n")
	for _, c := range app.VisibleCommands() {
		manItem(&b, c.Name, c.Usage)
	}
	b.WriteString(".SH EXIT STATUS\n")
	manItem(&b, "0", failure.DoneText)
	for i, e := range failure.Exits() {
		manItem(&b, fmt.Sprint(i+1), string(e.Step)+": "+e.What)
	}
	manSee(&b, append(names, fileName+"(5)", "tunnel-protocol(7)")...)
	pages[app.Name+".8"] = b.String()
	return pages
}

// commandPage returns the page of a command and of those below it.
func commandPage(name string, c *cli.Command) string {
	var b strings.Builder
	manHead(&b, name, "8", c.Usage)
	words := strings.ReplaceAll(name, "-", " ")
	switch {
	case len(c.Subcommands) > 0:
		manSection(&b, "SYNOPSIS", words+" COMMAND [OPTIONS] [ARGUMENTS]")
	default:
		manSection(&b, "SYNOPSIS", strings.TrimSpace(words+" [OPTIONS] "+c.ArgsUsage))
	}
	manText(&b, "DESCRIPTION", c.Description)
	manFlags(&b, "OPTIONS", c.Flags)
	for _, sub := range c.Subcommands {
		if sub.Hidden || sub.Name == "help" {
			continue
		}
		title := strings.TrimSpace(words + " " + sub.Name + " " + sub.ArgsUsage)
		manText(&b, title, strings.TrimSpace(sub.Usage+"\n\n"+sub.Description))
		manFlags(&b, "", sub.Flags)
	}
	manSee(&b, "tunnel(8)", fileName+"(5)")
	return b.String()
}

// fileName is the name of the page that describes configuration files.
const fileName = "tunnel.yaml"

// filePage returns the page of the configuration files.
func filePage() string {
	var b strings.Builder
	manHead(&b, fileName, "5", "settings of tunnel serve and tunnel connect")
	manSection(&b, "SYNOPSIS", "/etc/tunnel/serve.yaml, /etc/tunnel/connect.yaml")
	manText(&b, "DESCRIPTION", configCommand().Description)
	manText(&b, "VALUES", "A value comes from its default, the file, the environment, or a flag. "+
		"Each of these overrides those\nnamed before it. A setting that may be given several "+
		"times takes a list. Paths are relative to the\ndirectory of the file. An unknown key is "+
		"an error. A file with a secret must be readable by its\nowner only.\n\nThe units "+
		"tunnel-serve.service and tunnel-connect@NAME.service read serve.yaml and NAME.yaml.")
	for _, of := range []struct {
		title    string
		settings []*setting.Setting
	}{
		{"KEYS OF SERVE.YAML", config.DefaultServe().Settings()},
		{"KEYS OF CONNECT.YAML", config.DefaultConnect().Settings()},
	} {
		manSection(&b, of.title, "In brackets: the variable of the environment.")
		for _, s := range of.settings {
			if s.FlagOnly {
				continue
			}
			text := sentence(s.Usage)
			if s.More != "" {
				text += " " + sentence(s.More)
			}
			if value := s.Shown(); value != "" {
				text += " Default: " + value + "."
			}
			text = strings.NewReplacer("`", "", `\|`, "|").Replace(text)
			manItem(&b, s.Name+": "+string(s.Kind()), text+" ["+s.Variable()+"]")
		}
	}
	manSee(&b, "tunnel-serve(8)", "tunnel-connect(8)", "tunnel-config(8)")
	return b.String()
}

func manHead(b *strings.Builder, name, section, usage string) {
	fmt.Fprintf(b, ".\\\" written by make docs\n.TH %s %s \"\" tunnel\n", strings.ToUpper(name),
		section)
	manSection(b, "NAME", name+" - "+usage)
}

func manSection(b *strings.Builder, title, text string) {
	fmt.Fprintf(b, ".SH %s\n%s\n", roff(title), roff(text))
}

// manText writes a section with paragraphs. Indented lines of a help text are examples.
func manText(b *strings.Builder, title, text string) {
	if strings.TrimSpace(text) == "" {
		return
	}
	fmt.Fprintf(b, ".SH \"%s\"\n", roff(title))
	example := false
	for line := range strings.Lines(strings.TrimSpace(text) + "\n") {
		line = strings.TrimRight(line, "\n")
		switch indented := strings.HasPrefix(line, "   "); {
		case indented != example && indented:
			b.WriteString(".RS 4\n.nf\n")
			example = true
		case indented != example && line != "":
			b.WriteString(".fi\n.RE\n.PP\n")
			example = false
		}
		switch {
		case line != "":
			b.WriteString(roff(strings.TrimLeft(line, " ")) + "\n")
		case !example:
			b.WriteString(".PP\n")
		}
	}
	if example {
		b.WriteString(".fi\n.RE\n")
	}
}

func manFlags(b *strings.Builder, title string, flags []cli.Flag) {
	var items []cli.DocGenerationFlag
	for _, f := range flags {
		visible, _ := f.(cli.VisibleFlag)
		described, ok := f.(cli.DocGenerationFlag)
		if ok && (visible == nil || visible.IsVisible()) {
			items = append(items, described)
		}
	}
	if len(items) > 0 && title != "" {
		fmt.Fprintf(b, ".SH %s\n", title)
	}
	for _, f := range items {
		named, _ := f.(cli.Flag)
		text := strings.ReplaceAll(f.GetUsage(), "`", "")
		if value := f.GetDefaultText(); value != "" && f.TakesValue() {
			text += " (default: " + value + ")"
		}
		for _, variable := range f.GetEnvVars() {
			text += " [$" + variable + "]"
		}
		manItem(b, "--"+named.Names()[0]+argument(f.GetUsage()), text)
	}
}

func manItem(b *strings.Builder, name, text string) {
	fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(name), roff(text))
}

// manSee writes the section with other pages, each as tunnel(8).
func manSee(b *strings.Builder, pages ...string) {
	b.WriteString(".SH SEE ALSO\n")
	for i, page := range pages {
		name, section, _ := strings.Cut(page, "(")
		end := ","
		if i == len(pages)-1 {
			end = ""
		}
		fmt.Fprintf(b, ".BR %s (%s%s\n", roff(name), section, end)
	}
}

// roff escapes a text of one or more lines (groff_char(7)): what begins a request, the escape
// character, and the hyphen, which is not the minus that a command line has.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	text = regexp.MustCompile(`(?m)^[.']`).ReplaceAllString(text, `\&$0`)
	return regexp.MustCompile(`[^\x00-\x7f]`).ReplaceAllStringFunc(text, func(char string) string {
		r, _ := utf8.DecodeRuneInString(char)
		return fmt.Sprintf(`\[u%04X]`, r)
	})
}
