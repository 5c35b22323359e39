package cli

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"tunnel/cli/failure"
	"tunnel/cli/invocation"
)

func completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a script that completes commands and flags in a shell",
		ArgsUsage: "bash|zsh|fish",
		Description: "Examples:\n\n" +
			"   source <(tunnel completion bash)\n" +
			"   tunnel completion zsh > ~/.zfunc/_tunnel\n" +
			"   tunnel completion fish > ~/.config/fish/completions/tunnel.fish",
		OnUsageError:    invocation.UsageError,
		HideHelpCommand: true,
		BashComplete: func(c *cli.Context) {
			_, _ = fmt.Fprintln(c.App.Writer, "bash\nzsh\nfish")
		},
		Action: func(c *cli.Context) error {
			if err := invocation.NoMore(c, 1); err != nil {
				return err
			}
			script := ""
			switch shell := c.Args().First(); shell {
			case "bash":
				script = bashCompletion
			case "zsh":
				script = zshCompletion
			case "fish":
				for _, command := range c.App.Commands {
					for i, f := range command.Flags {
						if s, ok := f.(*invocation.Flag); ok {
							command.Flags[i] = s.Plain()
						}
					}
				}
				var err error
				if script, err = c.App.ToFishCompletion(); err != nil {
					return err
				}
			default:
				return failure.Usage("completion for %q: one of bash, zsh, fish", shell)
			}
			_, err := fmt.Fprint(c.App.Writer, script)
			return err
		},
	}
}

// Both scripts run the program: urfave/cli prints the possible next words if the last word is
// --generate-bash-completion. The word -- would end the flags before that.
const (
	bashCompletion = `_tunnel() {
	local cur=${COMP_WORDS[COMP_CWORD]}
	local words=("${COMP_WORDS[@]:0:COMP_CWORD}")
	case $cur in
	--) words+=(-) ;;
	-*) words+=("$cur") ;;
	esac
	local next
	next=$("${words[@]}" --generate-bash-completion 2>/dev/null)
	mapfile -t COMPREPLY < <(compgen -W "$next" -- "$cur")
}
complete -o default -F _tunnel tunnel
`
	zshCompletion = `#compdef tunnel
_tunnel() {
	local -a asked next
	asked=("${(@)words[1,CURRENT-1]}")
	case ${words[CURRENT]} in
	--) asked+=(-) ;;
	-*) asked+=("${words[CURRENT]}") ;;
	esac
	next=("${(@f)$("${asked[@]}" --generate-bash-completion 2>/dev/null)}")
	compadd -a next || _files
}
compdef _tunnel tunnel
`
)
