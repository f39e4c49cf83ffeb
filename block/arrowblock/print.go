package arrowblock

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/coldframe/coldframe/block"
)

// Print writes what a block holds for people: its facts, groups, services, sections with what
// a row of each costs, and sources.
func Print(ctx context.Context, w io.Writer, b *Block) error {
	sources, err := b.Sources(ctx)
	if err != nil {
		return err
	}
	p := &printer{w: w}
	p.facts(b)
	p.groups(b)
	p.services(b)
	p.rollups(b)
	p.sections(b)
	p.sources(sources)
	return p.err
}

// printer keeps the first error of many writes.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

// table writes rows of cells separated by tabs as aligned columns.
func (p *printer) table(head string, rows func(row func(format string, args ...any))) {
	tw := tabwriter.NewWriter(p.w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "\n%s\n", head)
	rows(func(format string, args ...any) { fmt.Fprintf(tw, format+"\n", args...) })
	if p.err == nil {
		p.err = tw.Flush()
	}
}

const printedTime = "2006-01-02T15:04:05.000Z"

func printTime(ms int64) string { return time.UnixMilli(ms).UTC().Format(printedTime) }

func (p *printer) facts(b *Block) {
	i := b.info
	p.printf("Arrow block of %s to %s\n", printTime(i.Range.From.UnixMilli()), printTime(i.Range.To.UnixMilli()))
	p.printf("profiles  %d, from %s to %s\n", i.Profiles, printTime(i.MinTime), printTime(i.MaxTime))
	if i.Raw {
		p.printf("samples   %d in %d rows\n", i.Samples, i.Rows)
	} else {
		p.printf("samples   %d, of which there are rollups alone\n", i.Samples)
	}
	p.printf("stacks    %d nodes in %d chunks\n", i.Nodes, len(b.chunks))
	p.printf("series    %d, with %d labels\n", len(b.series), len(b.labels))
	p.printf("mappings  %d\n", len(b.mappings))
}

func (p *printer) groups(b *Block) {
	p.table("group\tname\tsample types\tperiod\tdelta\tdefault\tprofiles\trows", func(row func(string, ...any)) {
		for n, g := range b.groups {
			profiles := 0
			for _, s := range b.totals[n] {
				profiles += s.rows
			}
			var types []string
			for _, v := range g.SampleTypes {
				types = append(types, v.String())
			}
			row("%d\t%s\t%s\t%s\t%v\t%s\t%d\t%d", n, g.Name, strings.Join(types, " "), g.Period, g.Delta, g.DefaultSampleType, profiles, b.raw[n].rows)
		}
	})
}

func (p *printer) services(b *Block) {
	series := make([]int, len(b.services))
	for _, s := range b.series {
		series[s.Service]++
	}
	p.table("service\tname\tseries\tnodes", func(row func(string, ...any)) {
		for n, s := range b.services {
			row("%d\t%s\t%d\t[%d, %d)", n, s.Name, series[n], s.Nodes.From, s.Nodes.To)
		}
	})
}

func (p *printer) rollups(b *Block) {
	if len(b.rollups) == 0 {
		return
	}
	p.table("rollup\twindow\tcells\trows\tbytes", func(row func(string, ...any)) {
		for _, r := range b.rollups {
			cells, rows, size := 0, uint64(0), int64(0)
			for g := range b.groups {
				rows += r.rows[g].rows
				for _, c := range r.rows[g].chunks {
					size += c.bytes()
				}
				for _, s := range r.cells[g] {
					cells += s.rows
					size += s.length
				}
			}
			row("%s\t%s\t%d\t%d\t%d", r.Rollup, r.Window, cells, rows, size)
		}
	})
}

func (p *printer) sections(b *Block) {
	p.table("section\toffset\tbytes\trows\tbytes/row\tcrc32c", func(row func(string, ...any)) {
		for _, s := range b.sections {
			row("%s\t%d\t%d\t%d\t%.2f\t%08x", s.name, s.off, s.length, s.rows, float64(s.length)/float64(max(1, s.rows)), s.crc)
		}
	})
	p.table("kind\tbytes\trows\tbytes/row", func(row func(string, ...any)) {
		kinds := b.Kinds()
		for _, kind := range slices.SortedFunc(maps.Keys(kinds), func(x, y string) int {
			return cmp.Or(cmp.Compare(kinds[y].Bytes, kinds[x].Bytes), cmp.Compare(x, y))
		}) {
			k := kinds[kind]
			row("%s\t%d\t%d\t%.2f", kind, k.Bytes, k.Rows, float64(k.Bytes)/float64(max(1, k.Rows)))
		}
	})
}

// KindSize is what all sections of a kind take together.
type KindSize struct{ Bytes, Rows int64 }

// Kinds says what a block consists of, by kind of section: "st/nodes", "raw", "raw/tuples",
// "rs/3600s", "rs/3600s/cells".
func (b *Block) Kinds() map[string]KindSize {
	kinds := map[string]KindSize{}
	for _, s := range b.sections {
		kind := sectionKind(s.name)
		kinds[kind] = KindSize{kinds[kind].Bytes + s.length, kinds[kind].Rows + int64(s.rows)}
	}
	return kinds
}

// sectionKind is a section's name without its numbers: st/nodes, raw, raw/tuples, rs/900s/cells.
func sectionKind(name string) string {
	name = strings.TrimSuffix(name, ".arrow")
	folders := strings.Split(name, "/")
	last := len(folders) - 1
	if last == 0 {
		return name
	}
	kind := folders[0]
	if _, ok := parseRollup(strings.Join(folders[:min(2, last)], "/")); ok {
		kind += "/" + folders[1]
	}
	if _, part, found := strings.Cut(folders[last], "."); found {
		return kind + "/" + part
	}
	return kind
}

