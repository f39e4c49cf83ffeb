package query

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/coldframe/coldframe/serve"
)

// Handler answers GET /api/v1/{pprof,flamegraph,top,series,types,labels,blocks},
// /api/v1/label/NAME/values and /api/v1/debuginfo/missing as api/openapi.yaml describes, and any other path below
// /api/v1/ with a JSON 404. A more specific pattern beside it, as POST /api/v1/push,
// wins.
func (q *Querier) Handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range map[string]handler{
		"GET /api/v1/pprof":               q.explainable(q.servePprof),
		"GET /api/v1/flamegraph":          q.explainable(q.serveFlamegraph),
		"GET /api/v1/top":                 q.explainable(q.serveTop),
		"GET /api/v1/series":              q.explainable(q.serveSeries),
		"GET /api/v1/types":               q.explainable(q.serveTypes),
		"GET /api/v1/labels":              q.explainable(q.serveLabels),
		"GET /api/v1/label/{name}/values": q.explainable(q.serveLabelValues),
		"GET /api/v1/blocks":              q.serveBlocks,
		"GET /api/v1/debuginfo/missing":   q.explainable(q.serveUnnamed),
		"/api/v1/":                        serveUnknown,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			body, err := h(r)
			if err != nil {
				serve.WriteError(visible{w}, WithStatus(err))
				return
			}
			body.writeTo(w, r)
		})
	}
	mux.HandleFunc("POST /api/v1/symbolz", serveSymbolz)
	return mux
}

// visible has go tool pprof show an error's text, and not the status alone. It does so
// when this header is there and the content type contains text/plain.
type visible struct{ http.ResponseWriter }

func (w visible) WriteHeader(status int) {
	w.Header().Set("X-Go-Pprof", "1")
	w.Header().Set("Content-Type", w.Header().Get("Content-Type")+`; or="text/plain"`)
	w.ResponseWriter.WriteHeader(status)
}

// serveSymbolz knows no symbols. go tool pprof posts addresses that a profile has no
// functions for to this path beside the profile's, and gives up on the whole profile
// unless the answer is 200.
func serveSymbolz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusOK)
}

// handler makes the answer to a request, whole, so that its status is known before
// anything is sent.
type handler func(r *http.Request) (*answer, error)

// answer is a body and what the headers say of it.
type answer struct {
	contentType string
	attachment  string // file name; "" shows in a browser
	compressed  bool   // the body is gzip of its own
	body        bytes.Buffer
	stats       Stats
}

const compressFrom = 1 << 10 // bytes of body; smaller ones gain nothing

func (a *answer) writeTo(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", a.contentType)
	h.Set(StatsHeader, a.stats.Header())
	h.Add("Vary", "Accept-Encoding")
	h.Set("Cache-Control", "no-store")
	if a.attachment != "" {
		h.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", a.attachment))
	}
	if a.compressed || a.body.Len() < compressFrom || !acceptsGzip(r) || onThisMachine(r) {
		_, _ = w.Write(a.body.Bytes()) // a client that went away cannot be told
		return
	}
	h.Set("Content-Encoding", "gzip")
	zw, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // the level is valid
	_, _ = zw.Write(a.body.Bytes())
	_ = zw.Close()
}

// onThisMachine says whether who asks shares the server's machine: there bytes travel
// faster than they are compressed. What a proxy passes on is not, if the proxy says so.
func onThisMachine(r *http.Request) bool {
	for _, header := range []string{"Forwarded", "X-Forwarded-For", "Via"} {
		if r.Header.Get(header) != "" {
			return false
		}
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && peer.Addr().Unmap().IsLoopback()
}

func acceptsGzip(r *http.Request) bool {
	for encoding := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, quality, _ := strings.Cut(strings.TrimSpace(encoding), ";")
		if name == "gzip" || name == "*" {
			return strings.ReplaceAll(quality, " ", "") != "q=0"
		}
	}
	return false
}

// begin reads the tenant and what all routes share.
func (q *Querier) begin(r *http.Request) (Request, *params, error) {
	tenant, err := q.cfg.Tenant(r)
	if err != nil {
		return Request{}, nil, err
	}
	p := newParams(r, q.cfg.Now())
	req := p.request()
	req.Tenant = tenant
	req.Fresh = req.Strict || strings.Contains(r.Header.Get("Cache-Control"), "no-cache")
	return req, p, p.err
}

func (q *Querier) servePprof(r *http.Request) (*answer, error) {
	req, _, err := q.begin(r)
	if err != nil {
		return nil, err
	}
	merged, err := q.Pprof(r.Context(), req)
	if err != nil {
		return nil, err
	}
	a := &answer{contentType: "application/octet-stream", compressed: true, attachment: fileName(merged.Name, req.Range.To), stats: merged.Stats}
	return a, merged.Profile.Write(&a.body)
}

