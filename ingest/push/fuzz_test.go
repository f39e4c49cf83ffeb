package push_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/coldframe/coldframe/ingest/push"
)

// Whatever is sent to the endpoints of plain HTTP is stored or refused as the client's
// fault, and never ours.
func FuzzHTTP(f *testing.F) {
	mux := http.NewServeMux()
	push.New(committer{}, push.Config{MaxMessageBytes: 1 << 20}).Routes(mux.Handle)
	form := "--x\r\nContent-Disposition: form-data; name=\"profile\"; filename=\"p\"\r\n\r\nabc\r\n--x--\r\n"
	for _, seed := range []struct{ path, query, contentType, body string }{
		{"/ingest", "name=shop{a=b}&from=1&until=now-1m&units=bytes", "", "main;work 3"},
		{"/ingest", "name=shop.cpu&format=pprof", "multipart/form-data; boundary=x", form},
		{"/ingest", "name=shop&format=jfr", "multipart/form-data; boundary=x", form},
		{"/ingest", "name=shop&format=tree", "", "\x00\x00\x01\x04main\x03\x00"},
		{"/api/v1/push", "job=a&type_name=b", "", "x"},
		{"/v1development/profiles", "", "application/json", `{"resourceProfiles":[]}`},
		{"/v1development/profiles", "", "application/x-protobuf", "\x0a\x00"},
		{"/api/profiles/writeraw", "", "application/json", `{"series":[{"samples":[{"rawProfile":"eA=="}]}]}`},
		{"/api/profiles/writearrow", "", "application/json", `{"ipcBuffer":"eA=="}`},
		{"/push.v1.PusherService/Push", "", "application/json", `{"series":[{"labels":[{"name":"a","value":"b"}]}]}`},
	} {
		f.Add(seed.path, seed.query, seed.contentType, []byte(seed.body))
	}
	f.Fuzz(func(t *testing.T, path, query, contentType string, body []byte) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(body))
		r.URL = &url.URL{Path: path, RawQuery: query}
		r.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		if w.Code >= http.StatusInternalServerError && w.Code != http.StatusNotImplemented {
			t.Fatalf("%s?%s: %d %s", path, query, w.Code, w.Body)
		}
	})
}
