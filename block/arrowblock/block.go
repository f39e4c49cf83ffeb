package arrowblock

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/profile"
)

// Block is an open Arrow block. Its index, series, labels and mappings are in memory;
// everything else is read from the source when asked for. It is safe for concurrent use.
type Block struct {
	src  block.Source
	zstd *zstd.Decoder
	info Info

	index    section
	sections []section
	chunks   []chunk
	raw      []rowTable   // by group
	totals   [][]*section // by group
	rollups  []rollupTable

	groups      []Group
	services    []Service
	labels      []profile.Label
	series      []Series
	postings    []uint32
	postingEnds []uint32 // by label
	mappings    []Mapping
}

// ReadFrom returns the same open block, which reads what is not in memory from another source
// of the same bytes.
func (b *Block) ReadFrom(src block.Source) *Block {
	c := *b
	c.src = src
	return &c
}

// Info returns the block's facts.
func (b *Block) Info() Info { return b.info }

// Groups returns the block's groups, sorted. The slice is not to be changed, as with
// all that a Block returns.
func (b *Block) Groups() []Group { return b.groups }

// Services returns the block's services, sorted by name.
func (b *Block) Services() []Service { return b.services }

// Series returns the block's series, sorted.
func (b *Block) Series() []Series { return b.series }

// Mappings returns the binaries that frames lie in, in canonical order.
func (b *Block) Mappings() []Mapping { return b.mappings }

// SizeBytes estimates the memory that the open Block holds.
func (b *Block) SizeBytes() (n int64) {
	for i := range b.sections {
		n += 120 + int64(len(b.sections[i].name))
	}
	for _, l := range b.labels {
		n += 32 + int64(len(l.Name)+len(l.Value))
	}
	for i := range b.series {
		n += 40 + 40*int64(len(b.series[i].Labels))
	}
	for i := range b.mappings {
		n += 64 + int64(len(b.mappings[i].File)+len(b.mappings[i].BuildID))
	}
	return n + 64*int64(len(b.services)+len(b.groups)) + 64<<10
}

func (b *Block) compareSeries(x, y *Series) int {
	return cmp.Or(cmp.Compare(x.Group, y.Group), cmp.Compare(x.Service, y.Service), x.Labels.Compare(y.Labels))
}

// LabelNames returns the names of labels that series have, sorted.
func (b *Block) LabelNames() []string {
	var names []string
	for _, l := range b.labels {
		if len(names) == 0 || names[len(names)-1] != l.Name {
			names = append(names, l.Name)
		}
	}
	return names
}

// LabelValues returns the values of a label, sorted.
func (b *Block) LabelValues(name string) []string {
	var values []string
	for _, l := range b.labels[b.firstLabel(profile.Label{Name: name}):] {
		if l.Name != name {
			break
		}
		values = append(values, l.Value)
	}
	return values
}

// Postings returns the numbers of the series that have the label, ascending.
func (b *Block) Postings(name, value string) []uint32 {
	l := profile.Label{Name: name, Value: value}
	i := b.firstLabel(l)
	if i == len(b.labels) || b.labels[i] != l {
		return nil
	}
	from := uint32(0)
	if i > 0 {
		from = b.postingEnds[i-1]
	}
	return b.postings[from:b.postingEnds[i]]
}

// firstLabel is the position of the first label that is not less than l.
func (b *Block) firstLabel(l profile.Label) int {
	return sort.Search(len(b.labels), func(i int) bool { return compareLabels(b.labels[i], l) >= 0 })
}

// How reads are joined: what lies between two sections is read too where a request
// would cost more, and one request gets no larger than pays.
const (
	joinGap      = 256 << 10
	joinUpTo     = 8 << 20
	readsAtATime = 8
)

