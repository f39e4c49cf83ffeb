// Record makes the seeds of package corpus: profiles of named programs at work.
//
// The script record.sh beside it starts each program, puts it under load with
// "record load", takes profiles, turns what perf sampled into pprof with "record
// perf" and merges each program's recordings into one seed with "record seal".
// It is a tool for whoever wants other seeds; nothing imports it.
package main

import (
	"fmt"
	"os"
)

func main() {
	commands := map[string]func(args []string) error{"load": load, "perf": perf, "seal": seal}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: record load|perf|seal [flags]")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "record %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}
