package arrowblock

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/coldframe/coldframe/internal/guard"
	"github.com/coldframe/coldframe/profile"
)

// Config says what a [Builder] is for.
type Config struct {
	// Range is where the times of profiles must lie; for a block that goes to a bucket
	// it is its UTC day. Whole milliseconds, at most 49 days. Required.
	Range profile.TimeRange
	// Uncompressed leaves out zstd: for a block that is read at once from memory.
	// Its bytes are about five times as many.
	Uncompressed bool
}

// Key says what a profile is beside its content.
type Key struct {
	Name   string // "process_cpu", "memory": Parca's first part of a profile type
	Labels profile.Labels
	// Time is when the profile was taken. The zero Time stands for what the profile
	// itself says.
	Time time.Time
}

// Builder gathers profiles and writes them as one block. What is written depends on
// what was added, not on the order. A Builder is not safe for concurrent use.
type Builder struct {
	cfg      Config
	from, to int64 // cfg.Range in milliseconds since 1970

	symbols *Symbols
	stacks  stackSet
	labels  labelSets

	services numbered[string]
	groups   numbered[*builderGroup]
	series   numbered[builderSeries]
	headers  numbered[Header]
	seen     map[identity]struct{}
	sources  map[Source]struct{}

	profiles, repeated int
	samples            int64
	numbers            slab[uint32] // the rows' stacks and labels
	values             slab[int64]

	decoder  profile.Decoder
	in       inbox
	key      []byte // used again for each lookup
	finished bool
}

// identity is what makes two profiles the same one, sent twice.
type identity struct {
	series uint32
	ms     int64
	hash   uint64
}

type builderSeries struct {
	group, service uint32
	labels         profile.Labels
}

// builderGroup is a group with its profiles, in the order of Add.
type builderGroup struct {
	Group
	profiles []builderProfile
}

// builderProfile is a profile and its rows, one for each sample that counts.
type builderProfile struct {
	series   uint32
	header   uint32
	samples  uint32
	nanos    int64 // since 1970
	duration int64
	period   int64
	hash     uint64
	stacks   []uint32 // in Builder.stacks
	labels   []uint32 // in Builder.labels; nil when no row has any
	values   []int64  // all rows of the first sample type, then of the next
}

// column is the values of sample type k.
func (p *builderProfile) column(k int) []int64 {
	n := len(p.stacks)
	return p.values[k*n : (k+1)*n]
}

// maxDepth is how many locations a stack may have: a node's depth is 16 bits wide.
const maxDepth = math.MaxUint16

// NewBuilder returns an empty Builder. A range that is not one is profile.ErrInvalid.
func NewBuilder(cfg Config) (*Builder, error) {
	if err := cfg.Range.Validate(); err != nil {
		return nil, err
	}
	from, to := cfg.Range.From.UnixMilli(), cfg.Range.To.UnixMilli()
	if to-from > math.MaxUint32 || from*1e6 != cfg.Range.From.UnixNano() || to*1e6 != cfg.Range.To.UnixNano() {
		return nil, fmt.Errorf("range of a block [%s, %s): want whole milliseconds, at most 49 days of them: %w", cfg.Range.From, cfg.Range.To, profile.ErrInvalid)
	}
	return &Builder{
		cfg: cfg, from: from, to: to,
		symbols: NewSymbols(),
		labels:  newLabelSets(),
		seen:    map[identity]struct{}{},
		sources: map[Source]struct{}{},
	}, nil
}

// AddSource records where profiles came from. A repeated one counts once.
func (b *Builder) AddSource(s Source) { b.sources[s] = struct{}{} }

// Profiles is how many profiles were added.
func (b *Builder) Profiles() int { return b.profiles }

// Repeated is how many profiles were not added because they were inside.
func (b *Builder) Repeated() int { return b.repeated }

