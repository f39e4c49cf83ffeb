package main

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/coldframe/coldframe/catalog"
)

// costCmd estimates a bill by the formulas of docs/cost.md.
type costCmd struct {
	Hosts         int               `default:"100" help:"Hosts with an agent."`
	Flush         time.Duration     `default:"60s" help:"How long agents gather before they write a block."`
	Retention     catalog.Retention `default:"30d" help:"How long profiles live."`
	QueriesPerDay int               `default:"1000" help:"Queries, of everybody together."`
	Delete        bool              `help:"Compactors run with --delete: what they have merged is deleted after an hour, not by the lifecycle after a week."`
	Servers       bool              `help:"Compactors and queries run on servers of yours, which are not in the bill, instead of functions."`
	Format        string            `default:"text" enum:"text,json" help:"text or json."`

	PriceWrites float64 `default:"5" name:"price-million-writes" help:"Dollars for a million PUT or LIST requests. As all prices, S3's in us-east-1."`
	PriceReads  float64 `default:"0.4" name:"price-million-reads" help:"Dollars for a million GET requests."`
	PriceStored float64 `default:"0.023" name:"price-gigabyte-month" help:"Dollars for a gigabyte stored for a month."`
	PriceMemory float64 `default:"13.3334" name:"price-million-gigabyte-seconds" help:"Dollars for a million gigabyte-seconds of functions on arm64."`
	PriceInvoke float64 `default:"0.2" name:"price-million-invocations" help:"Dollars for a million invocations."`
}

// costLine is a line of the bill.
type costLine struct {
	Name    string  `json:"name"`
	Amount  float64 `json:"amount"`
	Unit    string  `json:"unit"`
	Dollars float64 `json:"dollars"`
}

// Run is the command.
func (c *costCmd) Run(g *globals) error {
	switch {
	case c.Hosts < 0 || c.QueriesPerDay < 0:
		return usage(fmt.Errorf("--hosts %d, --queries-per-day %d: want no less than 0", c.Hosts, c.QueriesPerDay))
	case c.Flush < time.Second || c.Flush > time.Hour:
		return usage(fmt.Errorf("--flush %s: want from 1s to 1h", c.Flush))
	case c.Retention <= 0:
		return usage(fmt.Errorf("--retention: want how long profiles live, as 30d"))
	}
	lines := c.lines()
	total := 0.0
	for _, l := range lines {
		total += l.Dollars
	}
	if c.Format == "json" {
		e := json.NewEncoder(g.out)
		e.SetIndent("", "  ")
		return e.Encode(map[string]any{"lines": lines, "dollars_a_month": total})
	}
	w := tabwriter.NewWriter(g.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, l := range lines {
		fmt.Fprintf(w, "%s\t%.4g\t%s\t$%.2f\t\n", l.Name, l.Amount, l.Unit, l.Dollars)
	}
	fmt.Fprintf(w, "a month\t\t\t$%.2f\t\n", total)
	if err := w.Flush(); err != nil {
		return err
	}
	if c.Hosts > 0 {
		fmt.Fprintf(g.out, "a host and month $%.2f; an estimate by docs/cost.md, for hosts of 16 half busy CPUs sampled at 19 Hz\n", total/float64(c.Hosts))
	}
	return nil
}

// A month has 30 days here.
const (
	monthSeconds = 30 * 24 * 3600
	gigabyte     = 1e9
)

// What was measured on hosts of 16 CPUs, half of them busy, with 16 processes, at 19 Hz: longer
// windows repeat fewer stacks. Between these points it is interpolated by powers.
var (
	uploadedBytesPerSecond = curve{{10, 23_000}, {30, 14_000}, {60, 9_470}, {300, 3_540}}  // pprof blocks of a host
	mergedBytesPerDay      = curve{{10, 20.3e6}, {30, 15.9e6}, {60, 14.2e6}, {300, 8.8e6}} // Arrow blocks of a host
)

const (
	compactedBytesPerSecond = 25e6 // of pprof blocks, by one CPU
	mergedAgain             = 1.5  // blocks of levels 2 to 4 cost half as much again
	functionGigabytes       = 1.769
	hostsOfAShard           = 300
	readsOfAQuery           = 125 // of a service over 30 days, with warm indexes
	listsOfAQuery           = 8
	secondsOfAQuery         = 0.5
)

func (c *costCmd) lines() []costLine {
	hosts, flush := float64(c.Hosts), c.Flush.Seconds()
	shards := math.Max(1, math.Ceil(hosts/hostsOfAShard))
	if c.Hosts == 0 {
		shards = 0
	}
	days := time.Duration(c.Retention).Hours() / 24
	blocks := hosts * monthSeconds / flush
	uploaded := hosts * uploadedBytesPerSecond.at(flush) // a second
	waiting := 7 * 24 * 3600.0
	if c.Delete {
		waiting = 3600
	}
	queries := float64(c.QueriesPerDay) * 30
	minutes := monthSeconds / 60.0

	requests := func(name string, n, price float64) costLine {
		return costLine{name, n / 1e6, "M requests", n / 1e6 * price}
	}
	stored := func(name string, bytes float64) costLine {
		return costLine{name, bytes / gigabyte, "GB", bytes / gigabyte * c.PriceStored}
	}
	all := []costLine{
		requests("uploads", blocks, c.PriceWrites),
		requests("compaction reads blocks", blocks, c.PriceReads),
		// Each minute of a shard: a list, a block, the register; and reads of it.
		requests("compaction writes and lists", shards*minutes*3, c.PriceWrites),
		requests("compaction reads registers", shards*minutes, c.PriceReads),
		stored("pprof blocks", uploaded*waiting),
		stored("Arrow blocks", hosts*mergedBytesPerDay.at(flush)*days),
		requests("queries read", queries*readsOfAQuery, c.PriceReads),
		requests("queries list", queries*listsOfAQuery, c.PriceWrites),
	}
	if c.Servers {
		return all
	}
	seconds := func(name string, s float64) costLine {
		return costLine{name, s * functionGigabytes / 1e6, "M GB-seconds", s * functionGigabytes / 1e6 * c.PriceMemory}
	}
	return append(all,
		// A look at a shard takes about a quarter of a second even when there is nothing to do.
		seconds("compaction computes", uploaded*monthSeconds/compactedBytesPerSecond*mergedAgain+math.Max(1, shards)*minutes/4),
		seconds("queries compute", queries*secondsOfAQuery),
		requests("invocations", minutes*(1+math.Max(0, shards))+queries, c.PriceInvoke),
	)
}

// curve is measured values over x, ascending.
type curve []struct{ x, y float64 }

// at interpolates on a doubly logarithmic scale, and goes on as at the ends beyond them.
func (c curve) at(x float64) float64 {
	i, _ := slices.BinarySearchFunc(c, x, func(p struct{ x, y float64 }, x float64) int {
		switch {
		case p.x < x:
			return -1
		case p.x > x:
			return 1
		}
		return 0
	})
	i = min(max(i, 1), len(c)-1)
	a, b := c[i-1], c[i]
	slope := math.Log(b.y/a.y) / math.Log(b.x/a.x)
	return a.y * math.Pow(x/a.x, slope)
}
