package ipcmd_test

import (
	"os"
	"path/filepath"
	"testing"

	"tunnel/ipcmd"
)

// seed adds what the real ip printed, whole and cut short.
func seed(f *testing.F, pattern string) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("../testdata/ip", pattern))
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds %s: %v", pattern, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
		f.Add(content[:len(content)/2])
	}
}

func FuzzParseRouteGet(f *testing.F) {
	seed(f, "route-get-*.json")
	f.Fuzz(func(t *testing.T, out []byte) {
		way, err := ipcmd.ParseRouteGet(out)
		if err == nil && (!way.Dst.IsValid() || way.Type == "") {
			t.Errorf("accepted %q as %+v", out, way)
		}
	})
}

func FuzzParseRoutes(f *testing.F) {
	seed(f, "route-show*.json")
	f.Fuzz(func(t *testing.T, out []byte) {
		routes, err := ipcmd.ParseRoutes(out)
		for _, route := range routes {
			if err != nil || !route.Dst.IsValid() || route.Type == "" || route.Table == "" {
				t.Errorf("accepted %q as %+v, %v", out, route, err)
			}
		}
	})
}

func FuzzParseAddrs(f *testing.F) {
	seed(f, "addr-show*.json")
	f.Fuzz(func(t *testing.T, out []byte) {
		addrs, err := ipcmd.ParseAddrs(out)
		for _, addr := range addrs {
			if err != nil || !addr.Local.IsValid() || addr.PrefixLen < 0 || addr.PrefixLen > 32 {
				t.Errorf("accepted %q as %+v, %v", out, addr, err)
			}
		}
	})
}

func FuzzParseLinks(f *testing.F) {
	seed(f, "link-show*.json")
	f.Fuzz(func(t *testing.T, out []byte) {
		links, err := ipcmd.ParseLinks(out)
		for _, link := range links {
			if err != nil || link.Name == "" {
				t.Errorf("accepted %q as %+v, %v", out, link, err)
			}
		}
	})
}
