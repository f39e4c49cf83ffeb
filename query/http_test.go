package query

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/bucket/buckettest"
	"github.com/coldframe/coldframe/serve"
)

// get asks the house's handler.
func (h *house) get(t testing.TB, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.q.Handler().ServeHTTP(w, r)
	return w
}

// during is a range that holds what [furnished] has.
var during = "&from=" + start.Format(time.RFC3339) + "&to=" + start.Add(time.Hour).Format(time.RFC3339)

// Every JSON answer is as api/openapi.yaml promises, and tells its price.
func TestAnswersAreAsDescribed(t *testing.T) {
	h, _, _ := furnished(t)
	s := loadSpec(t)
	for _, c := range []struct{ route, path string }{
		{"/api/v1/flamegraph", "/api/v1/flamegraph?type=process_cpu"},
		{"/api/v1/flamegraph", "/api/v1/flamegraph?max_nodes=3"},
		{"/api/v1/flamegraph", "/api/v1/flamegraph?query={pod=\"none\"}"},
		{"/api/v1/top", "/api/v1/top?limit=3&order=total"},
		{"/api/v1/top", "/api/v1/top?query={pod=\"none\"}"},
		{"/api/v1/series", "/api/v1/series?by=pod,zone&step=5m"},
		{"/api/v1/series", "/api/v1/series?query={pod=\"none\"}"},
		{"/api/v1/series", "/api/v1/series?aggregate=last"},
		{"/api/v1/flamegraph", "/api/v1/flamegraph?group_by=pod,function,file&invert=1&filter=binary!=none&frame_filter=line!=3&base_from=now-1d&base_query={pod=\"a\"}"},
		{"/api/v1/flamegraph", "/api/v1/flamegraph?sandwich=f1&group_by=span"},
		{"/api/v1/top", "/api/v1/top?base_to=now&order=diff&group_by=file"},
		{"/api/v1/types", "/api/v1/types?"},
		{"/api/v1/types", "/api/v1/types?query={pod=\"none\"}"},
		{"/api/v1/labels", "/api/v1/labels?"},
		{"/api/v1/labels", "/api/v1/labels?query={pod=\"none\"}"},
		{"/api/v1/label/{name}/values", "/api/v1/label/pod/values?"},
		{"/api/v1/label/{name}/values", "/api/v1/label/none/values?"},
		{"/api/v1/debuginfo/missing", "/api/v1/debuginfo/missing?type=process_cpu/cpu"},
		{"/api/v1/debuginfo/missing", "/api/v1/debuginfo/missing?query={pod=\"none\"}"},
	} {
		path := strings.NewReplacer("{", "%7B", "}", "%7D", `"`, "%22", "?&", "?").Replace(c.path + during)
		w := h.get(t, path)
		if w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
		s.answer(t, c.route, "200", w.Body.Bytes())
		var body struct{ Stats json.RawMessage }
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		if header := w.Header().Get("Coldframe-Stats"); header != string(body.Stats) {
			t.Errorf("%s: header %s, body %s", path, header, body.Stats)
		}
		var price struct{ Blocks, OK, Requests, Bytes int }
		if err := json.Unmarshal(body.Stats, &price); err != nil || price.Blocks == 0 && !strings.Contains(path, "none") || price.Requests < 8 || price.OK != price.Blocks {
			t.Errorf("%s: price %s, %v", path, body.Stats, err)
		}
	}
}

// Every query can be explained instead of answered, which reads no block.
func TestExplain(t *testing.T) {
	h, _, inside := furnished(t)
	s := loadSpec(t)
	for _, route := range []string{"pprof", "flamegraph", "top", "series", "types", "labels", "label/pod/values"} {
		path := "/api/v1/" + route + "?explain=1" + during
		w := h.get(t, path)
		if w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
		s.check(t, path, s.at("components", "schemas", "Plan"), w.Body.Bytes())
		var plan struct {
			Live, Pruned, Requests int
			Bytes                  int64
			Dollars                float64
			Blocks                 []struct {
				Key      string
				Size     int64
				Profiles int
			}
			Stats struct{ Blocks, Requests int }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &plan); err != nil {
			t.Fatal(err)
		}
		if len(plan.Blocks) != len(h.keys) || plan.Live != len(h.keys) || plan.Pruned != 0 || plan.Stats.Blocks != len(h.keys) {
			t.Errorf("%s: %d blocks of %d, %d pruned, want the %d there are", path, len(plan.Blocks), plan.Live, plan.Pruned, len(h.keys))
		}
		for _, b := range plan.Blocks {
			if inside[b.Key] == nil || b.Size == 0 {
				t.Errorf("%s: block %+v", path, b)
			}
		}
		if plan.Requests < len(plan.Blocks) || plan.Bytes == 0 || plan.Dollars == 0 {
			t.Errorf("%s: %d requests, %d bytes, $%g", path, plan.Requests, plan.Bytes, plan.Dollars)
		}
	}
	if w := h.get(t, "/api/v1/top?explain=1"+strings.Replace(during, "&to=", "&to=2000-01-01&x=", 1)); w.Code != http.StatusBadRequest {
		t.Errorf("a wrong range is explained: %d", w.Code)
	}
	w := h.get(t, "/api/v1/top?explain=1")
	var plan struct{ Live, Pruned int }
	if err := json.Unmarshal(w.Body.Bytes(), &plan); err != nil || plan.Live == 0 || plan.Pruned != plan.Live {
		t.Errorf("of another time everything is pruned: %+v, %v", plan, err)
	}
}

