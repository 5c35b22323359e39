// Command bench measures this program, the limit program and other VPNs in turns, between network
// namespaces, and writes tables and plots to RESULTS.md. Run it as root from within the module:
//
//	go run ./bench [-only NAMES] [-rounds N] [-seconds N] ...
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"tunnel/bench/assault"
	"tunnel/bench/contender"
	"tunnel/bench/load"
	"tunnel/bench/report"
	"tunnel/e2e/hostile"
)

// loadCommand is the first argument of the program when it is the load generator.
const loadCommand = "load"

// spareFiles is how many files a program may need besides its clients' sockets.
const spareFiles = 1000

// options are the values of the flags.
type options struct {
	// names of contenders and groups of figures, separated by commas; empty is all
	only       string
	rounds     int           // how often each step is taken
	seconds    int           // of each measurement on the LAN
	wanSeconds int           // of each measurement on the WAN
	clients    int           // idle clients whose memory is measured
	settle     time.Duration // how long to wait after the last of them has connected
	out        string        // directory of RESULTS.md and the plots; empty is bench/ of the module
	wsvpn      string        // file of a wsvpn to use instead of building one
	other      string        // file of another build of this program
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer context.AfterFunc(ctx, stop)() // a second signal ends the program at once
	if len(os.Args) > 1 && os.Args[1] == loadCommand {
		os.Exit(code(load.Main(ctx, os.Args[2:], os.Stdout)))
	}
	if len(os.Args) > 1 && os.Args[1] == hostile.Command {
		os.Exit(code(hostile.Main(ctx, os.Args[2:], os.Stdout)))
	}
	os.Exit(code(run(ctx)))
}

func code(err error) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	return 1
}

func run(ctx context.Context) error {
	o := options{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.only, "only", "",
		"measure these `NAMES` only, separated by commas: contenders "+
			"("+strings.Join(contender.Names(contender.Contenders("", "")), " ")+
			") and groups of figures ("+strings.Join(groupNames(), " ")+"); all of a kind of which "+
			"none is named")
	flags.IntVar(&o.rounds, "rounds", 3, "measure everything `N` times, in turns")
	flags.IntVar(&o.seconds, "seconds", 5, "length of a measurement on the LAN, in `SECONDS`")
	flags.IntVar(&o.wanSeconds, "wan-seconds", 10,
		"length of a measurement on the WAN, in `SECONDS`")
	flags.IntVar(&o.clients, "clients", 10000, "`N` idle clients whose memory is measured")
	flags.DurationVar(&o.settle, "settle", 30*time.Second,
		"`TIME` between the last of them and the measurement")
	flags.StringVar(&o.out, "out", "", "`DIR` for RESULTS.md and the plots (default bench of the "+
		"module)")
	flags.StringVar(&o.wsvpn, "wsvpn", "", "use the wsvpn in this `FILE` instead of building one")
	flags.StringVar(&o.other, "other", "",
		"measure the build of the program in this `FILE` as well, as other-ws and other-wss")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.rounds < 1 || o.seconds < 1 || o.wanSeconds < 1 || o.clients < 1 ||
		o.clients > maxClients {
		return fmt.Errorf("-rounds, -seconds, -wan-seconds and -clients are at least 1, -clients "+
			"at most %d", maxClients)
	}
	if o.only != "" && o.out == "" {
		return errors.New("-only measures a part: say with -out where its RESULTS.md goes (the " +
			"one in bench is of a whole run)")
	}
	plan, err := choose(o)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root: run it as root, or through sudo")
	}
	return measure(ctx, o, plan)
}

// measure prepares, measures, and writes the report.
func measure(ctx context.Context, o options, p plan) error {
	shop, err := contender.OpenWorkshop()
	if err != nil {
		return err
	}
	defer shop.Close()
	if o.out == "" {
		o.out = filepath.Join(shop.Root, "bench")
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err // before the measurements, which may take hours
	}
	files := 0
	if p.measures("memory") {
		files = o.clients + spareFiles
	}
	if p.measures("attacked") {
		files = max(files, 11*assault.SilentRate+spareFiles)
	}
	if files > 0 {
		if err := raiseFileLimit(uint64(files)); err != nil {
			return err
		}
	}
	b := &bench{options: o, plan: p, shop: shop, results: report.NewResults(o.rounds),
		began: time.Now(), console: os.Stdout}
	if err := b.run(ctx); err != nil {
		return err
	}
	return b.report()
}

// raiseFileLimit lets this process and its children open n files, because a server has a socket for
// each client. The error says what to do if that is not permitted.
func raiseFileLimit(n uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	wanted := syscall.Rlimit{Cur: max(limit.Cur, n), Max: max(limit.Max, n)}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &wanted) == nil {
		return nil
	}
	if limit.Max < n { // without CAP_SYS_RESOURCE
		return fmt.Errorf("%d open files are needed, and the limit is %d: raise it by `ulimit "+
			"-Hn`, or use fewer -clients", n, limit.Max)
	}
	limit.Cur = limit.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}
