package pprofblock_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"
	"github.com/klauspost/compress/zstd"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/pprofblock"
	"github.com/coldframe/coldframe/internal/corpus"
	"github.com/coldframe/coldframe/profile"
)

var (
	created = time.Unix(1787346300, 123456789).UTC()
	blockID = block.NewID(created)
)

// entryOf says of a profile what the reference decoder says of it.
func entryOf(t testing.TB, name string, labels profile.Labels, body []byte) pprofblock.Entry {
	t.Helper()
	p, err := pprof.ParseData(body)
	if err != nil {
		t.Fatal(err)
	}
	e := pprofblock.Entry{Name: name, Labels: labels, MinTime: time.Unix(0, p.TimeNanos).UTC(), Samples: int64(len(p.Sample))}
	e.MaxTime = e.MinTime.Add(time.Duration(p.DurationNanos))
	for _, st := range p.SampleType {
		e.SampleTypes = append(e.SampleTypes, profile.ValueType{Type: st.Type, Unit: st.Unit})
	}
	if p.PeriodType != nil {
		e.PeriodType = profile.ValueType{Type: p.PeriodType.Type, Unit: p.PeriodType.Unit}
	}
	return e
}

// someBlock holds n profiles of a small fleet.
func someBlock(t testing.TB, n int) (*pprofblock.Builder, []pprofblock.Entry, [][]byte) {
	t.Helper()
	b := pprofblock.NewBuilder(blockID, "host-1", created)
	var entries []pprofblock.Entry
	var bodies [][]byte
	for p := range corpus.All(corpus.Config{Instances: 14, Samples: 50}) {
		if len(entries) == n {
			break
		}
		entries, bodies = append(entries, entryOf(t, p.Name, p.Labels, p.Body)), append(bodies, p.Body)
		if err := b.Add(entries[len(entries)-1], p.Body); err != nil {
			t.Fatal(err)
		}
		if got, want := b.Size(), int64(len(b.Bytes())); got != want {
			t.Fatalf("after %d profiles: size %d, want %d", b.Len(), got, want)
		}
	}
	return b, entries, bodies
}

