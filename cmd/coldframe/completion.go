package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// The shells ask coldframe itself what may follow, so that what they offer is what this binary takes.
// It answers in lines: a word, and behind a tab what it means; or :file and :directory.
var completions = map[string]string{
	"bash": `# coldframe in bash: source <(coldframe completion bash)
_coldframe() {
	local cur=${COMP_WORDS[COMP_CWORD]} word COMPREPLY_KIND=
	COMPREPLY=()
	[[ $cur == "=" ]] && cur=
	while IFS=$'\t' read -r word _; do
		case $word in
		:file) COMPREPLY_KIND=-f ;;
		:directory) COMPREPLY_KIND=-d ;;
		*) COMPREPLY+=("$word") ;;
		esac
	done < <("${COMP_WORDS[0]}" complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
	if [[ -n $COMPREPLY_KIND ]]; then
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen "$COMPREPLY_KIND" -- "$cur")
	elif [[ $COMP_WORDBREAKS == *=* && ${COMP_WORDS[COMP_CWORD]} != --* ]]; then
		COMPREPLY=("${COMPREPLY[@]#--*=}") # bash replaces only what is behind the =
	fi
	[[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
	return 0
}
complete -F _coldframe coldframe
`,
	"zsh": `#compdef coldframe
# coldframe in zsh: coldframe completion zsh > "${fpath[1]}/_coldframe"
_coldframe() {
	local line word means kind=
	local -a offered described open opened
	while IFS= read -r line; do
		word=${line%%$'\t'*} means=${line#*$'\t'}
		case $word in
		:file) kind='_files' ;;
		:directory) kind='_files -/' ;;
		*=) open+=("$word") opened+=("$word  $means") ;; # a value follows
		*) offered+=("$word") described+=("$word  $means") ;;
		esac
	done < <(${words[1]} complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)
	if [[ -n $kind ]]; then
		[[ ${words[CURRENT]} == --*=* ]] && compset -P '--*='
		${=kind}
	else
		compadd -l -d opened -S '' -a open
		compadd -l -d described -a offered
	fi
}
if [[ $funcstack[1] == _coldframe ]]; then
	_coldframe "$@"
else
	compdef _coldframe coldframe
fi
`,
	"fish": `# coldframe in fish: coldframe completion fish > ~/.config/fish/completions/coldframe.fish
function __coldframe_complete
	set -l words (commandline -opc) (commandline -ct)
	set -l before (string match -r -- '^--[^=]*=' $words[-1])
	set -l value (string replace -r -- '^--[^=]*=' '' $words[-1])
	for line in ($words[1] complete -- $words[2..-1] 2>/dev/null)
		switch $line
			case ':file*'
				printf "$before%s\n" (__fish_complete_path $value)
			case ':directory*'
				printf "$before%s\n" (__fish_complete_directories $value)
			case '*'
				echo $line
		end
	end
end
complete -c coldframe -f -a '(__coldframe_complete)'
`,
}

// Run is the command.
func (c *completionCmd) Run(g *globals) error {
	_, err := io.WriteString(g.out, completions[c.Shell])
	return err
}

// completeCmd is what the shells' scripts ask.
type completeCmd struct {
	Words []string `arg:"" optional:"" passthrough:"" help:"What was typed behind coldframe, the unfinished word last."`
}

// Run is the command.
func (c *completeCmd) Run(g *globals, app *kong.Application) error {
	words := c.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	var lines strings.Builder
	for _, o := range complete(app.Node, rejoin(words)) {
		fmt.Fprintf(&lines, "%s\t%s\n", o.word, o.means)
	}
	_, err := io.WriteString(g.out, lines.String())
	return err
}

// offer is one way to go on.
type offer struct{ word, means string }

// Offers that stand for all files or folders.
var (
	anyFile      = offer{word: ":file"}
	anyDirectory = offer{word: ":directory"}
)

// rejoin puts --flag, = and value together again, which bash takes apart.
func rejoin(words []string) []string {
	var out []string
	for i, w := range words {
		last := len(out) - 1
		switch {
		case last >= 0 && w == "=" && strings.HasPrefix(out[last], "--") && !strings.Contains(out[last], "="):
			out[last] += "="
		case i > 0 && words[i-1] == "=" && last >= 0 && strings.HasSuffix(out[last], "=") && strings.HasPrefix(out[last], "--"):
			out[last] += w
		default:
			out = append(out, w)
		}
	}
	return out
}

// complete tells what the last of words may become: a command, a flag, or a value.
func complete(at *kong.Node, words []string) []offer {
	if len(words) == 0 {
		words = []string{""}
	}
	typed, last := words[:len(words)-1], words[len(words)-1]
	var awaits *kong.Flag // the flag whose value comes next
	arguments := 0
	for _, w := range typed {
		switch {
		case awaits != nil:
			awaits = nil
		case strings.HasPrefix(w, "--"):
			if f := flagOf(at, strings.TrimPrefix(w, "--")); f != nil && !f.IsBool() {
				awaits = f
			}
		default:
			if i := slices.IndexFunc(at.Children, func(n *kong.Node) bool { return n.Name == w }); i >= 0 {
				at = at.Children[i]
			} else if arguments++; len(at.Positional) == 0 {
				return nil // nobody knows this word
			}
		}
	}
	if awaits != nil {
		return valuesOf(awaits.Value, awaits.PlaceHolder, "", last)
	}
	if name, value, ok := strings.Cut(last, "="); ok && strings.HasPrefix(name, "--") {
		if f := flagOf(at, strings.TrimPrefix(name, "--")); f != nil {
			return valuesOf(f.Value, f.PlaceHolder, name+"=", value)
		}
		return nil
	}
	if strings.HasPrefix(last, "-") {
		return flagsOf(at, last)
	}
	var offers []offer
	for _, n := range at.Children {
		if !n.Hidden && strings.HasPrefix(n.Name, last) {
			offers = append(offers, offer{n.Name, n.Help})
		}
	}
	if len(at.Positional) > 0 {
		p := at.Positional[min(arguments, len(at.Positional)-1)]
		offers = append(offers, valuesOf(p, cmp.Or(p.Tag.PlaceHolder, strings.ToUpper(p.Name)), "", last)...)
	}
	return offers
}

// flagOf finds a flag of a command or of one above it; nil when there is none.
func flagOf(at *kong.Node, name string) *kong.Flag {
	for _, group := range at.AllFlags(true) {
		for _, f := range group {
			if f.Name == name {
				return f
			}
		}
	}
	return nil
}

func flagsOf(at *kong.Node, prefix string) []offer {
	var offers []offer
	for _, group := range at.AllFlags(true) {
		for _, f := range group {
			word := "--" + f.Name
			if !f.IsBool() {
				word += "="
			}
			if strings.HasPrefix(word, prefix) {
				offers = append(offers, offer{word, f.Help})
			}
		}
	}
	slices.SortStableFunc(offers, func(a, b offer) int { return cmp.Compare(a.word, b.word) })
	return offers
}

// valuesOf tells what a flag or an argument may be, each with before it what is typed already.
func valuesOf(v *kong.Value, placeholder, before, prefix string) []offer {
	var offers []offer
	switch {
	case v.Enum != "":
		for _, one := range v.EnumSlice() {
			if one = strings.TrimSpace(one); strings.HasPrefix(one, prefix) {
				offers = append(offers, offer{before + one, ""})
			}
		}
	case strings.HasPrefix(placeholder, "FILE"):
		offers = []offer{anyFile}
	case strings.HasPrefix(placeholder, "DIR"):
		offers = []offer{anyDirectory}
	}
	return offers
}
