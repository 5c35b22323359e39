package control_test

import (
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"tunnel/admin/audit"
	"tunnel/auth"
	"tunnel/control"
)

// Each change has an entry with the user who made it, as the kernel knows them; a failure has none.
func TestAudit(t *testing.T) {
	var mu sync.Mutex
	var got []audit.Entry
	dir := t.TempDir()
	startRecorded(t, dir, func(e audit.Entry) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, e)
	})
	as, login := uint32(4321), uint32(1000)
	// as root does, which acts as the server's user
	c, ctx := control.NewClient(dir).By(audit.Actor{UID: &as, Login: &login}), t.Context()
	routes := []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24")}
	made, _, err := c.Create(ctx, auth.Spec{Name: "laptop", Routes: routes})
	if err != nil {
		t.Fatal(err)
	}
	none := []netip.Prefix{}
	if err := c.Set(ctx, "laptop", auth.Change{Routes: &none}); err != nil {
		t.Error(err)
	}
	_, _, err = c.Create(ctx, auth.Spec{Name: "laptop"})
	if err == nil || c.Revoke(ctx, "nobody") == nil {
		t.Error("what cannot be is done")
	}
	if _, err := c.Kick(ctx, "laptop", time.Second); err == nil {
		t.Error("kicked nobody")
	}
	if err := c.Revoke(ctx, "laptop"); err != nil {
		t.Error(err)
	}
	plain := control.NewClient(dir)
	if _, _, err := plain.Create(ctx, auth.Spec{Name: "phone"}); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(got) != 4 {
		t.Fatalf("%+v", got)
	}
	if e := got[3]; e.UID == nil || int(*e.UID) != os.Getuid() {
		t.Errorf("%+v", e)
	}
	for i, event := range []audit.Event{audit.TokenCreated, audit.TokenChanged, audit.TokenRevoked} {
		if e := got[i]; e.Event != event || e.Token != "laptop" || e.TokenID != made.ID ||
			e.Kind != string(auth.KindToken) || e.UID == nil || *e.UID != as || *e.Login != login {
			t.Errorf("%+v", e)
		}
	}
	if e := got[0]; e.TokenID != made.ID || e.Grant == nil || len(*e.Grant.Routes) != 1 {
		t.Errorf("%+v", e)
	}
	if e := got[1]; e.Grant == nil || e.Grant.Routes == nil || len(*e.Grant.Routes) != 0 {
		t.Errorf("%+v", e)
	}
}
