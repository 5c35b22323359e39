package control

import (
	"context"
	"errors"
	"net/http"

	"tunnel/admin/audit"
	"tunnel/state"
)

// Reloads is how a run can be told to read its configuration again.
type Reloads struct {
	// File is the configuration file that it reads; "" if it reads none.
	File string `json:"file,omitempty"`
	// Do reads it again. The error says all that is wrong with it, a line each; nothing has changed
	// then.
	Do func(context.Context) (Changes, error) `json:"-"`
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

// handleExport has mux answer with the content of the state file.
func handleExport(mux *http.ServeMux, export func() (state.Content, error)) {
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		content, err := export()
		answer(w, http.StatusOK, content, err)
	})
}

// Export returns the content of the server's state file at one moment. What it says may be of a
// server that was broken into.
func (c *Client) Export(ctx context.Context) (content state.Content, err error) {
	err = c.call(ctx, http.MethodGet, "/state", nil, http.StatusOK, into(&content))
	return content, err
}

// Changes are what a reload has found changed, by the names of settings: what holds at once, what
// from the next connection on, and what needs a restart, each of these with its place.
type Changes struct {
	AtOnce  []string `json:"at_once,omitempty"`
	Later   []string `json:"later,omitempty"`
	Restart []string `json:"restart,omitempty"`
}

// handleReload has mux answer about a reload.
func handleReload(mux *http.ServeMux, reloads Reloads) {
	mux.HandleFunc("GET /reload", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, reloads, nil)
	})
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, r *http.Request) {
		changes, err := reloads.Do(r.Context())
		if err != nil {
			answer(w, http.StatusBadRequest, failed{err.Error()}, nil)
			return
		}
		answer(w, http.StatusOK, changes, nil)
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
	err = c.call(ctx, http.MethodPost, "/reload", nil, http.StatusOK, into(&changes))
	var refused *refusedError
	if errors.As(err, &refused) {
		err = BadFileError(refused.text)
	}
	return changes, err
}