// SizeBytes estimates the memory that the Builder holds. Finish needs 40 MB more, and a
// tenth of it.
func (b *Builder) SizeBytes() int64 {
	const seriesBytes, profileBytes, sourceBytes = 600, 128 + 64, 100
	return b.symbols.SizeBytes() + b.stacks.sizeBytes() + b.labels.size + b.numbers.held*4 + b.values.held*8 +
		int64(len(b.series.all))*seriesBytes + int64(b.profiles)*profileBytes + int64(len(b.sources))*sourceBytes
}

// AddPprof adds a profile from the bytes of a pprof, compressed or not. It reports whether the
// profile was added: false and no error says that the same profile (series, name,
// millisecond and content) is inside already. A malformed pprof or a time outside of
// the range is profile.ErrInvalid. After an error the Builder is as it was.
func (b *Builder) AddPprof(k Key, body []byte) (added bool, err error) {
	raw, err := b.decoder.Uncompress(body)
	if err != nil {
		return false, err
	}
	hash := xxhash.Sum64(raw)
	p, err := b.decoder.DecodeUncompressed(raw)
	if err != nil {
		return false, err
	}
	return b.Add(k, p, hash)
}

// Add is [Builder.AddPprof] of a decoded profile. hash is the xxhash64 of its
// uncompressed pprof. p is not kept.
func (b *Builder) Add(k Key, p *profile.Profile, hash uint64) (added bool, err error) {
	b.mustBeOpen()
	nanos, err := b.timeOf(k, p)
	if err != nil {
		return false, err
	}
	if err := b.check(k, p); err != nil {
		return false, err
	}
	series := b.seriesNumber(k, p)
	id := identity{series, floorMillis(nanos), hash}
	if _, again := b.seen[id]; again && !guard.Removed(guard.SentTwice) {
		b.repeated++
		return false, nil
	}
	b.seen[id] = struct{}{}
	b.add(series, nanos, hash, p)
	return true, nil
}

func (b *Builder) mustBeOpen() {
	if b.finished {
		panic("arrowblock: a Builder is used after Finish")
	}
}

// timeOf decides a profile's time in nanoseconds since 1970, and that it is in range.
func (b *Builder) timeOf(k Key, p *profile.Profile) (int64, error) {
	taken := k.Time
	if taken.IsZero() {
		if p.TimeNanos == 0 {
			return 0, fmt.Errorf("profile %s of %s has no time: %w", k.Name, k.Labels, profile.ErrInvalid)
		}
		taken = time.Unix(0, p.TimeNanos).UTC()
	}
	if !b.cfg.Range.Contains(taken) {
		return 0, fmt.Errorf("profile %s of %s: its time %s is outside of the block's range [%s, %s): %w",
			k.Name, k.Labels, taken, b.cfg.Range.From, b.cfg.Range.To, profile.ErrInvalid)
	}
	return taken.UnixNano(), nil
}

func floorMillis(nanos int64) int64 {
	ms := nanos / 1e6
	if nanos%1e6 < 0 {
		ms--
	}
	return ms
}

// check refuses what the block cannot hold, before anything has changed.
func (b *Builder) check(k Key, p *profile.Profile) error {
	if k.Name == "" {
		return fmt.Errorf("profile of %s has no name: %w", k.Labels, profile.ErrInvalid)
	}
	if len(p.SampleTypes) == 0 {
		return fmt.Errorf("profile %s of %s has no sample types: %w", k.Name, k.Labels, profile.ErrInvalid)
	}
	for i := range p.NumSamples() {
		if n := len(p.Stack(i)); n > maxDepth {
			return fmt.Errorf("profile %s of %s: sample %d has %d locations, at most %d are allowed: %w", k.Name, k.Labels, i, n, maxDepth, profile.ErrInvalid)
		}
	}
	if uint64(len(b.stacks.records)+recordFrames*p.NumSamples()+len(p.LocationRefs)) > maxRecords || uint64(len(b.symbols.lines)+len(p.Lines)) > math.MaxUint32 {
		return fmt.Errorf("profile %s of %s: the block has %d stacks and cannot number more: %w", k.Name, k.Labels, b.stacks.len(), profile.ErrInvalid)
	}
	return nil
}

