package token

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
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
		"NAME\tKIND\tADDRESS\tROUTES\tMAX SESSIONS\tEXPIRES\tCERT CN\tCREATED\tLAST "+
			"USED\tCONNECTED")
	for _, t := range all {
		address, routes, sessions, expires, used, live := "-", "-", maxSessionsText(t.Token),
			"never", "never", "-"
		certCN := cmp.Or(t.CertCN, "-")
		if t.Address.IsValid() {
			address = t.Address.String()
		}
		if len(t.Routes) > 0 {
			routes = joined(t.Routes)
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
		cells := []string{t.Name, string(t.Kind), address, routes, sessions, expires, certCN,
			moment(t.Created), used, live}
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

func joined(prefixes []netip.Prefix) string {
	var all []string
	for _, p := range prefixes {
		all = append(all, p.String())
	}
	return strings.Join(all, ",")
}

func moment(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }
