package push_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"
)

// form makes a multipart form of names and their parts.
func form(t *testing.T, parts ...any) (body []byte, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(parts); i += 2 {
		f, err := w.CreateFormFile(parts[i].(string), "x")
		if err != nil {
			t.Fatal(err)
		}
		switch part := parts[i+1].(type) {
		case string:
			_, _ = f.Write([]byte(part))
		case []byte:
			_, _ = f.Write(part)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), w.FormDataContentType()
}

// nodes writes a trie or a tree as Pyroscope's clients do: name, value, number of children.
func nodes(all ...any) []byte {
	var b []byte
	for i := 0; i < len(all); i += 3 {
		name := all[i].(string)
		b = append(binary.AppendUvarint(b, uint64(len(name))), name...)
		b = binary.AppendUvarint(b, uint64(all[i+1].(int)))
		b = binary.AppendUvarint(b, uint64(all[i+2].(int)))
	}
	return b
}

// Every format of Pyroscope's /ingest becomes the profile that it means.
func TestIngestFormats(t *testing.T) {
	at := noon().Truncate(time.Second)
	cpu := samplePprof(t, at)
	cpuForm, cpuType := form(t, "profile", cpu)
	mutexForm, mutexType := form(t, "profile", samplePprof(t, at, "contentions:count", "delay:nanoseconds"),
		"sample_type_config", `{"contentions":{"units":"lock_samples","display-name":"mutex_count"},"delay":{"units":"lock_nanoseconds","display-name":"mutex_duration"}}`)
	grownForm, grownType := form(t, "profile", samplePprof(t, at, "alloc_objects:count", "inuse_space:bytes"),
		"prev_profile", samplePprof(t, at.Add(-time.Minute), "alloc_objects:count", "inuse_space:bytes"),
		"sample_type_config", `{"alloc_objects":{"cumulative":true}}`)
	for _, c := range []struct {
		name, query, contentType string
		body                     []byte
		types, folded            string
	}{
		{"groups", "", "", []byte("main;work 3\nmain 1\n"), "process_cpu: samples:count cpu:nanoseconds", "main 1 10000000\nmain;work 3 30000000"},
		{"folded, rate", "&format=folded&sampleRate=50", "", []byte("main;work 3\nmain;work 1"), "process_cpu: samples:count cpu:nanoseconds", "main;work 4 80000000"},
		{"lines", "&format=lines", "", []byte("main;work\nmain\nmain\n"), "process_cpu: samples:count cpu:nanoseconds", "main 2 20000000\nmain;work 1 10000000"},
		{"trie", "&format=trie&units=objects", "", nodes("", 0, 1, "main;", 0, 2, "ab", 3, 0, "b", 4, 0), "memory: alloc_objects:count", "main;ab 3\nmain;b 4"},
		{"trie by type", "&units=bytes&aggregationType=average", "binary/octet-stream+trie", nodes("", 0, 1, "main", 3, 0), "memory: inuse_space:bytes", "main 3"},
		{"tree", "&format=tree&units=lock_nanoseconds", "", nodes("", 0, 1, "main", 1, 1, "work", 2, 0), "mutex: delay:nanoseconds", "main 1\nmain;work 2"},
		{"tree by type", "&units=goroutines&aggregationType=average", "binary/octet-stream+tree", nodes("", 0, 1, "main", 1, 0), "goroutine: goroutine:count", "main 1"},
		{"pprof", "&format=pprof", "", cpu, "process_cpu: samples:count cpu:nanoseconds", sampleFolded},
		{"form", "", cpuType, cpuForm, "process_cpu: samples:count cpu:nanoseconds", sampleFolded},
		{"form that says mutex", "", mutexType, mutexForm, "mutex: contentions:count delay:nanoseconds", sampleFolded},
		{"form with the profile before", "", grownType, grownForm, "memory: alloc_objects:count inuse_space:bytes", strings.Replace(sampleFolded, " 3 6", " 0 6", 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			query := fmt.Sprintf("/ingest?name=shop%%7Bregion%%3Deu,zone%%3D%%7D&spyName=rbspy&from=%d&until=%d%s", at.Unix(), at.Unix()+10, c.query)
			status, answer, _ := s.post(t, query, c.contentType, c.body)
			if status != http.StatusOK {
				t.Fatalf("%d %s", status, answer)
			}
			p := s.only(t, "default")
			if got := p.types(); got != c.types {
				t.Errorf("types %s, want %s", got, c.types)
			}
			if got := p.folded(); got != c.folded {
				t.Errorf("got\n%s\nwant\n%s", got, c.folded)
			}
			if got := p.Labels.String(); got != `{pyroscope_spy="rbspy", region="eu", service_name="shop"}` {
				t.Errorf("labels %s", got)
			}
			if !p.MinTime.Equal(at) || p.MaxTime.Sub(p.MinTime) != 10*time.Second {
				t.Errorf("from %s to %s, want 10 s from %s", p.MinTime, p.MaxTime, at)
			}
		})
	}
}

// Pyroscope's agent for Java sends recordings of async-profiler with their labels.
func TestIngestJFR(t *testing.T) {
	body, contentType := form(t, "jfr", asyncProfiler(t, "dump1.jfr.gz"), "labels", asyncProfiler(t, "dump1.labels.pb.gz"))
	s := newServer(t)
	if status, answer, _ := s.post(t, "/ingest?name=shop&format=jfr&spyName=javaspy&sampleRate=100", contentType, body); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	p := s.only(t, "default")
	if p.types() != "process_cpu: samples:count cpu:nanoseconds" || p.Labels.Get("service_name") != "shop" || p.Period != 1e7 || !strings.Contains(p.folded(), "thread_name=") {
		t.Errorf("stored %s %s period %d\n%.2000s", p.types(), p.Labels, p.Period, p.folded())
	}
	for name, bad := range map[string][]any{"no jfr": {"x", "y"}, "bad labels": {"jfr", asyncProfiler(t, "dump1.jfr.gz"), "labels", "x"}, "bad jfr": {"jfr", "x"}} {
		body, contentType := form(t, bad...)
		if status, answer, _ := s.post(t, "/ingest?name=shop&format=jfr", contentType, body); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
}

// The application's last word said what is measured before there were units.
func TestIngestAppNames(t *testing.T) {
	for name, want := range map[string]string{
		"shop.cpu":                       `process_cpu: samples:count cpu:nanoseconds {service_name="shop"}`,
		"shop.eu.inuse_space":            `memory: inuse_space:bytes {service_name="shop.eu"}`,
		"shop.wall":                      `wall: samples:count wall:nanoseconds {service_name="shop"}`,
		"shop.eu":                        `process_cpu: samples:count cpu:nanoseconds {service_name="shop.eu"}`,
		"shop.block_count{a=b}":          `block: contentions:count {a="b", service_name="shop"}`,
		"shop{service_name=x, __id__=y}": `process_cpu: samples:count cpu:nanoseconds {app_name="shop", service_name="x"}`,
	} {
		s := newServer(t)
		status, answer, _ := s.post(t, "/ingest?name="+strings.NewReplacer("{", "%7B", "}", "%7D", "=", "%3D", " ", "%20").Replace(name), "", []byte("main 1"))
		if status != http.StatusOK {
			t.Errorf("%s: %d %s", name, status, answer)
			continue
		}
		if p := s.only(t, "default"); p.types()+" "+p.Labels.String() != want {
			t.Errorf("%s: got %s %s, want %s", name, p.types(), p.Labels, want)
		}
	}
}

func TestIngestRefusals(t *testing.T) {
	s := newServer(t)
	noProfile, noProfileType := form(t, "other", "x")
	badConfig, badConfigType := form(t, "profile", samplePprof(t, noon()), "sample_type_config", "{")
	badPrevious, badPreviousType := form(t, "profile", samplePprof(t, noon()), "prev_profile", "x")
	for _, c := range []struct {
		name, query, contentType string
		body                     []byte
		say                      string
	}{
		{"no name", "?x=y", "", []byte("a 1"), "name"},
		{"name unclosed", "?name=a%7Bb", "", []byte("a 1"), "want one }"},
		{"label without value", "?name=a%7Bb%7D", "", []byte("a 1"), "NAME=VALUE"},
		{"label twice", "?name=a%7Bb%3D1,b%3D2%7D", "", []byte("a 1"), "given twice"},
		{"time", "?name=a&from=yesterday", "", []byte("a 1"), "from"},
		{"rate", "?name=a&sampleRate=fast", "", []byte("a 1"), "sampleRate"},
		{"units", "?name=a&units=apples", "", []byte("a 1"), "apples"},
		{"format", "?name=a&format=speedscope", "", []byte("a 1"), "speedscope"},
		{"empty", "?name=a", "", nil, "empty"},
		{"groups", "?name=a", "", []byte("a b"), "line 1"},
		{"pprof", "?name=a&format=pprof", "", []byte("x"), "pprof"},
		{"form without boundary", "?name=a", "multipart/form-data", []byte("x"), "boundary"},
		{"form cut off", "?name=a", noProfileType, noProfile[:20], "form"},
		{"form without profile", "?name=a", noProfileType, noProfile, "no such part"},
		{"form with bad config", "?name=a", badConfigType, badConfig, "sample_type_config"},
		{"form with bad previous", "?name=a", badPreviousType, badPrevious, "prev_profile"},
	} {
		status, answer, _ := s.post(t, "/ingest"+c.query, c.contentType, c.body)
		if status != http.StatusBadRequest || !strings.Contains(answer, c.say) {
			t.Errorf("%s: %d %s, want 400 that says %q", c.name, status, answer, c.say)
		}
	}
	if n := len(s.stored(t, "default")); n != 0 {
		t.Errorf("%d profiles are stored of what was refused", n)
	}
}