// Prices are those of the requests, bytes and CPU that an answer tells.
func TestPrices(t *testing.T) {
	h, _, _ := furnished(t)
	for _, c := range []struct {
		prices Prices
		want   func(s Stats) float64
	}{
		{Prices{MillionReads: 1e6, MillionLists: 1e6, GigabyteRead: -1, CPUHour: -1}, func(s Stats) float64 { return float64(s.Requests) }},
		{Prices{MillionReads: -1, MillionLists: -1, GigabyteRead: 1e9, CPUHour: -1}, func(s Stats) float64 { return float64(s.Bytes) }},
		{Prices{MillionReads: -1, MillionLists: -1, CPUHour: 3600}, func(s Stats) float64 { return s.CPU.Seconds() }},
	} {
		tree, err := h.querier(h.bkt, Config{SnapshotTTL: -1, Prices: c.prices}).Tree(t.Context(), TreeRequest{Request: everything(t)})
		if err != nil {
			t.Fatal(err)
		}
		if want := c.want(tree.Stats); want == 0 || math.Abs(tree.Stats.Dollars-want) > 1e-6*want {
			t.Errorf("%+v: $%g, want $%g", c.prices, tree.Stats.Dollars, want)
		}
	}
	tree, err := h.q.Tree(t.Context(), TreeRequest{Request: everything(t)})
	if err != nil || tree.Stats.Dollars < 0.4e-6*float64(tree.Stats.Requests) || tree.Stats.Dollars > 5e-6*float64(tree.Stats.Requests)+1e-3 {
		t.Errorf("by S3's prices: $%g for %d requests, %v", tree.Stats.Dollars, tree.Stats.Requests, err)
	}
}

