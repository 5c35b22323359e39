package web

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"tunnel/admin/audit"
	"tunnel/admin/units"
	"tunnel/auth"
)

// Trail is the hub's audit log: an *audit.Recorder.
type Trail interface {
	Record(e audit.Entry)
	// Tail returns the latest n entries, or as many as are kept, the newest last.
	Tail(n int) []audit.Entry
}

// record notes in the audit log that a token was changed by the page, from where and by which
// session: all of them may come from the same proxy, or port that SSH forwards.
func (p *Page) record(event audit.Event, t auth.Token, r *http.Request, s session) {
	e := audit.OfToken(event, t)
	e.Remote, e.Reason = r.RemoteAddr, "by the web page, session "+s.id
	p.Trail.Record(e)
}

// trail is the page of the audit log.
type trail struct {
	page
	Filter string
	Rows   []entryRow
	More   int // rows that are not shown
}

// entryRow is an entry.
type entryRow struct{ Time, Event, Token, Who, From, Detail string }

func (p *Page) showTrail(w http.ResponseWriter, r *http.Request, s session) {
	view := trail{page: s.page("Audit log", "audit"),
		Filter: r.FormValue("q")}
	all := p.Trail.Tail(maxEntries)
	slices.Reverse(all)
	var rows []entryRow
	for _, e := range all {
		rows = append(rows, entryOf(e))
	}
	view.Rows, view.More = filtered(rows, view.Filter, func(r entryRow) string {
		return strings.Join([]string{r.Event, r.Token, r.Who, r.From, r.Detail}, " ")
	})
	p.show(w, http.StatusOK, "audit", view)
}

// maxEntries is how many entries the page looks through.
const maxEntries = 512

func entryOf(e audit.Entry) entryRow {
	row := entryRow{Time: e.Time.Local().Format(time.DateTime), Token: e.Token, From: e.Remote,
		Event: strings.ReplaceAll(string(e.Event), "_", " "),
		Who:   cmp.Or(e.LoginUser, e.User, userOf(e.Login), userOf(e.UID))}
	var details []string
	add := func(text string) {
		if text != "" {
			details = append(details, text)
		}
	}
	if e.Address.IsValid() {
		add(e.Address.String())
	}
	add(e.Subject)
	add(e.Reason)
	add(e.Detail)
	if e.End != nil {
		began := time.Time{}
		add("after " + units.Age(began.Add(time.Duration(e.End.Seconds*float64(time.Second))), began))
		add(units.Size(e.End.Received) + " in, " + units.Size(e.End.Sent) + " out")
	}
	for _, one := range countOf(e.Omitted).Reasons {
		add(fmt.Sprintf("%s %d", one.Name, one.Count))
	}
	if e.Lost > 0 {
		add(fmt.Sprintf("%d lost", e.Lost))
	}
	row.Detail = strings.Join(details, "; ")
	return row
}

func userOf(uid *uint32) string {
	if uid == nil {
		return ""
	}
	return fmt.Sprintf("uid %d", *uid)
}
