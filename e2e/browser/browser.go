// Package browser drives a real Chromium on a host of a lab, by the DevTools protocol over a pipe
// (https://chromedevtools.github.io/devtools-protocol/). It has what tests of one web page need; a
// client library of the whole protocol would be larger than this program.
package browser

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"tunnel/e2e/lab"
)

// callLimit bounds each call of the browser.
const callLimit = 30 * time.Second

// Browser is a running Chromium with one window. Its methods are for one goroutine, and end the
// test on failure.
type Browser struct {
	t       lab.TB
	proc    *lab.Proc
	in      *os.File
	dir     string
	session string // of the window
	next    int

	mu       sync.Mutex // guards the rest
	answers  map[int]chan message
	requests []string
	errors   []string
}

// message is what the browser sends: an answer, or an event.
type message struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// Start starts a browser on a host, with its files in a directory, and accepts any certificate.
// Close it.
func Start(t lab.TB, h *lab.Host, dir string) *Browser {
	t.Helper()
	b := &Browser{t: t, dir: dir, answers: map[int]chan message{}}
	fromUs, in, err := os.Pipe()
	if err != nil {
		t.Fatalf("browser: %v", err)
	}
	out, toUs, err := os.Pipe()
	if err != nil {
		t.Fatalf("browser: %v", err)
	}
	b.in = in
	// Root cannot use its sandbox.
	cmd := h.Command("chromium", "--headless=new", "--no-sandbox", "--remote-debugging-pipe",
		"--user-data-dir="+filepath.Join(dir, "profile"), "--no-first-run", "--no-proxy-server",
		"--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
		"--disable-component-update", "--hide-scrollbars", "about:blank")
	cmd.Env = append(cmd.Env, "HOME="+dir)
	cmd.ExtraFiles = []*os.File{fromUs, toUs}
	b.proc = h.StartCommand(cmd)
	_, _ = fromUs.Close(), toUs.Close()
	go b.read(out)

	var targets struct {
		Infos []struct {
			ID   string `json:"targetId"`
			Type string `json:"type"`
		} `json:"targetInfos"`
	}
	b.call("Target.getTargets", nil, &targets)
	for _, info := range targets.Infos {
		if info.Type == "page" && b.session == "" {
			var attached struct {
				Session string `json:"sessionId"`
			}
			b.call("Target.attachToTarget", values{"targetId": info.ID, "flatten": true}, &attached)
			b.session = attached.Session
		}
	}
	if b.session == "" {
		t.Fatalf("browser: no window among %+v", targets)
	}
	for _, domain := range []string{"Page", "Runtime", "Network", "Log"} {
		b.call(domain+".enable", nil, nil)
	}
	b.call("Emulation.setFocusEmulationEnabled", values{"enabled": true}, nil)
	b.call("Security.setIgnoreCertificateErrors", values{"ignore": true}, nil)
	return b
}

type values map[string]any

// Close ends the browser.
func (b *Browser) Close() {
	b.session = ""
	b.call("Browser.close", nil, nil)
	b.proc.Wait(callLimit)
	_ = b.in.Close()
}

// read gives out what the browser sends, until it ends.
func (b *Browser) read(out *os.File) {
	defer func() { _ = out.Close() }()
	for r := bufio.NewReader(out); ; {
		text, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m message
		if err := json.Unmarshal(text[:len(text)-1], &m); err != nil {
			m = message{Method: "Unreadable", Params: text[:len(text)-1]}
		}
		b.mu.Lock()
		if to := b.answers[m.ID]; to != nil {
			delete(b.answers, m.ID)
			to <- m
		}
		b.note(m)
		b.mu.Unlock()
	}
}

// note keeps requests and errors; the caller holds mu.
func (b *Browser) note(m message) {
	var e struct {
		Request struct {
			URL string `json:"url"`
		} `json:"request"`
		Entry struct {
			Level string `json:"level"`
			Text  string `json:"text"`
			URL   string `json:"url"`
		} `json:"entry"`
		Type string `json:"type"`
	}
	_ = json.Unmarshal(m.Params, &e)
	switch {
	case m.Method == "Network.requestWillBeSent":
		b.requests = append(b.requests, e.Request.URL)
	case m.Method == "Log.entryAdded" && (e.Entry.Level == "error" || e.Entry.Level == "warning"):
		b.errors = append(b.errors, e.Entry.Text+" "+e.Entry.URL)
	case m.Method == "Runtime.exceptionThrown", m.Method == "Unreadable",
		m.Method == "Runtime.consoleAPICalled" && e.Type != "log":
		b.errors = append(b.errors, string(m.Params))
	}
}

// Requests returns the URLs that the browser has asked for.
func (b *Browser) Requests() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.requests...)
}

// Errors returns what the browser's console has shown since the last call: errors and warnings,
// violations of the page's policy among them.
func (b *Browser) Errors() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.errors
	b.errors = nil
	return all
}

// call calls a method of the protocol, and reads its result into result, nil for none.
func (b *Browser) call(method string, params, result any) {
	b.t.Helper()
	b.next++
	to := make(chan message, 1)
	b.mu.Lock()
	b.answers[b.next] = to
	b.mu.Unlock()
	send := values{"id": b.next, "method": method}
	if params != nil {
		send["params"] = params
	}
	if b.session != "" {
		send["sessionId"] = b.session
	}
	text, err := json.Marshal(send)
	if err == nil {
		_, err = b.in.Write(append(text, 0))
	}
	if err == nil {
		select {
		case m := <-to:
			switch {
			case m.Error != nil:
				err = errors.New(m.Error.Message)
			case result != nil:
				err = json.Unmarshal(m.Result, result)
			}
		case <-time.After(callLimit):
			err = fmt.Errorf("no answer within %v\n%s", callLimit, b.proc.Stderr())
		}
	}
	if err != nil {
		b.t.Fatalf("browser: %s: %v", method, err)
	}
}