// tinyBlock is small enough to spoil every bit of it.
func tinyBlock(t testing.TB) []byte {
	t.Helper()
	b := pprofblock.NewBuilder(blockID, "host-1", created)
	for i := range 3 {
		labels, err := profile.NewLabels(profile.Label{Name: "job", Value: fmt.Sprintf("<%d> \u2028", i)})
		if err != nil {
			t.Fatal(err)
		}
		e := pprofblock.Entry{
			Name: "process_cpu", Labels: labels, SampleTypes: []profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}},
			PeriodType: profile.ValueType{Type: "cpu", Unit: "nanoseconds"}, MinTime: created, MaxTime: created.Add(time.Duration(i) * time.Second), Samples: int64(i),
		}
		if err := b.Add(e, []byte(fmt.Sprintf("\x1f\x8bprofile %d", i))); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func open(t testing.TB, data []byte) *pprofblock.Reader {
	t.Helper()
	r, err := pprofblock.Open(data, pprofblock.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Verify(); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReadsWhatWasBuilt(t *testing.T) {
	b, entries, bodies := someBlock(t, 20)
	r := open(t, b.Bytes())
	m := r.Manifest()
	if m.ID != blockID || m.Agent != "host-1" || !m.Created.Equal(created) || r.Len() != len(entries) || b.Len() != len(entries) {
		t.Fatalf("got %s by %q at %v with %d profiles", m.ID, m.Agent, m.Created, r.Len())
	}
	for i, want := range entries {
		got := m.Profiles[i]
		want.File, want.Size, want.CRC = got.File, got.Size, got.CRC
		if !reflect.DeepEqual(got, want) {
			t.Errorf("profile %d: got %+v, want %+v", i, got, want)
		}
		body, err := r.Profile(i)
		if err != nil || !bytes.Equal(body, bodies[i]) {
			t.Errorf("profile %d: %d bytes, %v, want the %d that were added", i, len(body), err, len(bodies[i]))
		}
	}
}

// What a packed profile says that it adds is never too little, so that memory can be
// reserved by it.
func TestPackedSize(t *testing.T) {
	_, entries, bodies := someBlock(t, 20)
	b := pprofblock.NewBuilder(blockID, "host-1", created)
	for i, e := range entries {
		p, err := pprofblock.Pack(e, bodies[i])
		if err != nil {
			t.Fatal(err)
		}
		before := b.Size()
		if err := b.Append(p); err != nil {
			t.Fatal(err)
		}
		if added := b.Size() - before; added > p.Size() || p.Size()-added > 40 {
			t.Errorf("profile %d adds %d bytes and says %d", i, added, p.Size())
		}
	}
}

func TestEmptyBlock(t *testing.T) {
	b := pprofblock.NewBuilder(blockID, "", created)
	if r := open(t, b.Bytes()); r.Len() != 0 || b.Size() != int64(len(b.Bytes())) {
		t.Errorf("%d profiles, size %d of %d", r.Len(), b.Size(), len(b.Bytes()))
	}
}

func TestSameAdditionsSameBytes(t *testing.T) {
	one, _, _ := someBlock(t, 10)
	two, _, _ := someBlock(t, 10)
	if !bytes.Equal(one.Bytes(), two.Bytes()) || !bytes.Equal(one.Bytes(), one.Bytes()) {
		t.Error("bytes differ")
	}
}

func TestAgentAndTimeThatCannotBeWritten(t *testing.T) {
	for agent, want := range map[string]string{"a\xffb": "ab", strings.Repeat("é", 1000): strings.Repeat("é", 512), "x" + strings.Repeat("é", 1000): "x" + strings.Repeat("é", 511)} {
		b := pprofblock.NewBuilder(blockID, agent, time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC))
		if m := open(t, b.Bytes()).Manifest(); m.Agent != want || m.Created.Unix() != 0 {
			t.Errorf("got %q at %v, want %q at 1970", m.Agent, m.Created, want)
		}
	}
}

// A delta type is one of a profile with a duration.
func TestTypes(t *testing.T) {
	r := open(t, tinyBlock(t))
	for i, want := range []string{"process_cpu:cpu:nanoseconds:cpu:nanoseconds", "process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta"} {
		if got := r.Manifest().Profiles[i].Types()[1].String(); got != want {
			t.Errorf("profile %d: got %s, want %s", i, got, want)
		}
	}
}

func TestKeyCoversProfiles(t *testing.T) {
	b, entries, _ := someBlock(t, 20)
	k := b.Key("acme", 3, created)
	if k.ID != blockID || k.Tenant != "acme" || k.Shard != 3 || !k.Minute.Equal(created) {
		t.Errorf("got %s", k)
	}
	back, err := block.ParseL0Key(k.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.MinTime.Before(back.MinTime) || e.MaxTime.After(back.MaxTime()) {
			t.Errorf("[%v, %v] is not in [%v, %v]", e.MinTime, e.MaxTime, back.MinTime, back.MaxTime())
		}
		sel, err := profile.ParseSelector(fmt.Sprintf("{service_name=%q}", e.Labels.Service()))
		if err != nil || !back.Bloom.MayMatch(sel) {
			t.Errorf("%v is ruled out: %v", sel, err)
		}
	}
}

// Every tool that opens a ZIP opens a block, and go tool pprof opens what is inside.
func TestOthersOpenIt(t *testing.T) {
	b, _, bodies := someBlock(t, 4)
	dir := t.TempDir()
	path := filepath.Join(dir, "x.pprof.zip")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = z.Close() }()
	if z.File[0].Name != "manifest.json" || len(z.File) != 5 {
		t.Fatalf("%d files, the first is %s", len(z.File), z.File[0].Name)
	}
	for i, f := range z.File[1:] {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, bodies[i]) || f.Method != zip.Store {
			t.Errorf("%s: %d bytes, %v, method %d", f.Name, len(got), err, f.Method)
		}
		if got, want := f.Modified, time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC); !got.Equal(want) {
			t.Errorf("%s is of %v, want %v", f.Name, got, want)
		}
	}
	t.Run("unzip", func(t *testing.T) {
		run(t, dir, "unzip", "-t", path)
		if out := run(t, dir, "unzip", path); strings.Contains(out, "warning") {
			t.Errorf("unzip: %s", out)
		}
		out := run(t, dir, "go", "tool", "pprof", "-top", "0.pb.gz")
		if !strings.Contains(out, "flat%") {
			t.Errorf("go tool pprof: %s", out)
		}
	})
	t.Run("python", func(t *testing.T) {
		out := run(t, dir, "python3", "-c", `
import json, sys, zipfile
z = zipfile.ZipFile(sys.argv[1])
assert z.testzip() is None
m = json.loads(z.read("manifest.json"))
print(m["v"], [p["file"] for p in m["profiles"]])`, path)
		if want := "1 ['0.pb.gz', '1.pb.gz', '2.pb.gz', '3.pb.gz']"; strings.TrimSpace(out) != want {
			t.Errorf("got %s, want %s", out, want)
		}
	})
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed", name)
	}
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// Whatever came in, gzip is in the block, since that is what pprof opens.
func TestPacksWhatIsNotGzip(t *testing.T) {
	var packed bytes.Buffer
	plain := []byte("heap profile: not protobuf, but readable by go tool pprof\n")
	w, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	e := open(t, tinyBlock(t)).Manifest().Profiles[0]
	for name, body := range map[string][]byte{"plain": plain, "zstd": packed.Bytes()} {
		b := pprofblock.NewBuilder(blockID, "", created)
		if err := b.Add(e, body); err != nil {
			t.Fatal(err)
		}
		got, err := open(t, b.Bytes()).Profile(0)
		if err != nil {
			t.Fatal(err)
		}
		r, err := gzip.NewReader(bytes.NewReader(got))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if unpacked, err := io.ReadAll(r); err != nil || !bytes.Equal(unpacked, plain) {
			t.Errorf("%s: got %q, %v", name, unpacked, err)
		}
	}
}

