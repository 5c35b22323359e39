package web

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"tunnel/admin/audit"
	"tunnel/auth"
	"tunnel/server"
)

// page is what each page has.
type page struct {
	Title string
	Here  string // the end of the path of its entry in the navigation
	Place string // of the session; "" before the login
	CSRF  string // the same
	Error string
}

// parsed returns the templates.
func parsed() *template.Template {
	return template.Must(template.ParseFS(static, "static/*.html"))
}

// show answers with a template.
func (p *Page) show(w http.ResponseWriter, status int, name string, data any) {
	var text bytes.Buffer
	if err := p.templates.ExecuteTemplate(&text, name, data); err != nil {
		p.Log.Error("the web page cannot show what it should", "page", name, "err", err)
		http.Error(w, "the page cannot be shown; see the log", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(text.Bytes()) // who has hung up need not see it
}

// page returns what a page of the session has.
func (s session) page(title, here string) page {
	return page{Title: title, Here: here, Place: s.place, CSRF: s.csrf}
}

func (p *Page) showLogin(w http.ResponseWriter, _ *http.Request) {
	p.show(w, http.StatusOK, "login", page{Title: "Log in"})
}

// login answers a code. It is in the fragment of a link, which no browser sends, and in the form
// once the user has pressed the button: what only looks at links uses none up.
func (p *Page) login(w http.ResponseWriter, r *http.Request) {
	s, cookie, ok := p.logins.redeem(strings.TrimSpace(r.PostFormValue("code")), time.Now())
	if !ok {
		const why = "This link was used already, or is too old. Get a new one."
		p.Log.Warn("web page: login refused", "remote", r.RemoteAddr, "reason", why)
		p.show(w, http.StatusForbidden, "login", page{Title: "Log in", Error: why})
		return
	}
	p.Log.Info("web page: logged in", "remote", r.RemoteAddr, "session", s.id)
	http.SetCookie(w, p.cookie(s, cookie))
	http.Redirect(w, r, "/s/"+s.place+"/", http.StatusSeeOther)
}

func (p *Page) logout(w http.ResponseWriter, r *http.Request, s session) {
	p.logins.end(s)
	p.Log.Info("web page: logged out", "remote", r.RemoteAddr, "session", s.id)
	http.SetCookie(w, p.cookie(s, ""))
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

// logoutAll ends all sessions, also one that was stolen, and links that nobody has used.
func (p *Page) logoutAll(w http.ResponseWriter, r *http.Request, s session) {
	p.logins.endAll()
	p.Log.Info("web page: all logged out", "remote", r.RemoteAddr, "session", s.id)
	http.SetCookie(w, p.cookie(s, ""))
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

// overview is the first page.
type overview struct {
	page
	Live live
}

func (p *Page) showOverview(w http.ResponseWriter, r *http.Request, s session) {
	p.show(w, http.StatusOK, "overview", overview{
		page: s.page("Overview", ""), Live: p.live(r)})
}

// showLive answers the part of the overview that changes.
func (p *Page) showLive(w http.ResponseWriter, r *http.Request, _ session) {
	p.show(w, http.StatusOK, "live", p.live(r))
}

func (p *Page) live(r *http.Request) live {
	return p.liveOf(p.sampler.take(), r.FormValue("q"))
}

// tokens is the page of tokens.
type tokens struct {
	page
	Filter string
	Made   *made  // the token that was just made; nil for none
	Form   wanted // what the form has
	Rows   []tokenRow
	More   int // rows that are not shown
	None   bool
}

// made is a new token.
type made struct{ Name, Line, Note string }

// wanted are the fields of the form that makes a token.
type wanted struct {
	Name, Networks string
	Lasting        bool
}

// tokensPage returns the page of tokens.
func (p *Page) tokensPage(r *http.Request, s session) tokens {
	all, err := p.Hub.ListTokens() // no sample: what was changed just now is shown
	view := tokens{page: s.page("Tokens", "tokens"),
		Filter: r.FormValue("q"), None: errors.Is(err, server.ErrNoTokens)}
	view.Rows, view.More = tokenRows(all, view.Filter)
	return view
}

func (p *Page) showTokens(w http.ResponseWriter, r *http.Request, s session) {
	p.show(w, http.StatusOK, "tokens", p.tokensPage(r, s))
}

// joinLife is the lifetime of a token for one machine.
const joinLife = time.Hour

// makeToken makes a token, and shows it this once.
func (p *Page) makeToken(w http.ResponseWriter, r *http.Request, s session) {
	form := wanted{Name: strings.TrimSpace(r.PostFormValue("name")),
		Networks: r.PostFormValue("networks"), Lasting: r.PostFormValue("kind") == "lasting"}
	spec := auth.Spec{Name: form.Name}
	note := "It works until it is revoked, for as many machines at once as the hub allows."
	if !form.Lasting {
		spec.Once, spec.Expires = true, time.Now().Add(joinLife)
		note = "It works for the first machine that uses it, within an hour."
	}
	err := auth.CheckName(spec.Name)
	if err == nil {
		spec.Routes, err = prefixes(form.Networks)
	}
	var token auth.Token
	var text string
	if err == nil {
		token, text, err = p.Hub.CreateToken(spec)
	}
	view := p.tokensPage(r, s)
	if err != nil {
		view.Form = form
		p.showFailure(w, view, "make a token", err)
		return
	}
	view.Made = &made{Name: spec.Name, Line: p.Join(text), Note: note}
	p.record(audit.TokenCreated, token, r, s)
	p.Log.Info("web page: token made", "token", spec.Name, "remote", r.RemoteAddr,
		"session", s.id)
	p.show(w, http.StatusCreated, "tokens", view)
}

// revocation asks whether a token is to be revoked.
type revocation struct {
	page
	Name    string
	Clients int
}

func (p *Page) askRevoke(w http.ResponseWriter, r *http.Request, s session) {
	name := r.PathValue("name")
	all, _ := p.Hub.ListTokens() // without tokens there is none of that name
	for _, t := range all {
		if t.Name == name {
			p.show(w, http.StatusOK, "revoke", revocation{page: s.page("Revoke "+name, "tokens"),
				Name: name, Clients: len(t.Sessions)})
			return
		}
	}
	view := p.tokensPage(r, s)
	view.Error = "There is no token of that name any more."
	p.show(w, http.StatusNotFound, "tokens", view)
}

func (p *Page) revokeToken(w http.ResponseWriter, r *http.Request, s session) {
	name := r.PathValue("name")
	token, err := p.Hub.RevokeToken(name)
	if err != nil {
		p.showFailure(w, p.tokensPage(r, s), "revoke a token", err)
		return
	}
	p.record(audit.TokenRevoked, token, r, s)
	p.Log.Info("web page: token revoked", "token", name, "remote", r.RemoteAddr,
		"session", s.id)
	http.Redirect(w, r, "/s/"+s.place+"/tokens", http.StatusSeeOther)
}

// prefixes returns the networks in a text, separated by commas or spaces.
func prefixes(text string) (all []netip.Prefix, err error) {
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r <= ' ' }) {
		n, err := netip.ParsePrefix(word)
		if err != nil {
			return nil, fmt.Errorf("%w: %s is not a network like 192.168.7.0/24", auth.ErrSpec, word)
		}
		all = append(all, n)
	}
	return all, nil
}

// showFailure shows why a change of tokens was not made: what is wrong with the form, or that the
// hub has failed at it, which the log explains.
func (p *Page) showFailure(w http.ResponseWriter, view tokens, step string, err error) {
	status := http.StatusUnprocessableEntity
	if view.Error = sentence(err); !auth.IsRefusal(err) && !errors.Is(err, server.ErrNoTokens) {
		status = http.StatusInternalServerError
		view.Error = "The hub could not " + step + ": see its log, and whether its disk is full."
		p.Log.Error("web page: the hub could not do what was asked", "step", step, "err", err)
	}
	p.show(w, status, "tokens", view)
}

// sentence returns an error as a sentence.
func sentence(err error) string {
	text := []rune(err.Error())
	if len(text) == 0 {
		return "It failed."
	}
	return string(unicode.ToUpper(text[0])) + string(text[1:]) + "."
}
