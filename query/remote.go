package query

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/profile"
)

// Remote computes parts of large queries in other processes. A querier asks it which
// blocks are whose, sends each worker one [Part], and merges the [Partial]s that come
// back; what a worker fails for it computes itself. So it does not matter whether the
// workers are functions that are invoked or members of a cluster, nor whether they live.
type Remote interface {
	// Assign names for each block, by its key, the worker that should read it: one who
	// may have it in its cache. "" is this process.
	Assign(keys []string) []string
	// Compute has a worker do [Querier.Compute].
	Compute(ctx context.Context, worker string, p Part) (*Partial, error)
}

// Part is a share of a query that another process can compute: some blocks, and what is
// asked of them. Which profiles count, and of which types, is settled before.
type Part struct {
	Version  int            `json:"v"`
	Tenant   profile.Tenant `json:"tenant"`
	Selector string         `json:"selector"`
	From     int64          `json:"from"` // nanoseconds since 1970
	To       int64          `json:"to"`
	// Types are wanted: of one name, period and delta; their sample types are the columns
	// of the answer, in this order.
	Types block.Types `json:"types"`
	// Own is what of the selector series must satisfy by labels of their own.
	Own string `json:"own,omitempty"`
	// Labels says that samples keep their labels.
	Labels bool `json:"labels,omitempty"`
	// By are names of labels that samples are grouped by.
	By []string `json:"by,omitempty"`
	// Steps, when it is there, asks for totals over time instead of stacks.
	Steps  *PartSteps  `json:"steps,omitempty"`
	Blocks []PartBlock `json:"blocks"`
}

// PartBlock is a block of a [Part].
type PartBlock struct {
	Key string `json:"key"`
	block.Meta
}

// partVersion is refused by processes of another version, whose caller then computes
// the part itself.
const partVersion = 2

// Partial is the answer to a [Part].
type Partial struct {
	// Block is an Arrow block of a single profile, the sum of all, or of one for each group,
	// whose labels its series has. It is empty when nothing was selected.
	Block   []byte    `json:"block,omitempty"`
	Lines   []Line    `json:"lines,omitempty"`   // by labels, when the part has Steps
	Missing []Missing `json:"missing,omitempty"` // blocks that are not in the sum at all
	Gone    bool      `json:"gone,omitempty"`    // one of them because it does not exist

	Requests  int           `json:"requests"`
	Bytes     int64         `json:"bytes"`
	CacheHits int           `json:"cache_hits"`
	CPU       time.Duration `json:"cpu_ns"`
}

// Compute answers a part of a query that another process has planned. A part that is
// malformed or of another version is [profile.ErrInvalid].
func (q *Querier) Compute(ctx context.Context, p Part) (*Partial, error) {
	req, c, err := p.parse()
	if err != nil {
		return nil, fmt.Errorf("part of a query: %w", err)
	}
	own, err := profile.ParseSelector(p.Own)
	if err != nil {
		return nil, fmt.Errorf("part of a query: %w", err)
	}
	out := &Partial{}
	stats, err := q.answer(ctx, partQuery, req, func(ctx context.Context, r *run) error {
		r.alone, r.within, r.own = true, req.Range, own.Matchers
		r.by, r.apart = p.By, len(p.By) > 0
		switch { // repeated profiles stay with the caller
		case p.Steps != nil:
			p.Steps.ask(r)
		case !p.Labels:
			r.sums = anyWindow
		}
		for _, b := range p.Blocks {
			r.planned(b.Key)
		}
		s, err := r.selectOf(ctx, p.Blocks)
		if err != nil {
			return err
		}
		s.keep(c)
		if p.Steps != nil {
			err = r.computeSteps(ctx, s, c, p, out)
		} else {
			err = r.computeBlock(ctx, s, c, p, out)
		}
		out.Gone, r.gone = r.gone, false // to look again is the caller's part
		return err
	})
	out.Missing = stats.Missing
	out.Requests, out.Bytes, out.CacheHits, out.CPU = stats.Requests, stats.Bytes, stats.CacheHits, stats.CPU
	return out, err
}

// computeBlock merges what was selected.
func (r *run) computeBlock(ctx context.Context, s *selection, c *choice, p Part, out *Partial) error {
	m, err := r.merge(ctx, s, c, p.Labels)
	if err == nil && len(s.parts) > 0 {
		out.Block, err = m.block(c)
	}
	return err
}

