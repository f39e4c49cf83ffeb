package arrowblock

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/profile"
)

var day = time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC)

func dayRange() profile.TimeRange { return profile.TimeRange{From: day, To: day.Add(24 * time.Hour)} }

func labels(t testing.TB, pairs ...string) profile.Labels {
	t.Helper()
	var ls []profile.Label
	for i := 0; i < len(pairs); i += 2 {
		ls = append(ls, profile.Label{Name: pairs[i], Value: pairs[i+1]})
	}
	set, err := profile.NewLabels(ls...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func newBuilder(t testing.TB) *Builder {
	t.Helper()
	b, err := NewBuilder(Config{Range: dayRange()})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// encode gives the bytes of a pprof.
func encode(t testing.TB, p *pprof.Profile) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := p.WriteUncompressed(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func add(t testing.TB, b *Builder, k Key, body []byte) {
	t.Helper()
	if added, err := b.AddPprof(k, body); err != nil || !added {
		t.Fatalf("AddPprof(%v) = %v, %v", k, added, err)
	}
}

// finish writes the block and opens it again.
func finish(t testing.TB, b *Builder) (*Block, []byte) {
	t.Helper()
	var buf bytes.Buffer
	meta, err := b.Finish(&buf)
	if err != nil {
		t.Fatal(err)
	}
	if meta.Size != int64(buf.Len()) {
		t.Fatalf("Size = %d of %d bytes", meta.Size, buf.Len())
	}
	opened, err := Open(t.Context(), block.Bytes(buf.Bytes()), Tail{meta.Tail, meta.CRC})
	if err != nil {
		t.Fatal(err)
	}
	return opened, buf.Bytes()
}

// sample is a stack with its labels, written out, so that it can be compared
// wherever it comes from.
type samples map[string][]int64

func (s samples) add(key string, values []int64) {
	if s[key] == nil {
		s[key] = make([]int64, len(values))
	}
	for i, v := range values {
		s[key][i] += v
	}
}

func (s samples) dropZeros() samples {
	maps.DeleteFunc(s, func(_ string, values []int64) bool { return allZero(values) })
	return s
}

// writeMapping leaves out flags: to google/pprof they do not make another mapping.
func writeMapping(m Mapping) string {
	k := m.key()
	return fmt.Sprintf("[%x %x %s %v]", k.size, k.offset, k.id, k.isBuildID)
}

// wantSamples is what google/pprof's Merge makes of profiles.
func wantSamples(t testing.TB, profiles ...*pprof.Profile) samples {
	t.Helper()
	merged, err := pprof.Merge(profiles)
	if err != nil {
		t.Fatal(err)
	}
	want := samples{}
	for _, s := range merged.Sample {
		var key strings.Builder
		for _, l := range s.Location {
			address, mapping := l.Address, "-"
			if m := l.Mapping; m != nil {
				address -= m.Start
				mapping = writeMapping(Mapping{
					Start: m.Start, Limit: m.Limit, Offset: m.Offset, File: m.File, BuildID: m.BuildID,
					HasFunctions: m.HasFunctions, HasFilenames: m.HasFilenames, HasLineNumbers: m.HasLineNumbers, HasInlineFrames: m.HasInlineFrames,
				})
			}
			fmt.Fprintf(&key, "%x %s %v", address, mapping, l.IsFolded)
			for _, line := range l.Line {
				f := line.Function
				fmt.Fprintf(&key, " (%q %q %q %d: %d %d)", f.Name, f.SystemName, f.Filename, f.StartLine, line.Line, line.Column)
			}
			key.WriteString("\n")
		}
		for _, name := range slices.Sorted(maps.Keys(s.Label)) {
			for _, v := range s.Label[name] {
				fmt.Fprintf(&key, "%q=%q\n", name, v)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(s.NumLabel)) {
			for i, v := range s.NumLabel[name] {
				unit := ""
				if u := s.NumUnit[name]; len(u) > 0 {
					unit = u[i]
				}
				fmt.Fprintf(&key, "%q=%d %q\n", name, v, unit)
			}
		}
		want.add(key.String(), s.Value)
	}
	return want.dropZeros()
}

// gotSamples is what a block holds of a group.
func gotSamples(t testing.TB, b *Block, group int) samples {
	t.Helper()
	ctx := context.Background()
	sym := NewSymbols()
	nodes := make([]string, 0, b.Info().Nodes)
	for n := range b.Services() {
		stacks, err := b.Stacks(ctx, sym, n)
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, writeStacks(sym, stacks[0])...)
	}
	sets, err := b.SampleLabels(ctx)
	if err != nil {
		t.Fatal(err)
	}
	labels := make([]string, len(sets))
	for i, set := range sets {
		var strs, nums string
		for _, l := range set {
			if l.IsNum {
				nums += fmt.Sprintf("%q=%d %q\n", l.Key, l.Num, l.Unit)
			} else {
				strs += fmt.Sprintf("%q=%q\n", l.Key, l.Str)
			}
		}
		labels[i] = strs + nums
	}
	types := len(b.Groups()[group].SampleTypes)
	cols := Columns{Labels: true}
	for k := range types {
		cols.Values = append(cols.Values, k)
	}
	got := samples{}
	for rows, err := range b.Rows(ctx, group, []Span{{0, b.raw[group].rows}}, cols) {
		if err != nil {
			t.Fatal(err)
		}
		columns := make([][]int64, types)
		for k := range types {
			columns[k] = rows.Values(nil, k)
		}
		for i, stack := range rows.Stack {
			key := nodes[stack]
			if rows.Labels != nil {
				key += labels[rows.Labels[i]]
			}
			values := make([]int64, types)
			for k := range types {
				values[k] = columns[k][i]
			}
			got.add(key, values)
		}
	}
	return got.dropZeros()
}

// writeStacks writes out the stack of every node, leaf first.
func writeStacks(sym *Symbols, s *Stacks) []string {
	nodes := make([]string, s.Len())
	path := []string{""}
	for i := range nodes {
		d := int(s.Depth[i])
		if d == 0 {
			continue
		}
		f := sym.Frame(s.Frame[i])
		mapping := "-"
		if f.Mapping >= 0 {
			mapping = writeMapping(sym.Mappings()[f.Mapping])
		}
		here := fmt.Sprintf("%x %s %v", f.Address, mapping, f.Folded)
		for _, l := range f.Lines {
			fn := sym.Function(l.Function)
			here += fmt.Sprintf(" (%q %q %q %d: %d %d)", fn.Name, fn.SystemName, fn.Filename, fn.StartLine, l.Line, l.Column)
		}
		path = append(path[:d], here+"\n"+path[d-1])
		nodes[i] = path[d]
	}
	return nodes
}

func compareSamples(t testing.TB, got, want samples) {
	t.Helper()
	bad := 0
	for key, values := range want {
		if !slices.Equal(got[key], values) {
			if bad++; bad < 5 {
				t.Errorf("got %v, want %v of\n%s", got[key], values, key)
			}
		}
	}
	for key, values := range got {
		if want[key] == nil {
			if bad++; bad < 5 {
				t.Errorf("got %v, want none of\n%s", values, key)
			}
		}
	}
}

// googleProfiles are the profiles of google/pprof's own tests, in all the formats it knows.
func googleProfiles(t testing.TB) map[string]*pprof.Profile {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/google/pprof").Output()
	if err != nil {
		t.Skipf("google/pprof's sources are not here: %v", err)
	}
	profiles := map[string]*pprof.Profile{}
	for _, dir := range []string{"profile/testdata", "internal/driver/testdata", "internal/report/testdata"} {
		files, _ := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), dir, "*"))
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				continue
			}
			if p, err := pprof.ParseData(data); err == nil && p.CheckValid() == nil && len(p.SampleType) > 0 && len(p.Sample) > 0 {
				profiles[filepath.Base(file)] = p
			}
		}
	}
	if len(profiles) < 10 {
		t.Fatalf("only %d profiles found", len(profiles))
	}
	return profiles
}