// What is wrong in a request is refused with the parameter named, on every route that
// takes it.
func TestWrongInput(t *testing.T) {
	h, _, _ := furnished(t)
	s := loadSpec(t)
	routes := []string{"pprof", "flamegraph", "top", "series", "types", "labels", "label/pod/values", "debuginfo/missing"}
	for _, c := range []struct {
		routes []string
		params string
		status int
		code   string
		field  string
	}{
		{routes, "query=%7Bpod%3D%7D", 400, "invalid", "query"},
		{routes, "query=%7Bpod%3D~%22(%22%7D", 400, "invalid", "query"},
		{routes, "query=a%2Bb", 400, "invalid", "query"},
		{routes, "type=/cpu", 400, "invalid", "type"},
		{routes, "type=a:b", 400, "invalid", "type"},
		{routes, "type=memory&query=process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta", 400, "invalid", "type"},
		{routes, "from=yesterday", 400, "invalid", "from"},
		{routes, "to=soon", 400, "invalid", "to"},
		{routes, "from=now&to=now-1h", 400, "invalid", "from"},
		{routes, "from=1787306400000", 400, "invalid", "from"},
		{routes, "strict=perhaps", 400, "invalid", "strict"},
		{routes, "query=%zz", 400, "invalid", ""},
		{[]string{"pprof"}, "seconds=-1", 400, "invalid", "seconds"},
		{[]string{"flamegraph"}, "max_nodes=0", 400, "invalid", "max_nodes"},
		{[]string{"flamegraph"}, "max_nodes=1000001", 400, "invalid", "max_nodes"},
		{[]string{"flamegraph"}, "max_nodes=99999999999999999999", 400, "invalid", "max_nodes"},
		{[]string{"top"}, "limit=99999999999", 400, "invalid", "limit"},
		{[]string{"pprof"}, "seconds=99999999999", 400, "invalid", "seconds"},
		{[]string{"series"}, "by=pod&step=99999999999999d", 400, "invalid", "step"},
		{[]string{"blocks"}, "from=now&to=now-1h", 400, "invalid", "from"},
		{[]string{"blocks"}, "query=%7B", 400, "invalid", "query"},
		{[]string{"flamegraph"}, "max_nodes=many", 400, "invalid", "max_nodes"},
		{[]string{"flamegraph"}, "min_share=1.5", 400, "invalid", "min_share"},
		{[]string{"flamegraph"}, "min_share=NaN", 400, "invalid", "min_share"},
		{[]string{"flamegraph", "top", "series"}, "format=xml", 400, "invalid", "format"},
		{routes, "explain=perhaps", 400, "invalid", "explain"},
		{routes, "filter=main", 400, "invalid", "filter"},
		{routes, "filter=line*=3", 400, "invalid", "filter"},
		{routes, "frame_filter=name=x", 400, "invalid", "frame_filter"},
		{routes, strings.Repeat("filter=line=3&", MaxFilters+1), 400, "invalid", "filter"},
		{[]string{"types", "labels", "label/pod/values"}, "filter=line=3", 400, "invalid", "filter"},
		{[]string{"flamegraph", "top"}, "invert=perhaps", 400, "invalid", "invert"},
		{[]string{"flamegraph", "top"}, "group_by=labels.", 400, "invalid", "group_by"},
		{[]string{"flamegraph", "top"}, "group_by=a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", 400, "invalid", "group_by"},
		{[]string{"flamegraph", "top"}, "base_query=%7B", 400, "invalid", "base_query"},
		{[]string{"flamegraph", "top"}, "base_from=never", 400, "invalid", "base_from"},
		{[]string{"flamegraph", "top"}, "base_from=now&base_to=now-1h", 400, "invalid", "base_from"},
		{[]string{"flamegraph", "top"}, "base_to=never", 400, "invalid", "base_to"},
		{[]string{"flamegraph", "top"}, "diff=some", 400, "invalid", "diff"},
		{[]string{"flamegraph", "top"}, "base_query=%7B__name__%3D%22process_cpu/samples%22%7D&type=process_cpu/cpu" + during, 400, "invalid", "base_query"},
		{[]string{"debuginfo/missing"}, "limit=0", 400, "invalid", "limit"},
		{[]string{"debuginfo/missing"}, "filter=line=3", 400, "invalid", "filter"},
		{[]string{"top"}, "limit=-1", 400, "invalid", "limit"},
		{[]string{"top"}, "order=name", 400, "invalid", "order"},
		{[]string{"flamegraph"}, "step=1m&aggregate=difference", 400, "invalid", "step"},
		{[]string{"flamegraph"}, "step=1m&base_from=now-2h", 400, "invalid", "step"},
		{[]string{"flamegraph", "series"}, "step=0", 400, "invalid", "step"},
		{[]string{"flamegraph", "series"}, "step=-5m", 400, "invalid", "step"},
		{[]string{"flamegraph", "series"}, "step=1us", 400, "invalid", "step"},
		{[]string{"flamegraph", "series"}, "step=fortnight", 400, "invalid", "step"},
		{[]string{"flamegraph", "series"}, "step=1ms&from=now-1h", 400, "invalid", "step"},
		{[]string{"series"}, "aggregate=median", 400, "invalid", "aggregate"},
		{[]string{"pprof", "flamegraph", "top", "series"}, "type=wall" + during, 404, "not_found", "type"},
		{[]string{"nothing", "label/pod", ""}, "", 404, "not_found", ""},
	} {
		for _, route := range c.routes {
			path := "/api/v1/" + route + "?" + c.params
			w := h.get(t, path)
			var body struct {
				Error struct{ Code, Message, Field string }
			}
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
				t.Fatalf("%s: %v: %s", path, err, w.Body)
			}
			if w.Code != c.status || body.Error.Code != c.code || body.Error.Field != c.field || body.Error.Message == "" {
				t.Errorf("%s: %d %+v, want %d %s of %q", path, w.Code, body.Error, c.status, c.code, c.field)
			}
			s.check(t, path, s.at("components", "schemas", "Error"), w.Body.Bytes())
			if mediaType, _, err := mime.ParseMediaType(w.Header().Get("Content-Type")); err != nil || mediaType != "application/json" {
				t.Errorf("%s: Content-Type %s", path, w.Header().Get("Content-Type"))
			}
		}
	}
}