func (p Part) parse() (req Request, c *choice, err error) {
	if p.Version != partVersion {
		return req, nil, fmt.Errorf("version %d, want %d: %w", p.Version, partVersion, profile.ErrInvalid)
	}
	if req.Tenant, err = profile.ParseTenant(string(p.Tenant)); err != nil {
		return req, nil, err
	}
	if req.Selector, err = profile.ParseSelector(p.Selector); err != nil {
		return req, nil, err
	}
	req.Range = profile.TimeRange{From: time.Unix(0, p.From), To: time.Unix(0, p.To)}
	if err := req.Range.Validate(); err != nil {
		return req, nil, err
	}
	if p.Steps != nil {
		if req.Filters, err = p.Steps.filters(); err != nil {
			return req, nil, err
		}
	}
	if len(p.Types) == 0 {
		return req, nil, fmt.Errorf("no profile type: %w", profile.ErrInvalid)
	}
	first := p.Types[0]
	c = &choice{kind: kind{first.Name, first.Period, first.Delta}}
	for _, t := range p.Types {
		if c.kind != (kind{t.Name, t.Period, t.Delta}) {
			return req, nil, fmt.Errorf("types %s and %s are not of one profile: %w", first, t, profile.ErrInvalid)
		}
		c.samples = append(c.samples, t.Sample)
	}
	for _, b := range p.Blocks {
		key, err := block.ParseArrowKey(b.Key)
		if err != nil || key.Tenant != req.Tenant {
			return req, nil, fmt.Errorf("%q is no block of tenant %s: %w", b.Key, req.Tenant, profile.ErrInvalid)
		}
		if err := b.Validate(); err != nil {
			return req, nil, err
		}
	}
	return req, c, nil
}

// selectOf is [run.selectProfiles] of given blocks.
func (r *run) selectOf(ctx context.Context, blocks []PartBlock) (*selection, error) {
	parts := make([]*part, len(blocks))
	for i, b := range blocks {
		parts[i] = &part{key: b.Key, meta: b.Meta}
	}
	parts, err := each(ctx, r.ledger, r.cfg.Concurrency, parts, (*part).name, func(ctx context.Context, p *part) error {
		if err := r.openBlock(ctx, p); err != nil {
			return err
		}
		return r.choose(ctx, p)
	})
	return &selection{parts: parts}, err
}

// partialTime is the time of a partial's profile, which nobody asks for.
var partialTime = profile.TimeRange{From: time.UnixMilli(1), To: time.UnixMilli(2)}

// block is the sum as an Arrow block of one profile, or of one for each group.
func (m *merged) block(c *choice) ([]byte, error) {
	b, err := arrowblock.NewBuilder(arrowblock.Config{Range: partialTime})
	if err != nil {
		return nil, err
	}
	groups := m.groups
	if len(groups) == 0 {
		groups = []labelGroup{{tree: m.tree}}
	}
	var body bytes.Buffer
	for _, g := range groups {
		one := *m
		one.tree = g.tree
		sum := (&heads{}).profile(c)
		newPprofWriter(&one, sum, nil, newSieve(nil, m.sym)).samples()
		body.Reset()
		if err := sum.WriteUncompressed(&body); err != nil {
			return nil, err
		}
		if _, err := b.AddPprof(arrowblock.Key{Name: c.name, Labels: g.labels, Time: partialTime.From}, body.Bytes()); err != nil {
			return nil, err
		}
	}
	var out bytes.Buffer
	_, err = b.Finish(&out)
	return out.Bytes(), err
}

// away is what one worker is asked for.
type away struct {
	worker string
	parts  []*part
}

// share divides the parts of a query between this process and others. A part stays
// if it is in memory, or if profiles of it do not count because another has them too.
func (r *run) share(parts []*part) (here []*part, others []away) {
	if r.cfg.Remote == nil || r.alone || r.step > 0 || r.within.From.Before(r.profilesFrom) {
		return parts, nil
	}
	var movable []*part
	var sizeBytes float64
	for _, p := range parts {
		if p.key == "" || p.reduced() {
			here = append(here, p)
			continue
		}
		movable = append(movable, p)
		sizeBytes += float64(p.meta.Size) * p.chosenShare()
	}
	if len(movable) <= r.cfg.ShareBlocks && sizeBytes <= float64(r.cfg.ShareBytes) {
		return parts, nil
	}
	keys := make([]string, len(movable))
	for i, p := range movable {
		keys[i] = p.key
	}
	of := map[string]int{}
	for i, worker := range r.cfg.Remote.Assign(keys) {
		if worker == "" {
			here = append(here, movable[i])
			continue
		}
		n, known := of[worker]
		if !known {
			n = len(others)
			of[worker] = n
			others = append(others, away{worker: worker})
		}
		others[n].parts = append(others[n].parts, movable[i])
	}
	return here, others
}

// reduced says whether some of a part's profiles were dropped because another part has them.
func (p *part) reduced() bool {
	for _, k := range p.picks {
		if len(k.chosen) < k.found {
			return true
		}
	}
	return false
}

// chosenShare is about which share of a block is read.
func (p *part) chosenShare() float64 {
	chosen := 0
	for _, k := range p.picks {
		chosen += k.profiles()
	}
	return math.Min(1, float64(chosen)/math.Max(1, float64(p.meta.Profiles)))
}

// eachShared is [each] for the parts of a query, some of which other processes may read.
// Those read here become sums in into, unless it is nil.
func (r *run) eachShared(ctx context.Context, parts []*part, c *choice, into *sumList, full bool, read func(context.Context, *part) error) ([]*part, error) {
	here, others := r.share(parts)
	if len(others) == 0 {
		return r.eachHere(ctx, parts, c, into, read)
	}
	sound := make([][]*part, 1+len(others))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		sound[0], err = r.eachHere(ctx, here, c, into, read)
		return err
	})
	for i, a := range others {
		g.Go(func() (err error) {
			sound[1+i], err = r.mergeAway(ctx, a, c, into, full, read)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(sound...), nil
}

// mergeAway has a worker read some parts, or else reads them here, and returns those that
// are in the sum. read does what merge does with a part.
func (r *run) mergeAway(ctx context.Context, a away, c *choice, into *sumList, full bool, read func(context.Context, *part) error) ([]*part, error) {
	partial, err := r.cfg.Remote.Compute(ctx, a.worker, r.partOf(a.parts, c, full))
	if err == nil {
		err = r.readPartial(ctx, partial, c, read)
	}
	if err != nil {
		if ctx.Err() != nil || errors.Is(err, ErrTooLarge) {
			return nil, err
		}
		r.remoteFailed(a.worker, err)
		return r.eachHere(ctx, a.parts, c, into, read)
	}
	r.charge(partial)
	return r.credit(ctx, a.parts, partial, full)
}

func (r *ledger) remoteFailed(worker string, err error) {
	if r.cfg.Observer.RemoteFailed != nil {
		r.cfg.Observer.RemoteFailed(worker, err)
	}
}

func (r *run) partOf(parts []*part, c *choice, full bool) Part {
	p := Part{
		Version: partVersion, Tenant: r.req.Tenant, Selector: r.req.Selector.String(),
		From: r.within.From.UnixNano(), To: r.within.To.UnixNano(), Labels: full, By: r.by,
	}
	if len(r.own) > 0 {
		p.Own = profile.Selector{Matchers: r.own}.String()
	}
	for i := range c.samples {
		p.Types = append(p.Types, c.typ(i))
	}
	for _, from := range parts {
		meta := from.meta
		meta.Types = nil // the part says which
		p.Blocks = append(p.Blocks, PartBlock{from.key, meta})
	}
	return p
}

// readPartial reads what a worker has sent as if it were a block in memory.
func (r *run) readPartial(ctx context.Context, partial *Partial, c *choice, read func(context.Context, *part) error) error {
	if len(partial.Block) == 0 {
		return nil
	}
	if err := r.reserve(int64(len(partial.Block)), "what other processes have computed"); err != nil {
		return err
	}
	blk, err := arrowblock.Open(ctx, block.Bytes(partial.Block), arrowblock.Tail{})
	if err != nil {
		return err
	}
	n := len(blk.Series())
	if len(blk.Groups()) != 1 || n != 1 && len(r.by) == 0 {
		return fmt.Errorf("a partial answer has %d groups and %d series, want one of each: %w", len(blk.Groups()), n, block.ErrCorrupt)
	}
	for i, column := range c.columns(blk.Groups()[0]) {
		if column < 0 {
			return fmt.Errorf("a partial answer lacks the sample type %s: %w", c.typ(i), block.ErrCorrupt)
		}
	}
	totals, err := blk.Totals(ctx, 0, arrowblock.Span{From: 0, To: uint64(n)})
	if err != nil {
		return err
	}
	if totals.Len() != n {
		return fmt.Errorf("a partial answer has %d profiles of %d series, want as many: %w", totals.Len(), n, block.ErrCorrupt)
	}
	all := make([]uint32, n)
	for i := range all {
		all[i] = uint32(i)
	}
	return read(ctx, &part{blk: blk, series: all, picks: []pick{{totals: totals, chosen: all, found: n}}})
}

// charge adds what a worker spent to what the query costs.
func (r *ledger) charge(partial *Partial) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spent.Requests += partial.Requests
	r.spent.Bytes += partial.Bytes
	r.spent.CacheHits += partial.CacheHits
	r.spent.CPU += partial.CPU
}

// credit returns the parts that are in a partial answer, notes the others as missing, and
// reads of those what only this process puts into a pprof.
func (r *run) credit(ctx context.Context, parts []*part, partial *Partial, full bool) ([]*part, error) {
	progressOf(ctx).finish(len(parts))
	missing := map[string]bool{}
	for _, m := range partial.Missing {
		missing[m.Key] = true
		err := errors.New(m.Reason)
		if partial.Gone {
			err = fmt.Errorf("%s (%w)", m.Reason, bucket.ErrNotExist)
		}
		if err := r.lose(ctx, m.Key, err); err != nil {
			return nil, err
		}
	}
	var sound []*part
	for _, p := range parts {
		if !missing[p.key] {
			sound = append(sound, p)
		}
	}
	if !full {
		return sound, nil
	}
	var g errgroup.Group
	g.SetLimit(r.cfg.Concurrency)
	for _, p := range sound {
		g.Go(func() (err error) {
			p.headers, err = p.blk.Headers(ctx)
			return err
		})
	}
	return sound, g.Wait()
}
