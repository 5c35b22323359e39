package web

import (
	"bytes"
	"errors"
	"html/template"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"tunnel/admin/audit"
	"tunnel/auth"
	"tunnel/server"
	"tunnel/server/admission"
)

// page is what each page has.
type page struct {
	Title string
	Here  string // the path of its entry in the navigation; "" for none
	CSRF  string // "" before the login
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

func (p *Page) showLogin(w http.ResponseWriter, r *http.Request) {
	if _, ok := p.sessionOf(r); ok {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	p.show(w, http.StatusOK, "login", page{Title: "Log in"})
}

// login answers a code. It is in the fragment of a link, which no browser sends, and in the form
// once the user has pressed the button: what only looks at links uses none up.
func (p *Page) login(w http.ResponseWriter, r *http.Request) {
	remote, _ := netip.ParseAddrPort(r.RemoteAddr)
	source := admission.SourceOf(remote.Addr().Unmap())
	refuse := func(status int, why string) {
		p.Log.Warn("web page: login refused", "remote", r.RemoteAddr, "reason", why)
		p.show(w, status, "login", page{Title: "Log in", Error: why})
	}
	if p.bans.Left(source) > 0 {
		refuse(http.StatusTooManyRequests, "Too many attempts from your address. Wait a few minutes.")
		return
	}
	cookie, ok := p.logins.redeem(strings.TrimSpace(r.PostFormValue("code")), time.Now())
	if !ok {
		p.bans.Fail(source, false)
		refuse(http.StatusForbidden, "This link was used already, or is too old. Get a new one.")
		return
	}
	p.Log.Info("web page: logged in", "remote", r.RemoteAddr)
	http.SetCookie(w, p.cookie(cookie))
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (p *Page) logout(w http.ResponseWriter, r *http.Request, s session) {
	p.logins.end(s)
	http.SetCookie(w, p.cookie(""))
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

// overview is the first page.
type overview struct {
	page
	Live live
}

func (p *Page) showOverview(w http.ResponseWriter, r *http.Request, s session) {
	p.show(w, http.StatusOK, "overview", overview{
		page: page{Title: "Overview", Here: "/", CSRF: s.csrf}, Live: p.live(r)})
}

// showLive answers the part of the overview that changes.
func (p *Page) showLive(w http.ResponseWriter, r *http.Request, _ session) {
	p.show(w, http.StatusOK, "live", p.live(r))
}

func (p *Page) live(r *http.Request) live {
	return p.liveOf(p.sampler.take(sampleAge), r.FormValue("q"))
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
	now := p.sampler.take(0) // what was changed just now is shown
	view := tokens{page: page{Title: "Tokens", Here: "/tokens", CSRF: s.csrf},
		Filter: r.FormValue("q"), None: errors.Is(now.failed, server.ErrNoTokens)}
	view.Rows, view.More = tokenRows(now, view.Filter)
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
		view.Error, view.Form = sentence(err), form
		p.show(w, http.StatusUnprocessableEntity, "tokens", view)
		return
	}
	view.Made = &made{Name: spec.Name, Line: p.Join(text), Note: note}
	p.record(audit.TokenCreated, token, r)
	p.Log.Info("web page: token made", "token", spec.Name, "remote", r.RemoteAddr)
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
	for _, t := range p.sampler.take(0).tokens {
		if t.Name == name {
			p.show(w, http.StatusOK, "revoke", revocation{page: page{Title: "Revoke " + name,
				Here: "/tokens", CSRF: s.csrf}, Name: name, Clients: len(t.Sessions)})
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
		view := p.tokensPage(r, s)
		view.Error = sentence(err)
		p.show(w, http.StatusUnprocessableEntity, "tokens", view)
		return
	}
	p.record(audit.TokenRevoked, token, r)
	p.Log.Info("web page: token revoked", "token", name, "remote", r.RemoteAddr)
	http.Redirect(w, r, "/tokens", http.StatusSeeOther)
}

// prefixes returns the networks in a text, separated by commas or spaces.
func prefixes(text string) (all []netip.Prefix, err error) {
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r <= ' ' }) {
		n, err := netip.ParsePrefix(word)
		if err != nil {
			return nil, errors.New(word + " is not a network like 192.168.7.0/24")
		}
		all = append(all, n)
	}
	return all, nil
}

// sentence returns an error as a sentence.
func sentence(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:] + "."
}