// seriesNumber finds or makes the profile's series, and with it its group and service.
func (b *Builder) seriesNumber(k Key, p *profile.Profile) uint32 {
	group := b.groupNumber(k, p)
	b.key = appendNumber(b.key[:0], uint64(group))
	for _, l := range k.Labels {
		b.key = appendText(appendText(b.key, l.Name), l.Value)
	}
	if n, ok := b.series.find(b.key); ok {
		return n
	}
	series := b.key
	service := k.Labels.Service()
	name := []byte(service)
	n, ok := b.services.find(name)
	if !ok {
		n = b.services.add(name, service)
	}
	return b.series.add(series, builderSeries{group, n, slices.Clone(k.Labels)})
}

func (b *Builder) groupNumber(k Key, p *profile.Profile) uint32 {
	key := appendText(b.key[:0], k.Name)
	for _, v := range append([]profile.ValueTypeRef{p.PeriodType}, p.SampleTypes...) {
		key = appendText(appendText(key, p.Strings[v.Type]), p.Strings[v.Unit])
	}
	key = appendText(key, p.Strings[p.DefaultSampleType])
	key = strconv.AppendBool(key, p.DurationNanos != 0)
	b.key = key
	if n, ok := b.groups.find(key); ok {
		return n
	}
	g := &builderGroup{Group: Group{
		Name:              k.Name,
		Period:            cloneValueType(p, p.PeriodType),
		Delta:             p.DurationNanos != 0,
		DefaultSampleType: strings.Clone(p.Strings[p.DefaultSampleType]),
	}}
	for _, v := range p.SampleTypes {
		g.SampleTypes = append(g.SampleTypes, cloneValueType(p, v))
	}
	return b.groups.add(key, g)
}

func cloneValueType(p *profile.Profile, v profile.ValueTypeRef) profile.ValueType {
	return profile.ValueType{Type: strings.Clone(p.Strings[v.Type]), Unit: strings.Clone(p.Strings[v.Unit])}
}

// add stores the rows of a checked profile. Nothing in it fails.
func (b *Builder) add(series uint32, nanos int64, hash uint64, p *profile.Profile) {
	b.in.open(b, p)
	defer b.in.close()
	of := &b.series.all[series]
	g := b.groups.all[of.group]
	b.profiles++
	b.samples += int64(p.NumSamples())
	b.in.pickSamples()
	g.profiles = append(g.profiles, builderProfile{
		series: series, header: b.headerNumber(p), samples: uint32(p.NumSamples()),
		nanos: nanos, duration: p.DurationNanos, period: p.Period, hash: hash,
		stacks: b.in.internStacks(of.service),
		labels: b.in.internLabels(),
		values: b.in.copyValues(),
	})
}

func allZero(values []int64) bool {
	for _, v := range values {
		if v != 0 {
			return false
		}
	}
	return true
}

// headerNumber finds or makes the profile's header.
func (b *Builder) headerNumber(p *profile.Profile) uint32 {
	main := -1
	if len(p.Mappings) > 0 {
		main = int(b.in.mapping(0))
	}
	key := appendNumber(b.key[:0], uint64(main+1))
	for _, s := range [...]uint32{p.DropFrames, p.KeepFrames, p.DocURL} {
		key = appendText(key, p.Strings[s])
	}
	for _, s := range p.Comments {
		key = appendText(key, p.Strings[s])
	}
	b.key = key
	if n, ok := b.headers.find(key); ok {
		return n
	}
	h := Header{
		DropFrames: strings.Clone(p.Strings[p.DropFrames]),
		KeepFrames: strings.Clone(p.Strings[p.KeepFrames]),
		DocURL:     strings.Clone(p.Strings[p.DocURL]),
		Main:       main,
	}
	for _, s := range p.Comments {
		h.Comments = append(h.Comments, strings.Clone(p.Strings[s]))
	}
	return b.headers.add(key, h)
}
