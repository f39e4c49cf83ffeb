package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/bucket/buckettest"
	"github.com/coldframe/coldframe/internal/corpus"
	"github.com/coldframe/coldframe/internal/truth"
)

// What goes in comes out: for every stack, labels and sample type, what a bucket
// answers is what google/pprof's Merge makes of the same files; before compaction,
// while compactors run, and after it.
func TestEndToEnd(t *testing.T) {
	for name, open := range map[string]func(testing.TB) []byte{
		"folder": func(t testing.TB) []byte { return []byte(folder(t)) },
		"s3 tls": buckettest.S3TLS,
		"gcs":    buckettest.GCS,
		"azure":  buckettest.Azure,
	} {
		t.Run(name, func(t *testing.T) { endToEnd(t, string(open(t))) })
	}
}

func endToEnd(t *testing.T, bkt string) {
	inputs := gatherInputs(t)
	for _, in := range inputs {
		must(t, append([]string{"push", "--bucket-config", bkt, "--label", "job=" + in.job, "--type-name", in.name}, in.files...)...)
	}
	check := func(when string) {
		t.Helper()
		for _, in := range inputs {
			got := truth.Samples(get(t, bkt, "--type", in.name, `{job="`+in.job+`"}`))
			if difference := truth.Difference(got, in.want); difference != "" {
				t.Errorf("%s, %s of %s:\n%s", when, in.name, in.job, difference)
			}
		}
	}
	check("before compaction")

	compactor := spawn(t, "compact", "--bucket-config", bkt, "--every", "50ms", "--http-address", "127.0.0.1:0")
	second := spawn(t, "compact", "--bucket-config", bkt, "--once", "--seal-now")
	check("while two compactors run")
	if err := <-second.done; err != nil {
		t.Errorf("compact --once --seal-now: %v\n%s", err, second.stderr)
	}
	second.done <- nil
	compactor.kill()

	must(t, "compact", "--bucket-config", bkt, "--once", "--seal-now")
	check("after compaction")
	if ls := must(t, "block", "ls", "--bucket-config", bkt, "--from", "0"); !strings.Contains(ls, ".arrow.zip") || strings.Contains(ls, ".pprof.zip") {
		t.Errorf("block ls shows what is not compacted, or nothing:\n%s", ls)
	}
	must(t, "fsck", "--bucket-config", bkt)
}

// input is a group of files that google/pprof can merge.
type input struct {
	job, name string
	files     []string
	want      map[string][]int64
}

// gatherInputs are google/pprof's own test profiles and a part of the corpus, by
// service and name.
func gatherInputs(t *testing.T) []input {
	t.Helper()
	dir := t.TempDir()
	testdata, err := truth.Testdata()
	if err != nil {
		t.Fatal(err)
	}
	var inputs []input
	for _, file := range slices.Sorted(maps.Keys(testdata)) {
		name := strings.Map(func(r rune) rune {
			if r == '.' {
				return '_'
			}
			return r
		}, file)
		inputs = append(inputs, newInput(t, "testdata", name, []string{write(t, dir, file, testdata[file])}, testdata[file]))
	}
	grouped := map[[2]string][]corpus.Profile{}
	for _, p := range corpus.FiveMinutes()[:160] {
		key := [2]string{p.Labels.Service(), p.Name}
		grouped[key] = append(grouped[key], p)
	}
	for key, profiles := range grouped {
		var files []string
		var bodies [][]byte
		for i, p := range profiles {
			files = append(files, write(t, dir, strings.Join([]string{key[0], key[1], string(rune('a' + i%26)), string(rune('a' + i/26))}, "-"), p.Body))
			bodies = append(bodies, p.Body)
		}
		inputs = append(inputs, newInput(t, key[0], key[1], files, bodies...))
	}
	return inputs
}

func newInput(t *testing.T, job, name string, files []string, bodies ...[]byte) input {
	t.Helper()
	var profiles []*pprof.Profile
	for _, body := range bodies {
		p, err := pprof.ParseData(body)
		if err != nil {
			t.Fatal(err)
		}
		for i, st := range p.SampleType {
			if st.Unit == "microseconds" { // what is stored has one unit of time: docs/push.md
				for _, s := range p.Sample {
					s.Value[i] *= 1000
				}
			}
		}
		profiles = append(profiles, p)
	}
	merged, err := pprof.Merge(profiles)
	if err != nil {
		t.Fatal(err)
	}
	return input{job, name, files, truth.Samples(merged)}
}
