package arrowblock

import (
	"context"
	"iter"

	"github.com/coldframe/coldframe/block"
)

// Tail says how to open a block with one request: what HEAD tells of its last bytes.
// The zero Tail means that nothing is known, and costs one or two more requests.
type Tail struct {
	Bytes int64  // to fetch from the end
	CRC   uint32 // their CRC32C
}

// Block is an open Arrow block. Its index, series, labels and mappings are in memory;
// everything else is read from the source when asked for. It is safe for concurrent use.
type Block struct{ _ struct{} }

// Open reads a block's tail. Bytes that are not an Arrow block, or not the one that
// tail describes, are block.ErrCorrupt.
func Open(ctx context.Context, src block.Source, tail Tail) (*Block, error) { panic("soon") }

// Info returns the block's facts.
func (b *Block) Info() Info { panic("soon") }

// Groups returns the block's groups, sorted. The slice is not to be changed, as with
// all that a Block returns.
func (b *Block) Groups() []Group { panic("soon") }

// Services returns the block's services, sorted by name.
func (b *Block) Services() []Service { panic("soon") }

// Series returns the block's series, sorted.
func (b *Block) Series() []Series { panic("soon") }

// LabelNames returns the names of labels that series have, sorted.
func (b *Block) LabelNames() []string { panic("soon") }

// LabelValues returns the values of a label, sorted.
func (b *Block) LabelValues(name string) []string { panic("soon") }

// Postings returns the numbers of the series that have the label, ascending.
func (b *Block) Postings(name, value string) []uint32 { panic("soon") }

// Mappings returns the binaries that frames lie in, in canonical order.
func (b *Block) Mappings() []Mapping { panic("soon") }

// SizeBytes estimates the memory that the open Block holds.
func (b *Block) SizeBytes() int64 { panic("soon") }

// Totals are the profiles of a group, one row each, sorted by series, time and hash.
// Columns have the same length, FirstRow is longer by one.
type Totals struct {
	Series        []uint32
	T             []uint32 // milliseconds from Info.Range.From
	Nanos         []uint32 // of the profile's time, below the millisecond: [0, 1e6)
	DurationNanos []int64
	Period        []int64
	Hash          []uint64 // xxhash64 of the uncompressed pprof
	Header        []uint32 // in Headers
	Samples       []uint32 // of the pprof, those with only zeros included
	Values        [][]int64 // the sum of each sample type
	FirstRow      []uint64  // the rows of profile i are [FirstRow[i], FirstRow[i+1]) of the group
}

// Len is how many profiles there are.
func (t *Totals) Len() int { return len(t.Series) }

// Totals reads the profiles of a group whose series lie in the span: nothing else of
// the block is needed for a time series.
func (b *Block) Totals(ctx context.Context, group int, series Span) (*Totals, error) { panic("soon") }

// Headers reads the table that Totals.Header points into.
func (b *Block) Headers(ctx context.Context) ([]Header, error) { panic("soon") }

// SampleLabels reads the table that Rows.Labels points into. Number 0 is the empty set.
func (b *Block) SampleLabels(ctx context.Context) ([][]SampleLabel, error) { panic("soon") }

// Sources reads where the block's profiles came from, sorted by ID.
func (b *Block) Sources(ctx context.Context) ([]Source, error) { panic("soon") }

// Columns says which columns of rows are wanted. Stack is always there.
type Columns struct {
	Values []int // which of the group's sample types; nil: none
	Labels bool
}

// Rows is a run of consecutive rows of a group. It is valid until the next one.
type Rows struct {
	Span   int      // which of the asked spans it belongs to
	First  uint64   // the number of the first row
	Stack  []uint32 // node numbers
	Labels []uint32 // numbers of label sets; nil when no row has labels or none were asked for

	values []column
}

// column is one column of values.
type column struct{ _ struct{} }

// Len is how many rows there are.
func (r *Rows) Len() int { return len(r.Stack) }

// AddTo adds the values of a sample type to self, in which node number first is at
// 0: the values of a service's rows to the nodes of its stacks. A stack outside is
// block.ErrCorrupt. The sample type must be one of the Columns asked for.
func (r *Rows) AddTo(self []int64, first uint64, sampleType int) error { panic("soon") }

// Values appends the values of a sample type to dst.
func (r *Rows) Values(dst []int64, sampleType int) []int64 { panic("soon") }

// Rows reads rows of a group. The spans, as found in Totals.FirstRow, must be ascending and
// disjoint; a span may come in several pieces. Only the chunks that hold them are read, several at a
// time, and of these only the columns asked for are decoded. An error ends the walk.
func (b *Block) Rows(ctx context.Context, group int, spans []Span, cols Columns) iter.Seq2[*Rows, error] {
	panic("soon")
}

// Stacks reads the stack traces of services, one Stacks for each, with the frames
// interned into sym. Node i of the result is node Services()[n].Nodes.From+i of the block.
// Calls that share sym may run at the same time.
func (b *Block) Stacks(ctx context.Context, sym *Symbols, services ...int) ([]*Stacks, error) {
	panic("soon")
}

// MayHaveFunction says whether a function of the name may occur in the service's stacks.
// false is certain; true is wrong once in a hundred times.
func (b *Block) MayHaveFunction(ctx context.Context, service int, name string) (bool, error) {
	panic("soon")
}

// Verify reads the whole block and checks every byte of it, and that what its
// sections say of one another is true. Damage is block.ErrCorrupt.
func (b *Block) Verify(ctx context.Context) error { panic("soon") }