// fetch reads whole sections, near ones with one request, and checks their bytes.
func (b *Block) fetch(ctx context.Context, sections ...*section) ([]*stream, error) {
	order := make([]int, len(sections))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(x, y int) int { return cmp.Compare(sections[x].off, sections[y].off) })
	streams := make([]*stream, len(sections))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readsAtATime)
	for len(order) > 0 {
		from, to := sections[order[0]].off, sections[order[0]].end()
		n := 1
		for ; n < len(order); n++ {
			next := sections[order[n]]
			if next.off-to > joinGap || next.end()-from > joinUpTo {
				break
			}
			to = max(to, next.end())
		}
		run := order[:n]
		order = order[n:]
		group.Go(func() error {
			data, err := readRange(ctx, b.src, from, to-from)
			if err != nil {
				return err
			}
			for _, i := range run {
				s := sections[i]
				if streams[i], err = b.parse(s, data[s.off-from:][:s.length:s.length]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return streams, group.Wait()
}

// parse checks a section's bytes and reads the stream's metadata.
func (b *Block) parse(s *section, data []byte) (*stream, error) {
	if err := s.check(data); err != nil {
		return nil, err
	}
	stream, err := parseStream(s.name, s.off, data, b.zstd)
	if err == nil && stream.rows != s.rows {
		err = stream.corrupt("%d rows, the index says %d", stream.rows, s.rows)
	}
	return stream, err
}

// table reads one of the sections that are there once.
func (b *Block) table(ctx context.Context, name string) (*stream, error) {
	s, err := b.named(name)
	if err != nil {
		return nil, err
	}
	streams, err := b.fetch(ctx, s)
	if err != nil {
		return nil, err
	}
	return streams[0], nil
}

// Headers reads the table that Totals.Header points into.
func (b *Block) Headers(ctx context.Context) ([]Header, error) {
	s, err := b.table(ctx, headersName)
	if err != nil {
		return nil, err
	}
	var comments, drop, keep, url *textView
	var main []uint32
	offsets, err := s.decodeList("comments")
	if err := firstError(err,
		stringsInto(s, &comments, "comments", "item"),
		stringsInto(s, &drop, "drop_frames"), stringsInto(s, &keep, "keep_frames"), stringsInto(s, &url, "doc_url"),
		decodeInto(s, &main, "main_mapping"),
	); err != nil {
		return nil, err
	}
	headers := make([]Header, s.rows)
	for i := range headers {
		if int(main[i]) > len(b.mappings) {
			return nil, s.corrupt("header %d: mapping %d of %d", i, main[i], len(b.mappings))
		}
		headers[i] = Header{DropFrames: drop.at(i), KeepFrames: keep.at(i), DocURL: url.at(i), Main: int(main[i]) - 1}
		for k := offsets[i]; k < offsets[i+1]; k++ {
			headers[i].Comments = append(headers[i].Comments, comments.at(int(k)))
		}
	}
	return headers, nil
}

// SampleLabels reads the table that Rows.Labels points into. Number 0 is the empty set.
func (b *Block) SampleLabels(ctx context.Context) ([][]SampleLabel, error) {
	s, err := b.table(ctx, sampleLabelsName)
	if err != nil {
		return nil, err
	}
	var key, str, unit *textView
	var num []int64
	var isNum []uint8
	offsets, err := s.decodeList("labels")
	if err := firstError(err,
		stringsInto(s, &key, "labels", "item", "key"), stringsInto(s, &str, "labels", "item", "str"),
		stringsInto(s, &unit, "labels", "item", "unit"),
		decodeInto(s, &num, "labels", "item", "num"), decodeInto(s, &isNum, "labels", "item", "is_num"),
	); err != nil {
		return nil, err
	}
	all := make([]SampleLabel, len(num))
	for i := range all {
		all[i] = SampleLabel{key.at(i), str.at(i), num[i], unit.at(i), isNum[i] != 0}
	}
	sets := make([][]SampleLabel, s.rows)
	for i := range sets {
		sets[i] = all[offsets[i]:offsets[i+1]:offsets[i+1]]
	}
	if len(sets) == 0 || len(sets[0]) > 0 {
		return nil, s.corrupt("the first set is not the empty one")
	}
	return sets, nil
}

// Sources reads where the block's profiles came from, sorted by ID.
func (b *Block) Sources(ctx context.Context) ([]Source, error) {
	s, err := b.table(ctx, sourcesName)
	if err != nil {
		return nil, err
	}
	var id, file, rejected *textView
	var day []uint32
	if err := firstError(
		stringsInto(s, &id, "id"), decodeInto(s, &day, "day"),
		stringsInto(s, &file, "profile"), stringsInto(s, &rejected, "rejected"),
	); err != nil {
		return nil, err
	}
	sources := make([]Source, s.rows)
	for i := range sources {
		sources[i] = Source{Day: block.Day(day[i]), Profile: file.at(i), Rejected: rejected.at(i)}
		if sources[i].ID, err = block.ParseID(id.at(i)); err != nil {
			return nil, s.corrupt("source %d: %v", i, err)
		}
	}
	return sources, nil
}

// chunksOf is the range of chunks that hold nodes of the span.
func (b *Block) chunksOf(nodes Span) (from, to int) {
	from = sort.Search(len(b.chunks), func(i int) bool {
		return b.chunks[i].nodes.first+uint64(b.chunks[i].nodes.rows) > nodes.From
	})
	to = sort.Search(len(b.chunks), func(i int) bool { return b.chunks[i].nodes.first >= nodes.To })
	return from, to
}

// checkGroup refuses a group that the block does not have.
func (b *Block) checkGroup(group int) error {
	if group < 0 || group >= len(b.groups) {
		return fmt.Errorf("group %d of %d: %w", group, len(b.groups), profile.ErrInvalid)
	}
	return nil
}
