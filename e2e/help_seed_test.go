package e2e

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"
)

var seed = flag.Uint64("seed", 0,
	"seed of the tests that choose at random; 0 takes another each time")

// seeded returns a source of random choices. A failed test prints its seed: give it with -seed to
// repeat the test, as far as the machine's timing allows.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	n := *seed
	if n == 0 {
		n = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d", n)
	return rand.New(rand.NewPCG(n, 0))
}

// pauseFor sleeps for a random part of d.
func pauseFor(r *rand.Rand, d time.Duration) { time.Sleep(time.Duration(r.Int64N(int64(d) + 1))) }
