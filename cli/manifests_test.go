package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"tunnel/cli/invocation"
	"tunnel/config"
)

// TestDeployedVariables holds the variables in the files of deploy/ to those that there are.
func TestDeployedVariables(t *testing.T) {
	known := []string{"TUNNEL_URL"}
	for _, s := range slices.Concat(config.DefaultServe().Settings(),
		config.DefaultConnect().Settings()) {
		known = append(known, invocation.Variable(s.Name)...)
	}
	files, err := filepath.Glob("../deploy/kubernetes/*.yaml")
	if err != nil || len(files) != 2 {
		t.Fatalf("%v, %v", files, err)
	}
	found := 0
	for _, file := range append(files, "../deploy/compose.yaml", "../deploy/Dockerfile") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\bTUNNEL_[A-Z_]+`).FindAllString(string(text), -1) {
			found++
			if !slices.Contains(known, name) {
				t.Errorf("%s sets %s, which nothing reads", file, name)
			}
		}
	}
	if found < 12 {
		t.Errorf("found %d variables only", found)
	}
}