func TestAddRefuses(t *testing.T) {
	good := open(t, tinyBlock(t)).Manifest().Profiles[0]
	body := []byte("\x1f\x8b")
	// A zstd frame that says that it unpacks to 1 GiB, of zeros.
	bomb := append([]byte("\x28\xb5\x2f\xfd\xc0\x50\x00\x00\x00\x40\x00\x00\x00\x00"), bytes.Repeat([]byte("\x02\x00\x10\x00"), 8192)...)
	for name, c := range map[string]struct {
		spoil func(e *pprofblock.Entry)
		body  []byte
	}{
		"no body":              {func(*pprofblock.Entry) {}, nil},
		"zstd of 1 GiB":        {func(*pprofblock.Entry) {}, bomb},
		"half a zstd":          {func(*pprofblock.Entry) {}, bomb[:10]},
		"no name":              {func(e *pprofblock.Entry) { e.Name = "" }, body},
		"colon in name":        {func(e *pprofblock.Entry) { e.Name = "a:b" }, body},
		"long name":            {func(e *pprofblock.Entry) { e.Name = strings.Repeat("x", 1025) }, body},
		"no sample types":      {func(e *pprofblock.Entry) { e.SampleTypes = nil }, body},
		"many sample types":    {func(e *pprofblock.Entry) { e.SampleTypes = make([]profile.ValueType, 257) }, body},
		"empty sample type":    {func(e *pprofblock.Entry) { e.SampleTypes = make([]profile.ValueType, 1) }, body},
		"colon in sample type": {func(e *pprofblock.Entry) { e.SampleTypes = []profile.ValueType{{Type: "a:b"}} }, body},
		"colon in unit":        {func(e *pprofblock.Entry) { e.PeriodType.Unit = "a:b" }, body},
		"unit not UTF-8":       {func(e *pprofblock.Entry) { e.PeriodType.Unit = "\xff" }, body},
		"labels not UTF-8":     {func(e *pprofblock.Entry) { e.Labels = profile.Labels{{Name: "a", Value: "\xff"}} }, body},
		"label twice":          {func(e *pprofblock.Entry) { e.Labels = profile.Labels{{Name: "a", Value: "1"}, {Name: "a", Value: "2"}} }, body},
		"reversed times":       {func(e *pprofblock.Entry) { e.MaxTime = e.MinTime.Add(-1) }, body},
		"before 1970":          {func(e *pprofblock.Entry) { e.MinTime = time.Unix(-1, 0) }, body},
		"after 2262":           {func(e *pprofblock.Entry) { e.MaxTime = time.Unix(1<<34, 0) }, body},
		"negative samples":     {func(e *pprofblock.Entry) { e.Samples = -1 }, body},
	} {
		b := pprofblock.NewBuilder(blockID, "", created)
		before := b.Bytes()
		e := good
		c.spoil(&e)
		if err := b.Add(e, c.body); !errors.Is(err, profile.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
		if !bytes.Equal(b.Bytes(), before) {
			t.Errorf("%s: something was kept", name)
		}
	}
}

func TestBlockHoldsSoManyProfilesAndNoMore(t *testing.T) {
	e := open(t, tinyBlock(t)).Manifest().Profiles[0]
	b := pprofblock.NewBuilder(blockID, "", created)
	for range pprofblock.MaxProfiles {
		if err := b.Add(e, []byte("\x1f\x8b")); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Add(e, []byte("\x1f\x8b")); !errors.Is(err, profile.ErrInvalid) {
		t.Errorf("one more: got %v", err)
	}
	data := b.Bytes()
	if r := open(t, data); r.Len() != pprofblock.MaxProfiles || int64(len(data)) != b.Size() {
		t.Errorf("%d profiles, %d bytes", r.Len(), len(data))
	}
	if z, err := zip.NewReader(bytes.NewReader(data), int64(len(data))); err != nil || len(z.File) != pprofblock.MaxProfiles+1 {
		t.Errorf("archive/zip: %v", err)
	}
	if _, err := pprofblock.Open(data, pprofblock.Limits{Profiles: 100}); !errors.Is(err, block.ErrCorrupt) {
		t.Errorf("with a limit of 100: got %v", err)
	}
}

func TestPrint(t *testing.T) {
	data := tinyBlock(t)
	data[bytes.Index(data, []byte("profile 1"))] ^= 1
	r, err := pprofblock.Open(data, pprofblock.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := pprofblock.Print(&out, r); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`pprof block  %s
agent        "host-1"
created      2026-08-21T21:05:00.123456789Z
bytes        %d
profiles     3

file     time                      duration  bytes  samples  types                                        state    labels
0.pb.gz  2026-08-21T21:05:00.123Z  0s        11     0        "process_cpu samples:count cpu:nanoseconds"  ok       {job="<0> \u2028"}
1.pb.gz  2026-08-21T21:05:00.123Z  1s        11     1        "process_cpu samples:count cpu:nanoseconds"  CORRUPT  {job="<1> \u2028"}
2.pb.gz  2026-08-21T21:05:00.123Z  2s        11     2        "process_cpu samples:count cpu:nanoseconds"  ok       {job="<2> \u2028"}
`, blockID, len(data))
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func BenchmarkBuild(b *testing.B) {
	_, entries, bodies := someBlock(b, 100)
	var size int64
	for b.Loop() {
		builder := pprofblock.NewBuilder(blockID, "host-1", created)
		for i, e := range entries {
			if err := builder.Add(e, bodies[i]); err != nil {
				b.Fatal(err)
			}
		}
		size = int64(len(builder.Bytes()))
	}
	b.SetBytes(size)
	b.ReportMetric(float64(len(entries)*b.N)/b.Elapsed().Seconds(), "profiles/s")
}

func BenchmarkOpen(b *testing.B) {
	builder, entries, _ := someBlock(b, 100)
	data := builder.Bytes()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		r, err := pprofblock.Open(data, pprofblock.Limits{})
		if err != nil {
			b.Fatal(err)
		}
		for i := range r.Len() {
			if _, err := r.Profile(i); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(len(entries)*b.N)/b.Elapsed().Seconds(), "profiles/s")
}

// The manifest is the one that FORMAT.md shows.
func TestManifestIsAsDocumented(t *testing.T) {
	format, err := os.ReadFile("../FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	_, manifest, _ := strings.Cut(string(format), "```json\n")
	manifest, _, _ = strings.Cut(manifest, "```")
	id, err := block.ParseID("01J9ZQ4T5V8W3X6Y7Z0A1B2C3D")
	if err != nil {
		t.Fatal(err)
	}
	b := pprofblock.NewBuilder(id, "host-1", created)
	labels, err := profile.NewLabels(profile.Label{Name: "job", Value: "api"})
	if err != nil {
		t.Fatal(err)
	}
	cpu := profile.ValueType{Type: "cpu", Unit: "nanoseconds"}
	start := time.Unix(1787346240, 0)
	e := pprofblock.Entry{
		Name: "process_cpu", Labels: labels, SampleTypes: []profile.ValueType{{Type: "samples", Unit: "count"}, cpu}, PeriodType: cpu,
		MinTime: start, MaxTime: start.Add(10 * time.Second), Samples: 570,
	}
	body := append([]byte("\x1f\x8b"), make([]byte, 14310)...)
	if err := b.Add(e, body); err != nil {
		t.Fatal(err)
	}
	if got := b.Bytes(); string(got[43:43+len(manifest)]) != manifest {
		t.Errorf("got\n%s\nwant\n%s", got[43:43+len(manifest)], manifest)
	}
}
