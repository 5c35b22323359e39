package contender

import (
	"strings"
	"testing"
)

func TestCertificates(t *testing.T) {
	t.Parallel()
	if err := writeCertificates(t.TempDir()); err != nil {
		t.Error(err)
	}
	if err := writeCertificates("/nonexistent"); err == nil ||
		!strings.Contains(err.Error(), "ca.pem") {
		t.Errorf("error %v", err)
	}
}
