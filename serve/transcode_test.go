package serve

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	queryv1alpha1 "github.com/coldframe/coldframe/api/parca/query/v1alpha1"
)

// FuzzJSONCall reads any parameters of a URL and any body into a message. What is taken is
// a message that can be written and read again; what is not is a 400 in the form of
// grpc-gateway.
func FuzzJSONCall(f *testing.F) {
	f.Add("mode=MODE_MERGE&merge.query=q&merge.start=2026-08-21T12:00:00Z&report_type=1", "")
	f.Add("diff.a.merge.query=x&diff.b.single.time=2026-08-21T12:00:00.123Z&diff.absolute=true", "")
	f.Add("merge.query=x&single.query=y", "")
	f.Add("groupBy.fields=a&groupBy.fields=b&nodeTrimThreshold=1e300&filter=x", "")
	f.Add("sourceReference.buildId=x&invertCallStack=t&merge=x&merge.start.seconds=5", "")
	f.Add("", `{"mode":2,"merge":{"query":"q"},"filter":[{"stackFilter":{"criteria":{"address":{"equal":"18446744073709551615"}}}}]}`)
	f.Add("a=%zz&&=&..=.", `[`)
	f.Fuzz(func(t *testing.T, query, body string) {
		var got *queryv1alpha1.QueryRequest
		h := JSONCall(func(_ context.Context, req *queryv1alpha1.QueryRequest) (*queryv1alpha1.QueryRequest, error) {
			got = req
			return req, nil
		})
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			got = nil
			r := httptest.NewRequestWithContext(t.Context(), method, "/", strings.NewReader(body))
			r.URL = &url.URL{Path: "/", RawQuery: query}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			switch w.Code {
			case http.StatusOK:
				back := &queryv1alpha1.QueryRequest{}
				if err := protojson.Unmarshal(w.Body.Bytes(), back); err != nil || !proto.Equal(back, got) {
					t.Errorf("%s ?%s %q: %v became %v, %v", method, query, body, got, back, err)
				}
			case http.StatusBadRequest:
				var told struct {
					Code    int
					Message string
				}
				if err := json.Unmarshal(w.Body.Bytes(), &told); err != nil || told.Code != 3 || told.Message == "" || got != nil {
					t.Errorf("%s ?%s %q: %s, %v", method, query, body, w.Body, err)
				}
			default:
				t.Errorf("%s ?%s %q: %d %s", method, query, body, w.Code, w.Body)
			}
		}
	})
}
