package setting

import (
	"fmt"
	"strconv"
	"strings"
)

const units = "KMGT"

// ParseSize returns the bytes of a size: a whole number, in bytes or with K, M, G or T for powers
// of 1024.
func ParseSize(text string) (int64, error) {
	digits, shift := text, 0
	if n := len(text); n > 0 {
		if unit := strings.IndexByte(units, text[n-1]); unit >= 0 {
			digits, shift = text[:n-1], 10*(unit+1)
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63-shift)
	if err != nil {
		return 0, err
	}
	return int64(n) << shift, nil
}

// SizeText returns n bytes as a size that ParseSize takes, in the largest unit that fits.
func SizeText(n int64) string {
	unit := ""
	for i := 0; i < len(units) && n != 0 && n%1024 == 0; i++ {
		n, unit = n/1024, units[i:i+1]
	}
	return fmt.Sprint(n) + unit
}

// Size is a number of bytes, with 0 for none given. A given 0 is 1.
func Size(p *int64) Value {
	return Single[int64]{P: p, Format: givenSize, Parse: func(s string) (int64, error) {
		if s == "" {
			return 0, nil
		}
		n, err := ParseSize(s)
		if err != nil {
			return 0, fmt.Errorf(" %s is not a size like 256M or 1G", s)
		}
		return max(n, 1), nil // 0 means "not given"; a given 0 is too little
	}}
}

// givenSize returns a size as text, "" if none was given.
func givenSize(n int64) string {
	if n == 0 {
		return ""
	}
	return SizeText(n)
}

// SizeOrNone is a number of bytes, of which 0 is no bound.
func SizeOrNone(p *int64) Value {
	return Single[int64]{P: p, Format: SizeText, Parse: func(s string) (int64, error) {
		n, err := ParseSize(s)
		if err != nil {
			return 0, fmt.Errorf(" %s is not a size like 10M or 1G", s)
		}
		return n, nil
	}}
}
