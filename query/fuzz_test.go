package query

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// FuzzRequest asks with any parameters. Whatever they are, the answer is a JSON
// object with stats, or an error that says that the request is wrong.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		`query={pod="a"}&type=process_cpu&from=now-5m`, `query=%7Bpod%3D~%22a%7Cb%22%7D&to=now+5m&strict=1`, `type=memory/inuse_space&from=0&to=9e9`,
		`step=1d&by=pod,zone&by=pod&aggregate=last`, `max_nodes=1&min_share=1e-3`, `limit=0&order=total`, `from=1970-01-01T00:00:00Z&to=9999-12-31T23:59:59Z`,
		`query=process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta{}`, `seconds=300&to=-1`, `step=9e99`, `a=%zz;`, `from=-8589934592`, `step=0.0001`,
	} {
		f.Add(seed)
	}
	h := newHouse()
	all := fleet{rand.New(rand.NewPCG(20, 21)), start, 1}.profiles(f, 3)
	h.putL0(f, all[:1]...)
	h.putArrow(f, all[1:]...)
	handler := h.q.Handler()
	f.Fuzz(func(t *testing.T, query string) {
		for _, route := range []string{"flamegraph", "top", "series", "types", "labels", "label/pod/values"} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/"+route, nil)
			r.URL = &url.URL{Path: r.URL.Path, RawQuery: query}
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			var body struct {
				Stats *struct{ Blocks int }
				Error *struct{ Code, Message string }
			}
			if w.Code == http.StatusOK && len(r.URL.Query()["format"]) > 0 {
				continue
			}
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
				t.Fatalf("%s?%s: %v: %s", route, query, err, w.Body)
			}
			if ok := w.Code == http.StatusOK; ok != (body.Stats != nil) || ok == (body.Error != nil) || w.Code >= 500 {
				t.Errorf("%s?%s: %d %s", route, query, w.Code, w.Body)
			}
		}
	})
}
