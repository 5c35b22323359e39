package setting

import "testing"

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "33554432": 32 << 20, "512K": 512 << 10, "256M": 256 << 20, "1G": 1 << 30,
		"2T": 2 << 40, "8388607T": 8388607 << 40,
	} {
		if n, err := ParseSize(text); err != nil || n != want {
			t.Errorf("%s: %d, %v; want %d", text, n, err, want)
		}
	}
	for _, text := range []string{"", "M", "-1M", "+1M", "1.5G", "256m", "256MB", "1 G", "0x10",
		"8388608T", "9223372036854775808", "99999999999999999999"} {
		if n, err := ParseSize(text); err == nil {
			t.Errorf("%q: %d; want an error", text, n)
		}
	}
}
