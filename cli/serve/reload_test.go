package serve

import (
	"net/netip"
	"reflect"
	"testing"

	"tunnel/cli/machine"
	"tunnel/config"
	"tunnel/config/setting"
)

// Each setting that a reload changes without a restart changes what the running server goes by. One
// that is new has to be here, and so in live or in ForwardRules.
func TestEachReloads(t *testing.T) {
	first := map[string]string{"masquerade-only": "masquerade"} // what it needs
	texts := map[string]string{
		"client-to-client": "true", "push-route": "192.168.7.0/24", "masquerade": "true",
		"masquerade-only": "192.168.7.0/24", "dns": "192.168.7.1", "dns-domain": "corp.example",
		"max-connections": "7", "max-per-address": "7", "max-sessions": "7", "max-lanes": "7",
	}
	elsewhere := []string{"log-level", "token", "token-file"} // e2e.TestReload and TestReloadToken
	goesBy := func(told *config.Serve) any {
		behind := []netip.Prefix{netip.MustParsePrefix("192.168.9.0/24")}
		return []any{live(told), machine.ForwardRules(told, behind, nil)}
	}
	set := func(told *config.Serve, name, text string) (s *setting.Setting) {
		t.Helper()
		for _, s = range told.Settings() {
			if s.Name != name {
				continue
			}
			if err := s.Value.Set([]string{text}); err != nil {
				t.Fatalf("%s%v", name, err)
			}
			return s
		}
		t.Fatalf("no setting %s", name)
		return nil
	}
	found := 0
	for _, s := range config.DefaultServe().Settings() {
		text, known := texts[s.Name]
		for _, name := range elsewhere {
			known = known || s.Name == name
		}
		switch {
		case s.Reload == setting.Restart:
			continue
		case !known:
			t.Errorf("%s reloads %s, and this test does not know what it changes", s.Name, s.Reload)
			continue
		}
		found++
		if text == "" {
			continue
		}
		told := config.DefaultServe()
		if needs := first[s.Name]; needs != "" {
			set(told, needs, texts[needs])
		}
		before := goesBy(told)
		set(told, s.Name, text)
		if reflect.DeepEqual(goesBy(told), before) {
			t.Errorf("%s reloads %s, and the server goes by the same", s.Name, s.Reload)
		}
	}
	if found != len(texts)+len(elsewhere) {
		t.Errorf("%d settings reload; want %d", found, len(texts)+len(elsewhere))
	}
}