// fileName is made of a profile's name, reduced to what every file system takes.
func fileName(name string, to time.Time) string {
	name = strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-' {
			return r
		}
		return '_'
	}, name)
	if name == "" {
		name = "empty"
	}
	return name + "-" + to.UTC().Format("20060102T150405Z") + ".pb.gz"
}

// defaultMaxNodes of a flame graph: at a hundred bytes each in JSON, and far more
// than fits a screen.
const (
	defaultMaxNodes = 1 << 16
	maxMaxNodes     = 1_000_000
)

func (q *Querier) serveFlamegraph(r *http.Request) (*answer, error) {
	req, p, err := q.begin(r)
	if err != nil {
		return nil, err
	}
	maxNodes, minShare := p.integer("max_nodes", defaultMaxNodes, 1, maxMaxNodes), p.share("min_share")
	format := p.choice("format", "json", "arrow", "folded", "tree", "speedscope", "svg")
	treq := p.treeRequest(req)
	treq.Step = p.duration("step")
	if p.err != nil {
		return nil, p.err
	}
	tree, err := q.Tree(r.Context(), treq)
	if err != nil {
		return nil, err
	}
	switch format { // of whole trees
	case "folded":
		return textAnswer("text/plain", tree.Stats, tree.WriteFolded)
	case "speedscope":
		return textAnswer("application/json", tree.Stats, tree.WriteSpeedscope)
	case "svg":
		return textAnswer("image/svg+xml", tree.Stats, tree.WriteSVG)
	}
	tree.Prune(maxNodes, minShare)
	switch format {
	case "arrow":
		a := &answer{contentType: ArrowContentType, stats: tree.Stats}
		return a, tree.WriteArrow(&a.body)
	case "tree":
		return textAnswer("text/plain", tree.Stats, tree.WriteText)
	}
	return textAnswer("application/json", tree.Stats, tree.WriteJSON)
}

func (q *Querier) serveTop(r *http.Request) (*answer, error) {
	req, p, err := q.begin(r)
	if err != nil {
		return nil, err
	}
	limit, format := p.integer("limit", 100, 0, math.MaxInt32), p.choice("format", "json", "text")
	order := map[string]Order{"self": BySelf, "total": ByTotal, "diff": ByDiff}[p.choice("order", "self", "total", "diff")]
	treq := p.treeRequest(req)
	if p.err != nil {
		return nil, p.err
	}
	tree, err := q.Tree(r.Context(), treq)
	if err != nil {
		return nil, err
	}
	top := tree.Top(order, limit)
	if format == "text" {
		return textAnswer("text/plain", top.Stats, top.WriteText)
	}
	return textAnswer("application/json", top.Stats, top.WriteJSON)
}

func (q *Querier) serveSeries(r *http.Request) (*answer, error) {
	req, p, err := q.begin(r)
	if err != nil {
		return nil, err
	}
	sreq := SeriesRequest{Request: req, Step: p.duration("step"), By: p.list("by")}
	sreq.Aggregate = p.aggregate()
	format := p.choice("format", "json", "csv")
	if p.err != nil {
		return nil, p.err
	}
	list, err := q.Series(r.Context(), sreq)
	if err != nil {
		return nil, err
	}
	if format == "csv" {
		return textAnswer("text/csv", list.Stats, list.WriteCSV)
	}
	return textAnswer("application/json", list.Stats, list.WriteJSON)
}

func (q *Querier) serveTypes(r *http.Request) (*answer, error) {
	req, _, err := q.begin(r)
	if err != nil {
		return nil, err
	}
	list, err := q.Types(r.Context(), req)
	if err != nil {
		return nil, err
	}
	return textAnswer("application/json", list.Stats, list.WriteJSON)
}

func (q *Querier) serveLabels(r *http.Request) (*answer, error) {
	req, _, err := q.begin(r)
	if err != nil {
		return nil, err
	}
	list, err := q.LabelNames(r.Context(), req)
	if err != nil {
		return nil, err
	}
	return textAnswer("application/json", list.Stats, list.WriteJSON)
}

func (q *Querier) serveLabelValues(r *http.Request) (*answer, error) {
	req, _, err := q.begin(r)
	if err != nil {
		return nil, err
	}
	list, err := q.LabelValues(r.Context(), req, r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	return textAnswer("application/json", list.Stats, list.WriteJSON)
}

func serveUnknown(r *http.Request) (*answer, error) {
	return nil, &serve.Error{Status: http.StatusNotFound, Code: "not_found", Err: fmt.Errorf("there is no %s %s", r.Method, r.URL.Path)}
}

func textAnswer(contentType string, stats Stats, write func(io.Writer) error) (*answer, error) {
	a := &answer{contentType: contentType + "; charset=utf-8", stats: stats}
	return a, write(&a.body)
}