// Open goes to a URL, and waits until it is loaded. An address or interface that comes meanwhile
// has the browser give up, and Open tries again.
func (b *Browser) Open(url string) {
	b.t.Helper()
	for range 5 {
		b.Eval("window.left = true", nil)
		var went struct {
			Error string `json:"errorText"`
		}
		b.call("Page.navigate", values{"url": url}, &went)
		b.Until("the page is loaded", "!window.left && document.readyState === 'complete'")
		switch went.Error {
		case "":
			return
		case "net::ERR_NETWORK_CHANGED":
			b.Errors() // the console has it, too
		default:
			b.t.Fatalf("browser: %s: %s", url, went.Error)
		}
	}
	b.t.Fatalf("browser: %s: the network changes again and again", url)
}

// Eval evaluates an expression in the page, and reads its value into value, nil for none.
func (b *Browser) Eval(expression string, value any) {
	b.t.Helper()
	var answer struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception *struct {
			Text string `json:"text"`
		} `json:"exceptionDetails"`
	}
	b.call("Runtime.evaluate", values{"expression": expression, "returnByValue": true,
		"awaitPromise": true}, &answer)
	if answer.Exception != nil {
		b.t.Fatalf("browser: %s: %s %s", expression, answer.Exception.Text, answer.Result.Value)
	}
	if value == nil || len(answer.Result.Value) == 0 {
		return
	}
	if err := json.Unmarshal(answer.Result.Value, value); err != nil {
		b.t.Fatalf("browser: %s: %v", expression, err)
	}
}

// Until waits until a condition in the page is true.
func (b *Browser) Until(what, condition string) {
	b.t.Helper()
	for deadline := time.Now().Add(callLimit); ; time.Sleep(50 * time.Millisecond) {
		var ok bool
		b.Eval("Boolean("+condition+")", &ok)
		if ok {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("browser: not within %v: %s\n%s", callLimit, what, b.Text())
		}
	}
}

// Text returns the text of the page.
func (b *Browser) Text() (text string) {
	b.t.Helper()
	b.Eval("document.body.innerText", &text)
	return text
}

// Press presses a key: Tab, Enter or Space.
func (b *Browser) Press(key string) {
	b.t.Helper()
	k := map[string]values{
		"Tab":   {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9},
		"Enter": {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"},
		"Space": {"key": " ", "code": "Space", "windowsVirtualKeyCode": 32, "text": " "},
	}[key]
	for _, kind := range []string{"keyDown", "keyUp"} {
		k["type"] = kind
		b.call("Input.dispatchKeyEvent", k, nil)
	}
}

// Type types a text.
func (b *Browser) Type(text string) {
	b.t.Helper()
	b.call("Input.insertText", values{"text": text}, nil)
}

// focused is the name of what has the focus, as a screen reader says it.
const focused = `(() => { const e = document.activeElement;
	const text = e.labels?.length ? e.labels[0].textContent : e.textContent;
	return text.replace(/\s+/g, " ").trim() })()`

// TabTo presses Tab until what has a name has the focus, and can be seen to have it.
func (b *Browser) TabTo(name string) {
	b.t.Helper()
	var seen []string
	for range 60 {
		var at string
		if b.Eval(focused, &at); at == name {
			b.Until("the focus can be seen",
				`getComputedStyle(document.activeElement).outlineStyle !== "none"`)
			return
		}
		seen = append(seen, at)
		b.Press("Tab")
	}
	b.t.Fatalf("browser: Tab does not lead to %q, but to %.500s", name, fmt.Sprintf("%q", seen))
}

// Follow presses Enter on what has the focus, and waits for the next page.
func (b *Browser) Follow() {
	b.t.Helper()
	b.Eval("window.left = true", nil)
	b.Press("Enter")
	b.Until("the next page", "!window.left && document.readyState === 'complete'")
}

// Look sets the width and height of the window, and its color scheme, light or dark.
func (b *Browser) Look(width, height int, scheme string) {
	b.t.Helper()
	b.call("Emulation.setDeviceMetricsOverride", values{"width": width, "height": height,
		"deviceScaleFactor": 1, "mobile": width < 500}, nil)
	b.call("Emulation.setEmulatedMedia", values{"features": []values{
		{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// Screenshot writes the whole page into a PNG file.
func (b *Browser) Screenshot(file string) {
	b.t.Helper()
	var shot struct {
		Data string `json:"data"`
	}
	b.call("Page.captureScreenshot", values{"captureBeyondViewport": true}, &shot)
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	if err == nil {
		err = os.WriteFile(file, data, 0o644)
	}
	if err != nil {
		b.t.Fatalf("browser: %v", err)
	}
}

// Cookies returns the cookies of the page, a line each: name, and attributes that are set.
func (b *Browser) Cookies() (all []string) {
	b.t.Helper()
	var answer struct {
		Cookies []struct {
			Name, Path, SameSite string
			HTTPOnly             bool `json:"httpOnly"`
			Secure               bool
		}
	}
	b.call("Network.getCookies", nil, &answer)
	for _, c := range answer.Cookies {
		words := []string{c.Name, c.Path, c.SameSite}
		if c.HTTPOnly {
			words = append(words, "HttpOnly")
		}
		if c.Secure {
			words = append(words, "Secure")
		}
		all = append(all, strings.Join(words, " "))
	}
	return all
}
