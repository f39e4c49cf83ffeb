// Bench writes the tables of docs/benchmarks.md from what `make bench` measured:
//
//	go run ./internal/bench bench/new.txt docs/benchmarks.md
//
// The page itself says what each table holds, in a comment above it, one row a line:
//
//	<!-- bench: UNIT
//	what | ours | theirs | target
//	-->
//
// Ours and theirs are benchmarks, "package.Name/sub"; theirs may be empty. A row
// with {stacks} in it becomes two, for repeating and for distinct stacks. A row whose
// benchmark was not measured is left out, and said on standard error.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: bench RESULTS PAGE")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(resultsFile, pageFile string) error {
	f, err := os.Open(resultsFile)
	if err != nil {
		return err
	}
	defer f.Close()
	measured, err := readResults(f)
	if err != nil {
		return fmt.Errorf("%s: %w", resultsFile, err)
	}
	page, err := os.ReadFile(pageFile)
	if err != nil {
		return err
	}
	page, missing, err := fill(string(page), measured)
	if err != nil {
		return fmt.Errorf("%s: %w", pageFile, err)
	}
	for _, m := range missing {
		fmt.Fprintln(os.Stderr, "not measured:", m)
	}
	return os.WriteFile(pageFile, page, 0o644)
}
