package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"tunnel/e2e/lab"
)

// nginxConf is the configuration around the server blocks of a test. Debian's nginx writes only
// below the prefix %[1]s; %[2]s is the rest of the http block.
const nginxConf = `user root;
worker_processes 1;
daemon off;
pid %[1]s/nginx.pid;
error_log stderr notice;
events { worker_connections 256; }
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	%[2]s
}
`

// startNginx runs nginx with server blocks on a host until the end of the test.
func startNginx(t *testing.T, h *lab.Host, servers string) *lab.Proc {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, dir, servers), 0o644); err != nil {
		t.Fatal(err)
	}
	p := h.Start("nginx", "-p", dir, "-c", conf, "-e", "stderr")
	p.WaitFor("start worker process ", soon)
	t.Cleanup(func() {
		p.Signal(syscall.SIGTERM)
		p.Wait(soon)
	})
	return p
}
