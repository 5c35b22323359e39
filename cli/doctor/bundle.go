package doctor

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"tunnel/cli/invocation"
	"tunnel/cli/output"
	"tunnel/cmdrun"
	"tunnel/config/setting"
	"tunnel/doctor"
	"tunnel/doctor/bundle"
	"tunnel/journal"
	"tunnel/transport/redact"
)

// writeBundle writes a new file, which others may not read.
func writeBundle(c *cli.Context, name string, t told, run cmdrun.Runner, r doctor.Report) error {
	var archive bytes.Buffer
	files := append(ofReport(r), ofMachine(c, run)...)
	files = append(append(files, ofConfiguration(t)...), ofJournals()...)
	if err := bundle.Write(&archive, time.Now(), files, secrets(t)); err != nil {
		return err
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(archive.Bytes())
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err != nil {
		_ = os.Remove(name) // half a file
	}
	return err
}

func ofReport(r doctor.Report) []bundle.File {
	var text bytes.Buffer
	if err := output.WriteJSON(&text, r, true); err != nil {
		fmt.Fprintln(&text, err)
	}
	return []bundle.File{{Name: "doctor.json", Text: text.Bytes()},
		{Name: "version.txt", Text: []byte(r.Version + "\n")}}
}

// ofMachine runs commands that change nothing, and keeps what they print, or why they do not.
func ofMachine(c *cli.Context, run cmdrun.Runner) (files []bundle.File) {
	own, err := os.Executable()
	if err != nil {
		own = "tunnel"
	}
	for _, each := range []struct {
		name string
		argv []string
	}{
		{"status.json", []string{own, "status", "--json"}},
		{"ip-addr.txt", []string{"ip", "-d", "addr"}},
		{"ip-route4.txt", []string{"ip", "-d", "-4", "route", "show", "table", "all"}},
		{"ip-route6.txt", []string{"ip", "-d", "-6", "route", "show", "table", "all"}},
		{"ip-rule4.txt", []string{"ip", "-d", "-4", "rule"}},
		{"ip-rule6.txt", []string{"ip", "-d", "-6", "rule"}},
		{"nft.txt", []string{"nft", "list", "ruleset"}},
		{"uname.txt", []string{"uname", "-a"}},
	} {
		text, err := run.Run(c.Context, cmdrun.Command{Program: each.argv[0], Args: each.argv[1:],
			Routine: true})
		if err != nil {
			text = []byte(err.Error() + "\n")
		}
		files = append(files, bundle.File{Name: each.name, Text: text})
	}
	const resolvers = "/etc/resolv.conf"
	text, err := os.ReadFile(resolvers)
	if err != nil {
		text = []byte(err.Error() + "\n")
	}
	return append(files, bundle.File{Name: "resolv.conf", Text: text})
}

// ofConfiguration shows the values in effect, as `tunnel config show` does.
func ofConfiguration(t told) (files []bundle.File) {
	for _, i := range t.all() {
		name := "config-connect.yaml"
		if i.Serve != nil {
			name = "config-serve.yaml"
		}
		var text bytes.Buffer
		if err := setting.Show(&text, i.Settings(), i.Common.From); err != nil {
			fmt.Fprintln(&text, err)
		}
		files = append(files, bundle.File{Name: name, Text: text.Bytes()})
	}
	return files
}

// ofJournals has the journals of this network namespace: what runs have added to the kernel.
func ofJournals() (files []bundle.File) {
	dirs, err := journal.Dirs()
	if err != nil {
		return []bundle.File{{Name: "journals.txt", Text: []byte(err.Error() + "\n")}}
	}
	all, err := journal.Beside(dirs, journal.Suffix)
	if err != nil {
		return []bundle.File{{Name: "journals.txt", Text: []byte(err.Error() + "\n")}}
	}
	for _, j := range all {
		text, err := os.ReadFile(filepath.Join(j.Dir, j.Name+journal.Suffix))
		if err != nil {
			text = []byte(err.Error() + "\n")
		}
		files = append(files, bundle.File{Name: "journal-" + j.Dev + journal.Suffix, Text: text})
	}
	return files
}

// secrets returns what the configuration and the environment have of secrets.
func secrets(t told) (all redact.Set) {
	ofURL := func(u *url.URL) {
		if u != nil {
			all = all.AndLogin(u.User).And(u.RawQuery)
		}
	}
	for _, i := range t.all() {
		token, _ := i.Token() // its error is reported where it is used
		all = all.And(token)
		if o := i.Connect; o != nil {
			header := http.Header{}
			for _, h := range o.Header {
				header.Add(h.Name, h.Value)
			}
			all = all.AndRequest(token, header)
			ofURL(o.Proxy.URL)
			for _, s := range o.Servers {
				ofURL(s.URL)
			}
		}
	}
	for _, name := range []string{"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"} {
		for _, name := range []string{name, strings.ToLower(name)} {
			if text := os.Getenv(name); text != "" {
				if !strings.Contains(text, "://") {
					text = "http://" + text
				}
				u, err := url.Parse(text)
				if err == nil {
					ofURL(u)
				}
			}
		}
	}
	return all.And(os.Getenv(invocation.Variable(invocation.FlagToken)[0]))
}
