package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// engineDirs is where engines keep their data: /tmp may be in memory or not allow device nodes.
	engineDirs = "/var/tmp"

	// bridgeAddr is the engine host's address on Docker's default bridge.
	bridgeAddr = "172.17.0.1"

	// proxyPort is the port of the HTTP proxy to the machine's networks, on every address of the
	// engine's host.
	proxyPort = "3128"

	// engineSoon bounds slow steps: a start of the engine, a pull, a build.
	engineSoon = 5 * time.Minute
)

// engine is a Docker engine of one test. It has its own network, mount and process namespaces, so
// that its bridges, firewall rules, mounts and containers are separate from the machine and end
// with it. It reaches other networks only through an HTTP proxy.
type engine struct {
	t   *testing.T
	dir string // all files of the engine
	pid int
	env []string // environment of its clients
}

// startEngine starts an engine, which ends with the test.
func startEngine(t *testing.T) *engine {
	t.Helper()
	dir, err := os.MkdirTemp(engineDirs, "tunnel-docker-")
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{t: t, dir: dir}
	socket := "unix://" + filepath.Join(dir, "docker.sock")
	for _, kv := range clean(&exec.Cmd{Env: os.Environ()}).Env {
		if !strings.HasPrefix(kv, "DOCKER_") && !strings.HasPrefix(kv, "COMPOSE_") {
			e.env = append(e.env, kv)
		}
	}
	e.env = append(e.env, "DOCKER_HOST="+socket, "DOCKER_CONFIG="+filepath.Join(dir, "config"))

	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cgroup := filepath.Base(dir)
	cmd := exec.CommandContext(context.Background(), "sh", "-ec",
		// /dev/net/tun as udev makes it, open to all
		`mount --make-rprivate /; mount -t proc proc /proc; ip link set dev lo up
		mount -t tmpfs -o mode=755 none /dev/net; mknod -m 666 /dev/net/tun c 10 200
		exec dockerd "$@"`,
		"dockerd", "--host", socket, "--data-root", filepath.Join(dir, "data"),
		"--exec-root", filepath.Join(dir, "exec"), "--pidfile", filepath.Join(dir, "pid"),
		"--bip", bridgeAddr+"/16",
		"--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", cgroup)
	cmd.Env = append(os.Environ(), "HTTP_PROXY=http://127.0.0.1:"+proxyPort,
		"HTTPS_PROXY=http://127.0.0.1:"+proxyPort)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // Pdeathsig is sent when the thread ends, not the process
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // as the first process of its namespace it ends the containers, too
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("start dockerd: %v", err)
	}
	e.pid = cmd.Process.Pid
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(soon):
			_ = cmd.Process.Kill()
			<-ended
		}
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("the end of the engine's log:\n%s", text[max(0, len(text)-4096):])
		}
		log.Close()
		removeCgroups(t, cgroup)
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the engine's directory: %v", err)
		}
	})

	e.startProxy()
	eventually(t, "the engine answers", func() bool {
		select {
		case <-ended:
			t.Fatal("dockerd has ended")
		default:
		}
		_, err := e.run("docker", "version")
		return err == nil
	})
	return e
}

// run runs a client of the engine. It returns its stdout, and its stderr in the error.
func (e *engine) run(argv ...string) (stdout string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), engineSoon)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = e.env
	var outBuf, errBuf strings.Builder
	cmd.Stdout, cmd.Stderr = &outBuf, &errBuf
	if err := cmd.Run(); err != nil {
		return outBuf.String(), fmt.Errorf("%s: %w\n%s%s", strings.Join(argv, " "), err,
			outBuf.String(), errBuf.String())
	}
	return outBuf.String(), nil
}

// must is run for a command that has to succeed. It returns stdout without the last newline.
func (e *engine) must(argv ...string) string {
	e.t.Helper()
	out, err := e.run(argv...)
	if err != nil {
		e.t.Fatal(err)
	}
	return strings.TrimSuffix(out, "\n")
}

// in returns a command that runs a program of this machine on a container's network.
func (e *engine) in(container string, argv ...string) *exec.Cmd {
	e.t.Helper()
	// The engine's own pids are valid only in its process namespace.
	pid := e.must("docker", "inspect", "-f", "{{.State.Pid}}", container)
	args := []string{"--target", strconv.Itoa(e.pid), "--pid", "--mount", "nsenter", "--target",
		pid, "--net"}
	return exec.CommandContext(e.t.Context(), "nsenter", append(args, argv...)...)
}

// startProxy starts an HTTP proxy from the engine's host to the machine's networks.
func (e *engine) startProxy() {
	e.t.Helper()
	lis, err := listenIn(fmt.Sprintf("/proc/%d/ns/net", e.pid), ":"+proxyPort)
	if err != nil {
		e.t.Fatalf("proxy for the engine: %v", err)
	}
	forward := &httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}}
	srv := &http.Server{ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodConnect {
				relay(w, r)
				return
			}
			forward.ServeHTTP(w, r)
		})}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := srv.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
			e.t.Errorf("proxy for the engine: %v", err)
		}
	})
	e.t.Cleanup(func() {
		srv.Close()
		wg.Wait()
	})
}

// relay answers a CONNECT request.
func relay(w http.ResponseWriter, r *http.Request) {
	dialer := &net.Dialer{Timeout: soon}
	up, err := dialer.DialContext(r.Context(), "tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer up.Close()
	w.WriteHeader(http.StatusOK)
	down, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer down.Close()
	go func() {
		_, _ = io.Copy(up, buffered) // either side may close
		up.Close()
	}()
	_, _ = io.Copy(down, up)
}

// listenIn listens inside a network namespace.
func listenIn(netns, addr string) (net.Listener, error) {
	ns, err := os.Open(netns)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	var lis net.Listener
	done := make(chan error)
	go func() {
		// Not unlocked: the thread has left its namespace and must end with the goroutine.
		runtime.LockOSThread()
		err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			lis, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", addr)
		}
		done <- err
	}()
	return lis, <-done
}

// removeCgroups removes the control groups that an engine leaves, in both hierarchies (versions 1
// and 2).
func removeCgroups(t *testing.T, name string) {
	t.Helper()
	var dirs []string
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && strings.Contains(path, "/"+name) {
			dirs = append(dirs, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another program's group that has just ended
		}
		return err
	})
	if err != nil {
		t.Errorf("look for control groups: %v", err)
	}
	for _, dir := range slices.Backward(dirs) { // children first
		if err := os.Remove(dir); err != nil {
			t.Errorf("remove a control group: %v", err)
		}
	}
}
