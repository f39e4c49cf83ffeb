package parca_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/coldframe/coldframe/api/parca/query/v1alpha1"
	"github.com/coldframe/coldframe/internal/apitest"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/query/parca"
)

// FuzzQuery sends any bytes as a request: it is answered or refused, and is never a fault
// of ours.
func FuzzQuery(f *testing.F) {
	mux := http.NewServeMux()
	h := apitest.Open(f, query.Config{}, func(q *query.Querier, handle func(string, http.Handler)) {
		parca.New(q, parca.Config{}).Routes(handle)
		parca.New(q, parca.Config{}).Routes(mux.Handle)
	})
	for report := range pb.QueryRequest_ReportType_name {
		req := merge(h, pb.QueryRequest_ReportType(report))
		req.SourceReference = &pb.SourceReference{BuildId: "b1d"}
		req.Filter = []*pb.Filter{stacks(&pb.FilterCriteria{FunctionName: text("*=", "main")}), frames(&pb.FilterCriteria{Binary: text("!=", "libc.so.6")})}
		req.GroupBy = &pb.GroupBy{Fields: []string{"labels.pod", "location_address"}}
		req.InvertCallStack, req.SandwichByFunction, req.NodeTrimThreshold = new(report%2 == 0), new("main.serve"), new(float32(1))
		raw, err := proto.Marshal(req)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	raw, err := proto.Marshal(&pb.QueryRequest{Mode: pb.QueryRequest_MODE_DIFF, Options: diffOf(selection(h, apitest.CPU), selection(h, apitest.CPU))})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte("\xff\xff"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, pb.QueryServiceQueryProcedure, bytes.NewReader(raw))
		r.Header.Set("Content-Type", "application/proto")
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		switch w.Code {
		case http.StatusOK, http.StatusBadRequest, http.StatusNotFound:
		default:
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