func TestStatusOfFailures(t *testing.T) {
	h, _, _ := furnished(t)
	one := buckettest.Corrupt(h.bkt, func(key string) bool { return key == h.keys[0] }, buckettest.Truncated(10))
	none := buckettest.Corrupt(h.bkt, func(key string) bool { return strings.HasSuffix(key, "HEAD") }, buckettest.Unreadable)
	for _, c := range []struct {
		what   string
		q      *Querier
		params string
		status int
		code   string
	}{
		{"partial", h.querier(one, Config{}), "", 200, ""},
		{"partial and strict", h.querier(one, Config{}), "strict=1", 503, "partial"},
		{"no HEAD", h.querier(none, Config{}), "", 503, "unavailable"},
		{"too many blocks", h.querier(h.bkt, Config{MaxBlocks: 1}), "", 422, "too_large"},
		{"too slow", h.querier(h.bkt, Config{Timeout: 1}), "", 504, "timeout"},
	} {
		hurt := &house{bkt: h.bkt, q: c.q}
		w := hurt.get(t, "/api/v1/flamegraph?"+c.params+during)
		var body struct {
			Error struct{ Code string }
			Stats struct{ Missing []Missing }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		if w.Code != c.status || body.Error.Code != c.code {
			t.Errorf("%s: %d %s", c.what, w.Code, w.Body)
		}
		if c.what == "partial" && (len(body.Stats.Missing) != 1 || body.Stats.Missing[0].Key != h.keys[0]) {
			t.Errorf("%s: %+v", c.what, body.Stats)
		}
	}
}

// A tenant sees what is its own.
func TestTenantOfRequest(t *testing.T) {
	h, _, _ := furnished(t)
	for tenant, status := range map[string]int{"default": 200, "other": 200, "bad/name": 400} {
		for _, route := range []string{"types", "pprof", "flamegraph", "top", "series", "labels", "label/pod/values", "blocks"} {
			w := h.get(t, "/api/v1/"+route+"?type=process_cpu/cpu"+during, serve.TenantHeader, tenant)
			if w.Code != status || status == 400 && !strings.Contains(w.Body.String(), serve.TenantHeader) {
				t.Errorf("%s of tenant %s: %d %s", route, tenant, w.Code, w.Body)
			}
			if tenant == "other" && (strings.Contains(w.Body.String(), "process_cpu:") || strings.Contains(w.Body.String(), `"a"`)) {
				t.Errorf("%s of tenant %s has what is another's: %s", route, tenant, w.Body)
			}
		}
	}
}

func TestCompression(t *testing.T) {
	h, _, _ := furnished(t)
	plain := h.get(t, "/api/v1/flamegraph?"+during)
	for accept, want := range map[string]string{"gzip, br": "gzip", "*": "gzip", "gzip;q=0": "", "br": ""} {
		w := h.get(t, "/api/v1/flamegraph?"+during, "Accept-Encoding", accept)
		if got := w.Header().Get("Content-Encoding"); got != want {
			t.Errorf("Accept-Encoding %s: Content-Encoding %q, want %q", accept, got, want)
			continue
		}
		if want == "" {
			continue
		}
		zr, err := gzip.NewReader(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(zr)
		if err != nil || len(body)/100 != plain.Body.Len()/100 { // the times in the stats differ
			t.Errorf("Accept-Encoding %s: %d bytes and %v, want about %d", accept, len(body), err, plain.Body.Len())
		}
	}
}

// On one machine bytes travel faster than they are compressed; what a proxy passes on does not.
func TestCompressionOnOneMachine(t *testing.T) {
	h, _, _ := furnished(t)
	for _, c := range []struct{ peer, forwarded, want string }{
		{"127.0.0.1:4711", "", ""},
		{"[::1]:4711", "", ""},
		{"[::ffff:127.0.0.1]:4711", "", ""},
		{"127.0.0.1:4711", "203.0.113.7", "gzip"},
		{"203.0.113.7:4711", "", "gzip"},
		{"@", "", "gzip"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/flamegraph?"+during, nil)
		r.RemoteAddr = c.peer
		r.Header.Set("Accept-Encoding", "gzip")
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		w := httptest.NewRecorder()
		h.q.Handler().ServeHTTP(w, r)
		if got := w.Header().Get("Content-Encoding"); w.Code != http.StatusOK || got != c.want {
			t.Errorf("from %s for %q: %d in %q, want %q", c.peer, c.forwarded, w.Code, got, c.want)
		}
	}
}

func TestFormats(t *testing.T) {
	h, all, _ := furnished(t)
	want := refer(t, all, everything(t)).merged
	total := byFunction(want, 1)[""]
	for path, contentType := range map[string]string{
		"flamegraph?format=folded": "text/plain; charset=utf-8",
		"flamegraph?format=tree":   "text/plain; charset=utf-8",
		"top?format=text":          "text/plain; charset=utf-8",
		"series?format=csv&by=pod": "text/csv; charset=utf-8",
		"pprof?":                   "application/octet-stream",
	} {
		w := h.get(t, "/api/v1/"+path+during)
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != contentType || w.Body.Len() == 0 {
			t.Errorf("%s: %d, %s", path, w.Code, w.Header())
		}
		if path == "flamegraph?format=folded" {
			sum := int64(0)
			for line := range strings.Lines(w.Body.String()) {
				v, err := strconv.ParseInt(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]), 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				sum += v
			}
			if sum != total {
				t.Errorf("folded stacks add up to %d, want %d", sum, total)
			}
		}
	}
	if d := h.get(t, "/api/v1/pprof?"+during).Header().Get("Content-Disposition"); d != `attachment; filename="process_cpu-20260820T210000Z.pb.gz"` {
		t.Errorf("Content-Disposition %s", d)
	}
}

// go tool pprof opens the URL, whether braces and quotes are escaped or not.
func TestGoToolPprof(t *testing.T) {
	if testing.Short() {
		t.Skip("starts go tool pprof")
	}
	h := newHouse()
	all := fleet{rand.New(rand.NewPCG(16, 17)), h.now.Add(-4 * time.Minute), time.Minute}.profiles(t, 10)
	h.putL0(t, all...)
	server := httptest.NewServer(h.q.Handler())
	defer server.Close()
	sel := `{service_name=~"api|web|db"}`
	for i, c := range []struct {
		url  string
		args []string
	}{
		{server.URL + "/api/v1/pprof?query=" + sel + "&type=process_cpu&from=now-5m", nil},
		{server.URL + "/api/v1/pprof?query=" + url.QueryEscape(sel) + "&type=process_cpu&from=now-5m", nil},
		{server.URL + "/api/v1/pprof?type=process_cpu", []string{"-seconds", "300"}},
	} {
		out := filepath.Join(t.TempDir(), fmt.Sprintf("%d.pb.gz", i))
		args := append(append([]string{"tool", "pprof", "-proto", "-output", out}, c.args...), c.url)
		if text, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
			t.Fatalf("go %q: %v\n%s", args, err, text)
		}
		got := readPprof(t, out)
		want := refer(t, all, request(t, sel, "process_cpu", h.now.Add(-5*time.Minute), h.now))
		if total := byFunction(want.merged, 1)[""]; sumOf(got, 1) != total || total == 0 {
			t.Errorf("%s: total %d, want %d", c.url, sumOf(got, 1), total)
		}
	}
	// What is wrong is shown.
	wrong := server.URL + `/api/v1/pprof?type=wall`
	if text, err := exec.CommandContext(t.Context(), "go", "tool", "pprof", "-top", wrong).CombinedOutput(); err == nil || !strings.Contains(string(text), "there are only memory:alloc_objects") {
		t.Errorf("a wrong type: %v\n%s", err, text)
	}
	// An empty selection is a profile that go tool pprof reads too.
	empty := server.URL + `/api/v1/pprof?query={pod="nobody"}`
	if text, err := exec.CommandContext(t.Context(), "go", "tool", "pprof", "-top", empty).CombinedOutput(); err != nil {
		t.Errorf("an empty profile: %v\n%s", err, text)
	}
}

func readPprof(t *testing.T, file string) *pprof.Profile {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := pprof.ParseData(data)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func sumOf(p *pprof.Profile, column int) int64 {
	sum := int64(0)
	for _, s := range p.Sample {
		sum += s.Value[column]
	}
	return sum
}

// With strict=1 or Cache-Control: no-cache, what was pushed a moment ago is there,
// whatever was remembered.
func TestFreshAnswers(t *testing.T) {
	h, _, _ := furnished(t)
	h.q = h.querier(h.bkt, Config{SnapshotTTL: time.Hour})
	profiles := func(header ...string) int {
		w := h.get(t, "/api/v1/series?"+during[1:], header...)
		var body struct{ Stats struct{ Profiles int } }
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		return body.Stats.Profiles
	}
	before := profiles()
	f := fleet{rand.New(rand.NewPCG(18, 19)), start, time.Minute}
	s := f.profile(t)
	for s.name != "process_cpu" {
		s = f.profile(t)
	}
	h.putL0(t, s)
	if n := profiles(); n != before {
		t.Errorf("%d profiles, want the %d that are remembered", n, before)
	}
	if n := profiles("Cache-Control", "no-cache"); n != before+1 {
		t.Errorf("%d profiles, want %d", n, before+1)
	}
}
