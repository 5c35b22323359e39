package control_test

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"tunnel/admin/audit"
	"tunnel/auth"
	"tunnel/control"
)

// What a run answers about a reload is what the command gets; a bad file is told from a failure.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	want := control.Changes{AtOnce: []string{"dns"}, Restart: []string{"mtu (serve.yaml:3)"}}
	var bad error
	startReloading(t, dir, control.Reloads{File: "/etc/tunnel/serve.yaml",
		Do: func(context.Context, audit.Actor) (control.Changes, error) { return want, bad }})
	c := control.NewClient(dir)
	if file, err := c.File(t.Context()); err != nil || file != "/etc/tunnel/serve.yaml" {
		t.Errorf("the file is %q, %v", file, err)
	}
	if got, err := c.Reload(t.Context()); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("reloaded %+v, %v", got, err)
	}
	bad = control.BadFileError("serve.yaml:1: one\nserve.yaml:2: two")
	var wrong control.BadFileError
	if _, err := c.Reload(t.Context()); !errors.As(err, &wrong) || wrong.Error() != bad.Error() {
		t.Errorf("a bad file: %v", err)
	}
	bad = errors.New("the parent does not answer")
	if _, err := c.Reload(t.Context()); err == nil || err.Error() != bad.Error() ||
		errors.As(err, &wrong) {
		t.Errorf("a failure: %v", err)
	}
	if _, err := control.NewClient(t.TempDir()).Reload(t.Context()); !errors.Is(err,
		control.ErrNoServer) {
		t.Errorf("without a server: %v", err)
	}
}

// Who makes a backup is recorded; a state that a backup cannot have is told from a wrong answer.
func TestExport(t *testing.T) {
	dir := t.TempDir()
	recorded := make(chan audit.Entry, 2)
	startRecorded(t, dir, func(e audit.Entry) { recorded <- e })
	uid := uint32(4321)
	c := control.NewClient(dir).By(audit.Actor{UID: &uid})
	if _, _, err := control.NewClient(dir).Create(t.Context(), auth.Spec{Name: "laptop"}); err != nil {
		t.Fatal(err)
	}
	<-recorded
	content, err := c.Export(t.Context(), 1<<20)
	if _, ok := content["token"]; err != nil || !ok {
		t.Errorf("%v, %v", content, err)
	}
	if e := <-recorded; e.Event != audit.StateRead || e.UID == nil || *e.UID != uid {
		t.Errorf("recorded %+v", e)
	}
	var large control.TooLargeError
	if _, err := c.Export(t.Context(), 8); !errors.As(err, &large) || errors.Is(err,
		control.ErrAnswer) {
		t.Errorf("a large state: %v", err)
	}
}
