package contender

import (
	"os"
	"path/filepath"
	"testing"
)

// The build without judges can be made of the program as it is.
func TestUnchecked(t *testing.T) {
	t.Parallel()
	for file, methods := range judges() {
		text, err := os.ReadFile(filepath.Join("..", "..", file))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := passAll(string(text), methods); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}
