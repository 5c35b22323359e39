package invocation

import (
	"strings"

	"tunnel/cli/failure"
)

// JoinCommand begins the join command.
const JoinCommand = "tunnel connect "

// ConnectLine returns the command that joins a machine to the server at url, quoted for a POSIX
// shell. pin may be empty; credential has the flags of the token.
func ConnectLine(url, pin string, credential ...string) string {
	argv := append(strings.Fields(JoinCommand), url)
	if pin != "" {
		argv = append(argv, "--"+FlagPin, pin)
	}
	argv = append(argv, credential...)
	for i, word := range argv {
		argv[i] = failure.ShellQuote(word)
	}
	return strings.Join(argv, " ")
}
