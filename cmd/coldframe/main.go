// Command coldframe keeps profiles in a bucket and answers questions about them.
//
// This package only wires: it reads flags, opens the bucket, gives the roles each
// other's ends, and turns their reports into logs and metrics. What the roles do is
// in agent, ingest, compactor and query.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/coldframe/coldframe/profile"
)

// Set by the linker, see the Makefile.
var (
	version    = "unknown"
	commit     = "unknown"
	commitTime = "unknown"
)

// Exit statuses, the same for every command.
const (
	exitFailed  = 1
	exitUsage   = 2
	exitPartial = 3 // done in part, or damage was found
)

// errPartial makes a command exit with exitPartial: it did what could be done.
var errPartial = errors.New("done in part")

type cli struct {
	Dev     devCmd     `cmd:"" help:"Everything in one process on a local folder: scrape, compact, query. Start here."`
	Agent   agentCmd   `cmd:"" help:"Profile this whole machine, into the bucket: all processes, user and kernel. Needs root."`
	Ingest  ingestCmd  `cmd:"" help:"Scrape targets and receive pushes, into the bucket."`
	Compact compactCmd `cmd:"" help:"Merge what was ingested into Arrow blocks. Any number may run at once."`
	Query   queryCmd   `cmd:"" help:"Answer queries from the bucket: HTTP API."`
	Push    pushCmd    `cmd:"" help:"Store profiles from files, directly or through a server."`
	Get     getCmd     `cmd:"" help:"Ask for profiles: as pprof, top, tree, folded stacks, JSON or time series."`
	Block   blockCmd   `cmd:"" help:"List, inspect, print and verify blocks."`
	Fsck    fsckCmd    `cmd:"" help:"Check that the bucket holds what its catalog says, whole."`

	TenantCommand tenantCmd    `cmd:"" name:"tenant" help:"Tenants: who there is, how long their profiles are kept, how many shards they have."`
	Delete        deleteCmd    `cmd:"" help:"Delete all that a tenant has. It may run while everything else does."`
	Lifecycle     lifecycleCmd `cmd:"" help:"The rules by which the bucket deletes what is old."`
	Cost          costCmd      `cmd:"" help:"Estimate the monthly bill, line by line."`

	Completion completionCmd `cmd:"" help:"What a shell has to know to complete commands and flags: source <(coldframe completion bash)."`
	Complete   completeCmd   `cmd:"" hidden:"" passthrough:"" help:"What may follow a line, for the shells."`
	Man        manCmd        `cmd:"" help:"Print the manual page: coldframe man | man -l -"`

	globals
}

type globals struct {
	Tenant    string           `default:"default" help:"Whose profiles. Letters, digits, '-', '_' and '.'."`
	LogLevel  string           `default:"info" enum:"error,warn,info,debug" help:"What to log: error, warn, info or debug."`
	LogFormat string           `default:"logfmt" enum:"logfmt,json" help:"How to log, to standard error: logfmt or json."`
	Version   kong.VersionFlag `help:"Print the version and exit."`

	tenant profile.Tenant
	token  string // by which servers know a client, "" for none
	log    *slog.Logger
	out    io.Writer // standard output
	err    io.Writer // standard error
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is main with its surroundings as arguments. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var c cli
	exited := -1
	parser, err := kong.New(&c,
		kong.Name("coldframe"),
		kong.Description("Continuous profiling with nothing but a bucket behind it."),
		kong.UsageOnError(),
		kong.DefaultEnvars("COLDFRAME"),
		kong.Writers(stdout, stderr),
		kong.Exit(func(status int) { exited = status }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Vars{"version": fmt.Sprintf("coldframe %s (commit %s of %s, %s %s/%s)", version, commit, commitTime, runtime.Version(), runtime.GOOS, runtime.GOARCH)},
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err != nil {
		panic(fmt.Sprintf("command line: %v", err)) // the struct tags above are wrong
	}
	k, err := parser.Parse(args)
	if exited >= 0 {
		return exited // --help and --version
	}
	if err == nil {
		err = c.setUp(stdout, stderr)
	}
	if err != nil {
		fmt.Fprintf(stderr, "coldframe: %v\n", err)
		fmt.Fprintln(stderr, "coldframe: try --help")
		return exitUsage
	}
	err = k.Run(&c.globals, parser.Model)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "coldframe: %v\n", err)
		return exitUsage
	case errors.Is(err, errPartial):
		fmt.Fprintf(stderr, "coldframe: %v\n", err)
		return exitPartial
	}
	fmt.Fprintf(stderr, "coldframe: %v\n", err)
	return exitFailed
}

// errUsage makes a command exit with exitUsage: what was asked makes no sense.
var errUsage = errors.New("wrong usage")

// usage gives err the exit status of wrong usage; nil stays nil.
func usage(err error) error { return as(errUsage, err) }

// as gives err the exit status of class, and leaves its text alone; nil stays nil.
func as(class, err error) error {
	if err == nil {
		return nil
	}
	return &classified{class, err}
}

type classified struct{ class, err error }

func (e *classified) Error() string   { return e.err.Error() }
func (e *classified) Unwrap() []error { return []error{e.class, e.err} }

func (g *globals) setUp(stdout, stderr io.Writer) (err error) {
	g.out, g.err = stdout, stderr
	if g.tenant, err = profile.ParseTenant(g.Tenant); err != nil {
		return fmt.Errorf("--tenant: %w", err)
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(g.LogLevel)); err != nil {
		return fmt.Errorf("--log-level: %w", err)
	}
	options := &slog.HandlerOptions{Level: level}
	if g.LogFormat == "json" {
		g.log = slog.New(slog.NewJSONHandler(stderr, options))
	} else {
		g.log = slog.New(slog.NewTextHandler(stderr, options))
	}
	return nil
}
