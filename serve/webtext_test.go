package serve

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/iotest"

	"github.com/coldframe/coldframe/profile"
)

// FuzzWebText sends any text as a request's body, and any bytes as a text in pieces of
// any length: those arrive as they were, and so does the answer.
func FuzzWebText(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x05\x0a\x03pod"), uint8(3))
	f.Add([]byte("\x00\x00\x00\x00\x05\x0a\x03pod"), uint8(1))
	f.Add([]byte("AAAA==="), uint8(200))
	f.Add([]byte("AA==AAAA="), uint8(0))
	f.Add(bytes.Repeat([]byte("four"), 2000), uint8(100))
	f.Fuzz(func(t *testing.T, raw []byte, pieces uint8) {
		var got []byte
		var err error
		h := acceptWebText(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got, err = io.ReadAll(r.Body)
			w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
			for part := range bytes.SplitAfterSeq(got, []byte{0}) {
				_, _ = w.Write(part)
				if len(part)%2 == 0 {
					_ = http.NewResponseController(w).Flush()
				}
			}
		}))
		ask := func(body io.Reader) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", body)
			r.Header.Set("Content-Type", "application/grpc-web-text+proto")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w
		}
		ask(bytes.NewReader(raw))
		if err != nil && !errors.Is(err, profile.ErrInvalid) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: %v", raw, err)
		}

		var text bytes.Buffer
		for at, n := 0, int(pieces)+1; at < len(raw); at += n {
			text.WriteString(base64.StdEncoding.EncodeToString(raw[at:min(at+n, len(raw))]))
		}
		w := ask(iotest.HalfReader(&text))
		if err != nil || !bytes.Equal(got, raw) {
			t.Errorf("in pieces of %d: %q arrived as %q, %v", int(pieces)+1, raw, got, err)
		}
		if contentType := w.Header().Get("Content-Type"); contentType != "application/grpc-web-text+proto" {
			t.Errorf("answered in %s", contentType)
		}
		if back, err := io.ReadAll(&textReader{in: w.Body}); err != nil || !bytes.Equal(back, raw) {
			t.Errorf("%q was answered as %q, %v", raw, back, err)
		}
	})
}
