package token

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"tunnel/auth"
	"tunnel/cli/failure"
	"tunnel/cli/invocation"
	"tunnel/server"
)

func tokenList(c *cli.Context) error {
	if err := invocation.NoMore(c, 0); err != nil {
		return err
	}
	return withTokens(c, false, func(t tokens) error {
		all, err := t.List(c.Context)
		if err != nil {
			return err
		}
		return printTokens(c.App.Writer, all)
	})
}

func printTokens(w io.Writer, all []server.TokenStatus) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table,
		"NAME\tKIND\tADDRESS\tROUTES\tPUSHED\tDNS\tMAX SESSIONS\tEXPIRES\tCERT CN\tCREATED\t"+
			"LAST USED\tCONNECTED")
	for _, t := range all {
		address := "-"
		sessions, expires, used, live := maxSessionsText(t.Token), "never", "never", "-"
		certCN := cmp.Or(t.CertCN, "-")
		if t.Address.IsValid() {
			address = t.Address.String()
		}
		if !t.Expires.IsZero() {
			expires = moment(t.Expires)
		}
		if t.Expired(time.Now()) {
			expires = "expired"
		}
		if !t.Used.IsZero() {
			used = moment(t.Used)
		}
		if len(t.Sessions) > 0 {
			var clients []string
			for _, s := range t.Sessions {
				clients = append(clients, fmt.Sprintf("%s from %s", s.Address, s.Remote))
			}
			live = strings.Join(clients, ", ")
		}
		cells := []string{t.Name, string(t.Kind), address, list(t.Routes), list(t.PushRoutes),
			list(t.DNS, t.Domains...), sessions, expires, certCN, moment(t.Created), used, live}
		for i := range cells { // a compromised server may send anything
			cells[i] = failure.Printable(cells[i])
		}
		_, _ = fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	return table.Flush()
}

// maxSessionsText returns how many clients a token admits at once; "-" is the server's limit.
func maxSessionsText(t auth.Token) string {
	switch {
	case t.Sole():
		return "1"
	case t.MaxSessions == nil:
		return "-"
	case *t.MaxSessions == 0:
		return "any"
	}
	return strconv.Itoa(*t.MaxSessions)
}

// list returns a cell with all of a list.
func list[T fmt.Stringer](all []T, more ...string) string {
	var texts []string
	for _, one := range all {
		texts = append(texts, one.String())
	}
	return cmp.Or(strings.Join(append(texts, more...), ","), "-")
}

func moment(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }
