package arrowblock

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/profile"
)

// InputError is a failure to read one of the blocks that [MergeBlocks] merges.
type InputError struct {
	Input int // which of them
	Err   error
}

// Error implements error.
func (e *InputError) Error() string { return fmt.Sprintf("block %d of a merge: %v", e.Input, e.Err) }

// Unwrap gives the failure itself: block.ErrCorrupt where the block is damaged.
func (e *InputError) Unwrap() error { return e.Err }

// MergeBlocks writes a block with the profiles of others, which must be of the same range,
// and returns what there is to say of it in HEAD: Meta without IDs and Level. A profile
// that is in several blocks is written once, and repeated counts the others. Rollups are made
// of the profiles, so that what was repeated is in none. The same profiles give the same bytes, in
// whatever blocks they come and in whatever order: those that a [Builder] of all of
// them writes. The failure to read a block is an [InputError].
//
// Blocks are walked side by side, since series, stacks and rows are in the same order
// everywhere. What is held in memory, however large the blocks are: the tables of open
// blocks, sample labels, headers and sources; the stacks of some services, a million
// nodes or those of the largest service, at about 20 bytes a node, and 64 MiB of their
// frames; a bit for each node of the result and block; and of each block a chunk of rows
// and one of totals, about 8 MiB when full. Rollups take 40 MiB more, and a tenth
// of a service's rows by window of time.
func MergeBlocks(ctx context.Context, out Output, blocks ...*Block) (meta block.Meta, repeated int64, err error) {
	m, err := newMerging(out, blocks)
	if err != nil {
		return block.Meta{}, 0, err
	}
	return m.write(ctx)
}

func (m *merging) write(ctx context.Context) (meta block.Meta, repeated int64, err error) {
	for _, step := range []func(context.Context) error{m.readTables, m.writeStacks, m.writeGroups} {
		if err := step(ctx); err != nil {
			return block.Meta{}, 0, err
		}
	}
	if err := m.writeTables(); err != nil {
		return block.Meta{}, 0, err
	}
	meta, err = m.writeTail()
	return meta, m.repeated, err
}

// merging is a finisher whose stacks and rows come out of other blocks. Its Builder has
// tables only.
type merging struct {
	*finisher
	inputs   []*mergeInput
	repeated int64

	nodesAtATime    uint64 // of all inputs together, or those of one service if it has more
	mostSymbolBytes int64  // before those that are not needed any more are let go
}

// How much of the stacks is held while they are merged.
const (
	nodesAtATime    = 1 << 20
	mostSymbolBytes = 64 << 20
)

// mergeInput is a block that is merged, and what its numbers are in the result.
type mergeInput struct {
	*Block
	position int // among the arguments

	groups   []uint32 // of the Builder, by own number, until they are sorted: then of the result
	services []uint32
	series   []uint32
	labels   []uint32
	headers  []uint32

	groupIn   []int    // its own number, by that of the result; -1 where it has none
	serviceIn []int    // likewise
	nodes     []picked // by service of the result: which nodes it has

	entered int      // the service whose rows are being merged, by own number
	nodeOf  []uint32 // of it: the result's nodes, by own number from the service's first
}

func newMerging(out Output, blocks []*Block) (*merging, error) {
	if len(blocks) == 0 {
		return nil, fmt.Errorf("merge of no blocks: %w", profile.ErrInvalid)
	}
	b, err := NewBuilder(Config{Range: blocks[0].info.Range})
	if err != nil {
		return nil, err
	}
	f, err := newFinisher(b, out)
	if err != nil {
		return nil, err
	}
	m := &merging{
		finisher:        f,
		nodesAtATime:    nodesAtATime,
		mostSymbolBytes: mostSymbolBytes,
	}
	m.info = Info{Range: blocks[0].info.Range, MinTime: math.MaxInt64, MaxTime: math.MinInt64, Raw: true}
	for i, of := range blocks {
		if !of.info.Range.From.Equal(m.info.Range.From) || !of.info.Range.To.Equal(m.info.Range.To) {
			return nil, fmt.Errorf("merge of blocks of [%s, %s) and [%s, %s): %w",
				m.info.Range.From, m.info.Range.To, of.info.Range.From, of.info.Range.To, profile.ErrInvalid)
		}
		if !of.info.Raw {
			return nil, fmt.Errorf("merge of a block that has nothing but rollups: %w", profile.ErrInvalid)
		}
		m.inputs = append(m.inputs, &mergeInput{Block: of, position: i})
	}
	// The index has a checksum of everything: blocks that agree in its own are equal.
	slices.SortFunc(m.inputs, func(x, y *mergeInput) int {
		return cmp.Or(cmp.Compare(x.index.crc, y.index.crc), cmp.Compare(x.index.off, y.index.off))
	})
	return m, nil
}

// failed names the input in an error of reading it.
func (in *mergeInput) failed(err error) error {
	if err == nil || errors.As(err, new(*InputError)) {
		return err
	}
	return &InputError{in.position, err}
}

// readTables gathers the tables of all inputs and sorts them.
func (m *merging) readTables(ctx context.Context) error {
	for _, in := range m.inputs {
		if err := m.readTablesOf(ctx, in); err != nil {
			return in.failed(err)
		}
	}
	m.sort()
	for _, in := range m.inputs {
		renumber(in.groups, m.groups)
		renumber(in.services, m.services)
		renumber(in.series, m.series)
		renumber(in.labels, m.labels)
		renumber(in.headers, m.headers)
		in.groupIn = inverse(in.groups, len(m.groups.old))
		in.serviceIn = inverse(in.services, len(m.services.old))
		in.nodes = make([]picked, len(m.services.old))
	}
	return nil
}

func renumber(numbers []uint32, o order) {
	for i, n := range numbers {
		numbers[i] = o.new[n]
	}
}

func inverse(numbers []uint32, n int) []int {
	own := slices.Repeat([]int{-1}, n)
	for i, number := range numbers {
		own[number] = i
	}
	return own
}

func (m *merging) readTablesOf(ctx context.Context, in *mergeInput) error {
	sources, err := in.Sources(ctx)
	if err != nil {
		return err
	}
	for _, s := range sources {
		m.b.AddSource(s)
	}
	sets, err := in.SampleLabels(ctx)
	if err != nil {
		return err
	}
	for _, set := range sets {
		in.labels = append(in.labels, m.b.labels.intern(set))
	}
	var mappings []int
	for _, mapping := range in.mappings {
		mappings = append(mappings, int(m.b.symbols.internMapping(mapping)))
	}
	headers, err := in.Headers(ctx)
	if err != nil {
		return err
	}
	for _, h := range headers {
		if h.Main >= 0 {
			h.Main = mappings[h.Main]
		}
		in.headers = append(in.headers, m.b.internHeader(h))
	}
	for _, g := range in.Block.groups {
		in.groups = append(in.groups, m.b.internGroup(g))
	}
	for _, s := range in.Block.services {
		in.services = append(in.services, m.b.internService(s.Name))
	}
	for _, s := range in.Block.series {
		in.series = append(in.series, m.b.internSeries(in.groups[s.Group], in.services[s.Service], s.Labels))
	}
	return nil
}

func (b *Builder) internGroup(g Group) uint32 {
	n := slices.IndexFunc(b.groups.all, func(h *builderGroup) bool { return h.Compare(g) == 0 })
	if n < 0 {
		n = len(b.groups.all)
		b.groups.all = append(b.groups.all, &builderGroup{Group: g})
	}
	return uint32(n)
}

func (b *Builder) internService(name string) uint32 {
	key := []byte(name)
	n, ok := b.services.find(key)
	if !ok {
		n = b.services.add(key, name)
	}
	return n
}

// internSeries does not copy the labels.
func (b *Builder) internSeries(group, service uint32, labels profile.Labels) uint32 {
	b.key = appendNumber(b.key[:0], uint64(group))
	for _, l := range labels {
		b.key = appendText(appendText(b.key, l.Name), l.Value)
	}
	n, ok := b.series.find(b.key)
	if !ok {
		n = b.series.add(b.key, builderSeries{group, service, labels})
	}
	return n
}

// internHeader does not copy the strings.
func (b *Builder) internHeader(h Header) uint32 {
	b.key = appendNumber(b.key[:0], uint64(h.Main+1))
	for _, s := range append([]string{h.DropFrames, h.KeepFrames, h.DocURL}, h.Comments...) {
		b.key = appendText(b.key, s)
	}
	n, ok := b.headers.find(b.key)
	if !ok {
		n = b.headers.add(b.key, h)
	}
	return n
}
