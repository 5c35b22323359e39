package e2e

import (
	"flag"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var seed = flag.Uint64("seed", 0,
	"seed of the tests that choose at random; 0 takes another each time")

var allCases = flag.Bool("all", false,
	"run each case of the tests that run a sample of theirs otherwise, and build without a cache")

// sample returns n of the cases of a test, in their order, and logs the seed that chooses the same
// ones again. With -all it returns all of them.
func sample[T any](t *testing.T, n int, cases []T) []T {
	t.Helper()
	if *allCases || n >= len(cases) {
		return cases
	}
	chosen := seeded(t).Perm(len(cases))[:n]
	slices.Sort(chosen)
	t.Logf("%d of %d cases run; -all runs each", n, len(cases))
	var some []T
	for _, i := range chosen {
		some = append(some, cases[i])
	}
	return some
}

// rounds returns how often a test repeats what it does at random moments: n times with -all, else
// two fifths of that.
func rounds(n int) int {
	if *allCases {
		return n
	}
	return max(1, n*2/5)
}

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
