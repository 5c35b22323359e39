package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"tunnel/admin/audit"
	"tunnel/state"
)

// Reloads is how a run can be told to read its configuration again.
type Reloads struct {
	// File is the configuration file that it reads; "" if it reads none.
	File string `json:"file,omitempty"`
	// Do reads it again, for by. With an error nothing has changed: a BadFileError says all that is
	// wrong with what was read.
	Do func(ctx context.Context, by audit.Actor) (Changes, error) `json:"-"`
}

// Own is what a server tells of itself beside what the hub knows.
type Own struct {
	Join    Join
	Reloads Reloads
	// Link makes a link that logs in to the web page; nil if there is none.
	Link func() Link
	// Export returns what the state file has at one moment: values by bucket and key.
	Export func() (state.Content, error)
	// Record is told what was changed, and by whom.
	Record func(audit.Entry)
}

// longTimeout bounds a request that copies the state, or has the configuration read again.
const longTimeout = time.Minute

// long gives the answer as long as that.
func long(w http.ResponseWriter) {
	until, conn := time.Now().Add(longTimeout), http.NewResponseController(w)
	_ = errors.Join(conn.SetReadDeadline(until), conn.SetWriteDeadline(until)) // of each conn
}

// long returns a Client that waits as long as that for an answer.
func (c *Client) long() *Client {
	web := *c.web
	web.Timeout = longTimeout
	return &Client{web: &web, name: c.name, by: c.by}
}

// handleExport has mux answer with the content of the state file.
func handleExport(mux *http.ServeMux, own Own) {
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, r *http.Request) {
		long(w)
		content, err := own.Export()
		if err == nil {
			own.Record(audit.Entry{Event: audit.StateRead}.By(caller(r)))
		}
		answer(w, http.StatusOK, content, err)
	})
}

// A TooLargeError is that of a state whose JSON has more than so many bytes.
type TooLargeError int64

func (e TooLargeError) Error() string {
	return fmt.Sprintf("the server's state has more than %d bytes, a backup cannot", int64(e))
}

// Export returns the content of the server's state file at one moment. What it says may be of a
// server that was broken into. The error is a TooLargeError if its JSON has more than most bytes.
func (c *Client) Export(ctx context.Context, most int64) (content state.Content, err error) {
	err = c.long().call(ctx, http.MethodGet, "/state", nil, http.StatusOK,
		func(body io.Reader) error {
			return json.NewDecoder(limited(body, most)).Decode(&content)
		})
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		err = TooLargeError(most)
	}
	return content, err
}

// Changes are what a reload has found changed, by the names of settings: what holds at once, what
// from the next connection on, and what needs a restart, each of these with its place. Failed says
// what does not hold although it should, and Files are the settings whose files were read again.
type Changes struct {
	AtOnce  []string `json:"at_once,omitempty"`
	Later   []string `json:"later,omitempty"`
	Restart []string `json:"restart,omitempty"`
	Failed  string   `json:"failed,omitempty"`
	Files   []string `json:"files,omitempty"`
}

// handleReload has mux answer about a reload.
func handleReload(mux *http.ServeMux, reloads Reloads) {
	mux.HandleFunc("GET /reload", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, reloads, nil)
	})
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, r *http.Request) {
		long(w)
		changes, err := reloads.Do(r.Context(), caller(r))
		answer(w, http.StatusOK, changes, err)
	})
}

// Of returns a Client for the client whose journal has that name in dir.
func Of(dir, journal string) *Client { return newClient(dir, journal+ClientSuffix) }

// File returns the name of the configuration file that the run reads.
func (c *Client) File(ctx context.Context) (string, error) {
	var reloads Reloads
	err := c.call(ctx, http.MethodGet, "/reload", nil, http.StatusOK, into(&reloads))
	return reloads.File, err
}

// A BadFileError is why a reload has changed nothing, a line for each problem.
type BadFileError string

func (e BadFileError) Error() string { return string(e) }

// Reload has the run read its configuration again, and returns what has changed. The error is a
// BadFileError if it has not applied it.
func (c *Client) Reload(ctx context.Context) (changes Changes, err error) {
	err = c.long().call(ctx, http.MethodPost, "/reload", nil, http.StatusOK, into(&changes))
	var refused *refusedError
	if errors.As(err, &refused) {
		err = BadFileError(refused.text)
	}
	return changes, err
}
