// Package kubernetes_test holds the manifests beside it to the types of Kubernetes. It is a module
// of its own, so that neither the program nor its go.mod depends on them.
package kubernetes_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// decode reads a manifest strictly: an unknown field, or one that is there twice, is an error.
func decode(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// TestManifests decodes each manifest, and holds the tunnel in it to what it is to have: no
// capability but CAP_NET_ADMIN, a root that cannot be written, health, and mounts that exist.
func TestManifests(t *testing.T) {
	var sidecar apps.Deployment
	decode(t, "sidecar.yaml", &sidecar)
	if kind := sidecar.APIVersion + " " + sidecar.Kind; kind != "apps/v1 Deployment" {
		t.Errorf("sidecar.yaml is %s", kind)
	}
	pod := sidecar.Spec.Template.Spec
	check(t, "sidecar.yaml", pod, pod.InitContainers, "/dev/net/tun")
	if len(pod.InitContainers) != 1 || len(pod.Containers) != 1 || pod.HostNetwork {
		t.Error("sidecar.yaml: there is more than a program and its tunnel")
	}
	if c := pod.Containers[0]; len(c.VolumeMounts) != 0 || c.SecurityContext != nil {
		t.Errorf("sidecar.yaml: the program has %+v and %+v", c.VolumeMounts, c.SecurityContext)
	}
	if r := pod.InitContainers[0].RestartPolicy; r == nil || *r != core.ContainerRestartPolicyAlways {
		t.Errorf("sidecar.yaml: an init container with the restart policy %v is no sidecar", r)
	}
	if p := pod.InitContainers[0].StartupProbe; p == nil || p.Exec == nil ||
		!slices.Equal(p.Exec.Command, []string{"tunnel", "status", "--check"}) {
		t.Errorf("sidecar.yaml: the program waits for %+v", p)
	} else if wait := time.Duration(p.PeriodSeconds) * time.Second; wait == 0 ||
		time.Duration(p.FailureThreshold) < 10*365*24*time.Hour/wait {
		t.Errorf("sidecar.yaml: the tunnel is killed after %d probes without a hub", p.FailureThreshold)
	}
	selects(t, "sidecar.yaml", sidecar.Spec.Selector.MatchLabels, sidecar.Spec.Template.Labels)

	var daemon apps.DaemonSet
	decode(t, "daemonset.yaml", &daemon)
	if kind := daemon.APIVersion + " " + daemon.Kind; kind != "apps/v1 DaemonSet" {
		t.Errorf("daemonset.yaml is %s", kind)
	}
	pod = daemon.Spec.Template.Spec
	check(t, "daemonset.yaml", pod, pod.Containers, "/dev/net/tun", "/run/tunnel",
		"/var/lib/tunnel")
	if len(pod.InitContainers) != 0 || len(pod.Containers) != 1 {
		t.Error("daemonset.yaml: there is more than the tunnel")
	}
	if !pod.HostNetwork {
		t.Error("daemonset.yaml: the node does not join")
	}
	selects(t, "daemonset.yaml", daemon.Spec.Selector.MatchLabels, daemon.Spec.Template.Labels)

	if all, err := filepath.Glob("*.yaml"); err != nil || len(all) != 2 {
		t.Errorf("%v, %v: not all manifests are checked", all, err)
	}
}

func selects(t *testing.T, name string, selector, labels map[string]string) {
	t.Helper()
	for key, value := range selector {
		if labels[key] != value {
			t.Errorf("%s selects %s=%s, which its Pods do not have", name, key, value)
		}
	}
}

// check checks the first of these containers, which is the tunnel, and that the Pod has no more of
// the node than hostPaths.
func check(t *testing.T, name string, pod core.PodSpec, in []core.Container, hostPaths ...string) {
	t.Helper()
	if len(in) == 0 || in[0].Name != "tunnel" {
		t.Fatalf("%s: no tunnel", name)
	}
	if pod.HostPID || pod.HostIPC {
		t.Errorf("%s: the tunnel sees processes or memory of the node", name)
	}
	tunnel := in[0]
	if tunnel.LivenessProbe != nil {
		t.Errorf("%s: a probe restarts a tunnel that connects again by itself", name)
	}
	if !strings.Contains(tunnel.Image, "/") || !strings.Contains(tunnel.Image, ":") {
		t.Errorf("%s: the image %s has no registry or no version", name, tunnel.Image)
	}
	c := tunnel.SecurityContext
	if c == nil || c.Capabilities == nil || c.ReadOnlyRootFilesystem == nil ||
		c.AllowPrivilegeEscalation == nil {
		t.Fatalf("%s: the security context is %+v", name, c)
	}
	if !slices.Equal(c.Capabilities.Drop, []core.Capability{"ALL"}) ||
		!slices.Equal(c.Capabilities.Add, []core.Capability{"NET_ADMIN"}) ||
		!*c.ReadOnlyRootFilesystem || *c.AllowPrivilegeEscalation || c.Privileged != nil {
		t.Errorf("%s: the security context is %+v", name, c)
	}
	want := []string{"tunnel", "status", "--check"}
	if p := tunnel.ReadinessProbe; p == nil || p.Exec == nil || len(p.Exec.Command) < len(want) ||
		!slices.Equal(p.Exec.Command[:len(want)], want) {
		t.Errorf("%s: whether it is ready is asked by %+v", name, p)
	}
	volumes := map[string]core.Volume{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = v
		if v.HostPath != nil && !slices.Contains(hostPaths, v.HostPath.Path) {
			t.Errorf("%s: the node's %s is mounted", name, v.HostPath.Path)
		}
	}
	paths := map[string]string{}
	for _, m := range tunnel.VolumeMounts {
		if _, ok := volumes[m.Name]; !ok {
			t.Errorf("%s: there is no volume %s", name, m.Name)
		}
		paths[m.MountPath] = m.Name
	}
	for _, path := range []string{"/dev/net/tun", "/run/tunnel", "/var/lib/tunnel", "/etc/tunnel"} {
		if paths[path] == "" {
			t.Errorf("%s: nothing is mounted at %s", name, path)
		}
	}
	for _, e := range tunnel.Env {
		if e.Name == "TUNNEL_TOKEN" {
			t.Errorf("%s: the token is in the environment", name)
		}
	}
	if v := volumes[paths["/etc/tunnel"]]; v.Secret == nil || v.Secret.DefaultMode == nil ||
		*v.Secret.DefaultMode != 0o400 {
		t.Errorf("%s: the token's file is %+v", name, v.Secret)
	}
}