func (p *printer) sources(sources []Source) {
	if len(sources) == 0 {
		return
	}
	p.table("source\tday\tprofile\trejected", func(row func(string, ...any)) {
		for _, s := range sources {
			row("%s\t%s\t%s\t%s", s.ID, s.Day, s.Profile, s.Rejected)
		}
	})
}

// DumpConfig says which rows [Dump] writes.
type DumpConfig struct {
	Group string // of this name only; "": of all
	Limit int    // at most so many rows; 0: 100. Less than 0: all
}

// Dump writes rows as lines of text, one for each row: time, series, values, sample
// labels, and the stack from the root, its functions separated by ';'.
func Dump(ctx context.Context, w io.Writer, b *Block, cfg DumpConfig) error {
	d := dumper{b: b, sym: NewSymbols(), left: cfg.Limit}
	switch {
	case d.left == 0:
		d.left = 100
	case d.left < 0:
		d.left = int(b.info.Rows)
	}
	d.p.w = w
	if err := d.load(ctx); err != nil {
		return err
	}
	for n, g := range b.groups {
		if cfg.Group != "" && cfg.Group != g.Name {
			continue
		}
		if err := d.group(ctx, n); err != nil {
			return err
		}
	}
	return d.p.err
}

type dumper struct {
	b      *Block
	sym    *Symbols
	p      printer
	left   int
	labels [][]SampleLabel

	service int // whose stacks are loaded; -1: none
	stacks  []string
}

func (d *dumper) load(ctx context.Context) (err error) {
	d.service = -1
	d.labels, err = d.b.SampleLabels(ctx)
	return err
}

// group writes rows of a group, profile by profile, until enough have been written.
func (d *dumper) group(ctx context.Context, n int) error {
	totals, err := d.b.Totals(ctx, n, Span{0, uint64(len(d.b.series))})
	if err != nil {
		return err
	}
	cols := Columns{Labels: true}
	for k := range d.b.groups[n].SampleTypes {
		cols.Values = append(cols.Values, k)
	}
	var spans []Span
	for i, left := 0, d.left; i < totals.Len() && left > 0; i++ {
		span := Span{totals.FirstRow[i], min(totals.FirstRow[i+1], totals.FirstRow[i]+uint64(left))}
		spans = append(spans, span)
		left -= int(span.Len())
	}
	for rows, err := range d.b.Rows(ctx, n, spans, cols) {
		if err != nil {
			return err
		}
		if err := d.rows(ctx, n, rows, totals); err != nil {
			return err
		}
	}
	return nil
}

func (d *dumper) rows(ctx context.Context, group int, rows *Rows, totals *Totals) error {
	i := rows.Span // spans are those of the profiles, in their order
	series := d.b.series[totals.Series[i]]
	if err := d.useService(ctx, series.Service); err != nil {
		return err
	}
	g := d.b.groups[group]
	values := make([][]int64, len(g.SampleTypes))
	for k := range values {
		values[k] = rows.Values(nil, k)
	}
	first := d.b.services[series.Service].Nodes.From
	at := printTime(d.b.info.Range.From.UnixMilli() + int64(totals.T[i]))
	for r, stack := range rows.Stack {
		n := uint64(stack) - first
		if n >= uint64(len(d.stacks)) {
			return fmt.Errorf("row %d has stack %d, outside of its service: %w", rows.First+uint64(r), stack, block.ErrCorrupt)
		}
		d.p.printf("%s %s %s", at, g.Name, series.Labels)
		for k, v := range g.SampleTypes {
			d.p.printf(" %s=%d", v.Type, values[k][r])
		}
		if rows.Labels != nil {
			d.printLabels(d.labels[rows.Labels[r]])
		}
		d.p.printf(" %s\n", d.stacks[n])
		d.left--
	}
	return d.p.err
}

func (d *dumper) printLabels(set []SampleLabel) {
	for _, l := range set {
		value := strconv.Quote(l.Str)
		if l.IsNum {
			value = strconv.FormatInt(l.Num, 10) + l.Unit
		}
		d.p.printf(" %s=%s", l.Key, value)
	}
}

// useService writes out the stacks of a service, each from the root.
func (d *dumper) useService(ctx context.Context, service int) error {
	if d.service == service {
		return nil
	}
	stacks, err := d.b.Stacks(ctx, d.sym, service)
	if err != nil {
		return err
	}
	d.service = service
	d.stacks = d.stacks[:0]
	path := []string{""}
	for i, depth := range stacks[0].Depth {
		line := ""
		if depth > 0 {
			line = d.sym.name(stacks[0].Frame[i])
			if depth > 1 {
				line = path[depth-1] + ";" + line
			}
		}
		path = append(path[:depth], line)
		d.stacks = append(d.stacks, line)
	}
	return nil
}

// name writes a frame as its functions, the caller first, or its address.
func (s *Symbols) name(id FrameID) string {
	f := s.Frame(id)
	if len(f.Lines) == 0 {
		if f.Mapping < 0 {
			return fmt.Sprintf("0x%x", f.Address)
		}
		m := s.mappings[f.Mapping]
		return fmt.Sprintf("%s+0x%x", cmp.Or(m.File, m.BuildID), f.Address)
	}
	var names []string
	for _, l := range slices.Backward(f.Lines) {
		names = append(names, cmp.Or(s.functions[l.Function].Name, s.functions[l.Function].SystemName))
	}
	return strings.Join(names, ";")
}
