package control_test

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"tunnel/control"
)

// What a run answers about a reload is what the command gets; a bad file is told from a failure.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	want := control.Changes{AtOnce: []string{"dns"}, Restart: []string{"mtu (serve.yaml:3)"}}
	var bad error
	startReloading(t, dir, control.Reloads{File: "/etc/tunnel/serve.yaml",
		Do: func(context.Context) (control.Changes, error) { return want, bad }})
	c := control.NewClient(dir)
	if file, err := c.File(t.Context()); err != nil || file != "/etc/tunnel/serve.yaml" {
		t.Errorf("the file is %q, %v", file, err)
	}
	if got, err := c.Reload(t.Context()); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("reloaded %+v, %v", got, err)
	}
	bad = errors.New("serve.yaml:1: one\nserve.yaml:2: two")
	var wrong control.BadFileError
	if _, err := c.Reload(t.Context()); !errors.As(err, &wrong) || wrong.Error() != bad.Error() {
		t.Errorf("a bad file: %v", err)
	}
	if _, err := control.NewClient(t.TempDir()).Reload(t.Context()); !errors.Is(err,
		control.ErrNoServer) {
		t.Errorf("without a server: %v", err)
	}
}
