package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

type manCmd struct{}

// Run is the command.
func (c *manCmd) Run(g *globals, app *kong.Application) error {
	_, err := io.WriteString(g.out, manPage(app))
	return err
}

// manPage is coldframe(1) in roff, of man(7)'s macros: all commands and flags, as --help tells them.
func manPage(app *kong.Application) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH COLDFRAME 1 %q %q\n", dateOf(commitTime), "coldframe "+version)
	fmt.Fprintf(&b, ".SH NAME\ncoldframe \\- %s\n", roff(strings.TrimSuffix(strings.ToLower(app.Help[:1])+app.Help[1:], ".")))
	b.WriteString(".SH SYNOPSIS\n.B coldframe\n.I COMMAND\n[\n.I FLAGS\n]\n")
	b.WriteString(".SH DESCRIPTION\n" + roff("Whoever samples puts profiles straight into a bucket; compactors merge them, queries are answered from there. "+
		"One binary has all of these roles. The bucket is named by --bucket-config, a file in Thanos's objstore form, or its content in the variable COLDFRAME_BUCKET_CONFIG.") + "\n")
	b.WriteString(".SH GLOBAL FLAGS\n")
	manFlags(&b, app.Flags)
	b.WriteString(".SH COMMANDS\n")
	for _, n := range app.Leaves(true) {
		fmt.Fprintf(&b, ".SS %s\n%s\n", roff(strings.TrimPrefix(commandLine(n), "coldframe ")), roff(n.Help))
		for at := n; at.Type != kong.ApplicationNode; at = at.Parent {
			manFlags(&b, at.Flags)
		}
	}
	b.WriteString(".SH ENVIRONMENT\n" + roff("Every flag is also a variable: --bucket-config is COLDFRAME_BUCKET_CONFIG. What is given as a flag wins. "+
		"OTEL_EXPORTER_OTLP_ENDPOINT names a collector of traces, SSL_CERT_FILE other authorities than the system's.") + "\n")
	b.WriteString(".SH EXIT STATUS\n.TP\n.B 0\nDone.\n.TP\n.B 1\nFailed.\n.TP\n.B 2\nWrong usage.\n.TP\n.B 3\nDone in part, or damage was found.\n")
	b.WriteString(".SH EXAMPLES\n.EX\ncoldframe dev\ncoldframe get \\-\\-server http://localhost:7070 \\-\\-type process_cpu \\-\\-format top\ngo tool pprof \\(aqhttp://localhost:7070/api/v1/pprof?type=process_cpu\\(aq\n.EE\n")
	b.WriteString(".SH SEE ALSO\nhttps://github.com/coldframe/coldframe\n")
	return b.String()
}

// commandLine is a command with its arguments: push <files> ...
func commandLine(n *kong.Node) string {
	line := n.FullPath()
	for _, p := range n.Positional {
		line += " " + p.Summary()
	}
	return line
}

func manFlags(b *strings.Builder, flags []*kong.Flag) {
	for _, f := range flags {
		if f.Hidden {
			continue
		}
		b.WriteString(".TP\n\\fB" + roff("--"+f.Name) + "\\fR")
		if !f.IsBool() {
			b.WriteString("=\\fI" + roff(strings.Trim(f.FormatPlaceHolder(), `"`)) + "\\fR")
		}
		b.WriteString("\n" + roff(f.Help) + "\n")
	}
}

// roff keeps text from being taken for requests and for other characters than it has.
func roff(text string) string {
	var b strings.Builder
	for i, r := range text {
		switch {
		case r == '.' && i == 0:
			b.WriteString(`\&.`)
		case r == '\n':
			b.WriteByte(' ')
		case r == '\\':
			b.WriteString(`\e`)
		case r > 0x7e:
			fmt.Fprintf(&b, `\[u%04X]`, r)
		default:
			b.WriteString(cmp.Or(roffNames[r], string(r)))
		}
	}
	return b.String()
}

// roffNames are of the characters that roff would make typographic ones of.
var roffNames = map[rune]string{'-': `\-`, '\'': `\(aq`, '`': `\(ga`, '^': `\(ha`, '~': `\(ti`}

// dateOf is the day of a time in RFC 3339; empty when it is none, so that a page without one says nothing.
func dateOf(t string) string {
	if day, _, ok := strings.Cut(t, "T"); ok {
		return day
	}
	return ""
}
