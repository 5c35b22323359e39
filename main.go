// Tunnel is a private layer-3 network over plain HTTPS: `tunnel serve` on a machine with a public
// address, `tunnel connect` on everything else.
package main

import (
	"os"

	"tunnel/cli"
)

// version is set by the linker, which reaches only variables of a package: see the Makefile.
var version = "unknown"

func main() { os.Exit(cli.Main(version)) }
