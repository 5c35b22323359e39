package tcp

import "testing"

// What the kernel may have, a message and a record are as long as the path's rate wants them, between their bounds.
func TestWorth(t *testing.T) {
	const mbit = 1e6 / 8
	for _, test := range []struct {
		rate                    uint64 // bytes a second
		unsent, message, record int
	}{
		{0, 32 << 10, 32 << 10, 2 << 10},
		{10 * mbit, 32 << 10, 32 << 10, 2 << 10},
		{50 * mbit, 32 << 10, 32 << 10, 8125},
		{100 * mbit, 37500, 32 << 10, 16250},
		{300 * mbit, 112500, 93750, 16 << 10},
		{10000 * mbit, 128 << 10, 192 << 10, 16 << 10},
	} {
		s := Tuner{rate: test.rate}
		for what, size := range map[string]struct{ got, want int }{
			"unsent":  {s.worth(unsentTime, minUnsent, maxUnsent), test.unsent},
			"message": {s.worth(messageTime, MinMessage, MaxMessage), test.message},
			"record":  {s.worth(recordTime, minRecord, maxRecord), test.record},
		} {
			if size.got != size.want {
				t.Errorf("%d B/s: %s of %d bytes; want %d", test.rate, what, size.got, size.want)
			}
		}
	}
}
