package upload_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/block/pprofblock"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/upload"
)

// What clients spell differently is stored as one set of types, with values to match.
// The original stands in the comments; what is usual already is stored byte by byte.
func TestTypesAreMadeUsual(t *testing.T) {
	for _, c := range []struct{ sent, want, comments string }{
		{"samples:count cpu:nanoseconds / cpu:nanoseconds 10", "samples:count=7 cpu:nanoseconds=7 / cpu:nanoseconds 10", ""},
		{"sample:count wall:nanoseconds / wall:nanoseconds 10", "samples:count=7 wall:nanoseconds=7 / wall:nanoseconds 10", "samples:count was sent as sample:count"},
		{
			"sample:count cpu:microseconds / cpu:microseconds 10", "samples:count=7 cpu:nanoseconds=7000 / cpu:nanoseconds 10000",
			"samples:count was sent as sample:count|cpu:nanoseconds was sent as cpu:microseconds|period cpu:nanoseconds was sent as cpu:microseconds",
		},
		{
			"objects:count space:bytes / space:bytes 512", "inuse_objects:count=7 inuse_space:bytes=7 / space:bytes 512",
			"inuse_objects:count was sent as objects:count|inuse_space:bytes was sent as space:bytes",
		},
		{
			"alloc-samples:count alloc-size:bytes / : 0", "alloc_samples:count=7 alloc_space:bytes=7 / : 0",
			"alloc_samples:count was sent as alloc-samples:count|alloc_space:bytes was sent as alloc-size:bytes",
		},
		{
			"alloc_samples:count alloc_size:bytes / : 0", "alloc_samples:count=7 alloc_space:bytes=7 / : 0",
			"alloc_space:bytes was sent as alloc_size:bytes",
		},
		{
			"cpu:nanoseconds cpu_samples:count / cpu:nanoseconds 1", "cpu:nanoseconds=7 samples:count=7 / cpu:nanoseconds 1",
			"samples:count was sent as cpu_samples:count",
		},
		{
			"lock_count:count lock_time:nanoseconds / : 0", "contentions:count=7 delay:nanoseconds=7 / : 0",
			"contentions:count was sent as lock_count:count|delay:nanoseconds was sent as lock_time:nanoseconds",
		},
		{"inuse_space:KiB / space:bytes 1", "inuse_space:bytes=7168 / space:bytes 1", "inuse_space:bytes was sent as inuse_space:KiB"},
		{"objects:count inuse_objects:count / : 0", "objects:count=7 inuse_objects:count=7 / : 0", ""},
		{"widgets:dozens / tea:cups 1", "widgets:dozens=7 / tea:cups 1", ""},
	} {
		mem := bucket.Mem()
		u := open(t, mem, upload.Config{Agent: "a"})
		body := pprofAt(t, time.Now(), func(p *pprof.Profile) { setTypes(t, p, c.sent) })
		if err := u.Push(t.Context(), "default", upload.Profile{Body: body}); err != nil {
			t.Fatal(err)
		}
		closeNow(t, u)
		e, p, stored := onlyProfile(t, mem)
		if got := typesOf(p); got != c.want {
			t.Errorf("%s: stored as %s, want %s", c.sent, got, c.want)
		}
		if got := strings.Join(p.Comments, "|"); got != c.comments {
			t.Errorf("%s: comments %q, want %q", c.sent, got, c.comments)
		}
		if same := slices.Equal(stored, body); same != (c.comments == "") {
			t.Errorf("%s: stored as it was sent: %v", c.sent, same)
		}
		for i, st := range p.SampleType {
			if e.SampleTypes[i].String() != st.Type+":"+st.Unit {
				t.Errorf("%s: the manifest says %s", c.sent, e.SampleTypes[i])
			}
		}
	}
}

// setTypes makes a profile of "TYPE:UNIT … / PERIODTYPE:UNIT PERIOD" with one sample of 7s.
func setTypes(t *testing.T, p *pprof.Profile, s string) {
	t.Helper()
	types, period, _ := strings.Cut(s, " / ")
	p.SampleType, p.Comments = nil, nil
	p.Sample = []*pprof.Sample{{}}
	for _, word := range strings.Fields(types) {
		kind, unit, _ := strings.Cut(word, ":")
		p.SampleType = append(p.SampleType, &pprof.ValueType{Type: kind, Unit: unit})
		p.Sample[0].Value = append(p.Sample[0].Value, 7)
	}
	words := strings.Fields(period)
	kind, unit, _ := strings.Cut(words[0], ":")
	p.PeriodType = &pprof.ValueType{Type: kind, Unit: unit}
	var err error
	if p.Period, err = strconv.ParseInt(words[1], 10, 64); err != nil {
		t.Fatal(err)
	}
}

// typesOf is what setTypes reads, with the values of the first sample.
func typesOf(p *pprof.Profile) string {
	var words []string
	for i, st := range p.SampleType {
		words = append(words, st.Type+":"+st.Unit+"="+strconv.FormatInt(p.Sample[0].Value[i], 10))
	}
	return strings.Join(words, " ") + " / " + p.PeriodType.Type + ":" + p.PeriodType.Unit + " " + strconv.FormatInt(p.Period, 10)
}

// onlyProfile is the one profile in a bucket.
func onlyProfile(t *testing.T, b bucket.Bucket) (pprofblock.Entry, *pprof.Profile, []byte) {
	t.Helper()
	for o, err := range b.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		data, _, err := b.Get(t.Context(), o.Key)
		if err != nil {
			t.Fatal(err)
		}
		r, err := pprofblock.Open(data, pprofblock.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		body, err := r.Profile(0)
		if err != nil {
			t.Fatal(err)
		}
		p, err := pprof.ParseData(body)
		if err != nil {
			t.Fatal(err)
		}
		return r.Manifest().Profiles[0], p, body
	}
	t.Fatal("no profile")
	return pprofblock.Entry{}, nil, nil
}