// A block of several profiles holds exactly what google/pprof's Merge makes of them.
func TestBlockHoldsWhatMergeMakes(t *testing.T) {
	for name, p := range googleProfiles(t) {
		t.Run(name, func(t *testing.T) {
			b := newBuilder(t)
			var inputs []*pprof.Profile
			for i := range 3 {
				q := p.Copy()
				q.Scale(float64(i + 1))
				q.TimeNanos = day.UnixNano() + int64(i)*61e9 + 12345
				for _, m := range q.Mapping { // as another run would have it
					m.Start += uint64(i) << 32
					m.Limit += uint64(i) << 32
				}
				for _, l := range q.Location {
					if l.Mapping != nil {
						l.Address += uint64(i) << 32
					}
				}
				if i == 2 {
					q.Sample = q.Sample[:len(q.Sample)/2]
				}
				q, err := pprof.ParseData(encode(t, q))
				if err != nil {
					t.Fatal(err)
				}
				inputs = append(inputs, q)
				add(t, b, Key{Name: "x", Labels: labels(t, "job", fmt.Sprint("j", i%2))}, encode(t, q))
			}
			opened, data := finish(t, b)
			if n := len(opened.Groups()); n != 1 {
				t.Fatalf("%d groups, want 1", n)
			}
			compareSamples(t, gotSamples(t, opened, 0), wantSamples(t, inputs...))
			t.Logf("%d bytes, %+v", len(data), opened.Info())
		})
	}
}
