package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/compactor"
)

// tracer tells AWS X-Ray what an invocation spends its time on: subsegments of the segment
// that Lambda makes of it, each in a datagram to the daemon that Lambda runs beside the
// process. Of an invocation that X-Ray does not sample nothing is told, and nothing is opened.
// The nil *tracer tells nothing.
//
// The form is X-Ray's: docs.aws.amazon.com/xray/latest/devguide/xray-api-segmentdocuments.html.
type tracer struct {
	daemon func() (net.Conn, error)
}

// newTracer takes the daemon's address, as AWS_XRAY_DAEMON_ADDRESS has it: ADDRESS:PORT, or
// "tcp:ADDRESS:PORT udp:ADDRESS:PORT". Why nothing can be told is told once.
func newTracer(address string, failed func(error)) *tracer {
	if address == "" {
		return nil
	}
	for one := range strings.FieldsSeq(address) {
		if udp, ok := strings.CutPrefix(one, "udp:"); ok {
			address = udp
		}
	}
	return &tracer{
		daemon: sync.OnceValues(func() (net.Conn, error) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second) // for a name; an address asks nobody
			defer cancel()
			conn, err := new(net.Dialer).DialContext(ctx, "udp", address)
			if err != nil {
				failed(fmt.Errorf("traces to %s: %w", address, err))
			}
			return conn, err
		}),
	}
}

// place is where in a trace something happens.
type place struct {
	trace string // of X-Ray's form, 1-HEX-HEX
	below string // the ID of a segment or subsegment
}

type placeKey struct{}

// invoked returns a context of an invocation, by what the runtime was told of its trace:
// Root=TRACE;Parent=SEGMENT;Sampled=1. One that is not sampled has no place in any.
func (t *tracer) invoked(ctx context.Context) context.Context {
	header, _ := ctx.Value("x-amzn-trace-id").(string)
	if t == nil || header == "" {
		return ctx
	}
	var p place
	sampled := false
	for field := range strings.SplitSeq(header, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		switch name {
		case "Root":
			p.trace = value
		case "Parent":
			p.below = value
		case "Sampled":
			sampled = value == "1"
		}
	}
	if !sampled || p.trace == "" || p.below == "" {
		return ctx
	}
	return context.WithValue(ctx, placeKey{}, p)
}

// subsegment is a span of time, as X-Ray has it. The nil *subsegment is of no trace.
type subsegment struct {
	Name      string         `json:"name"`
	ID        string         `json:"id"`
	TraceID   string         `json:"trace_id"`
	ParentID  string         `json:"parent_id"`
	Type      string         `json:"type"`
	Start     float64        `json:"start_time"` // seconds since 1970
	End       float64        `json:"end_time"`
	Namespace string         `json:"namespace,omitempty"` // aws, of what is asked of AWS
	HTTP      map[string]any `json:"http,omitempty"`
	Fault     bool           `json:"fault,omitempty"`
	Cause     *cause         `json:"cause,omitempty"`
	Metadata  map[string]any `json:"metadata,omitempty"`

	tracer *tracer
}

type cause struct {
	Exceptions []exception `json:"exceptions"`
}

type exception struct {
	ID      string `json:"id"`
	Message string `json:"message"`
	Type    string `json:"type"`
}

// begin begins a subsegment below the context's place, and returns a context below it.
func (t *tracer) begin(ctx context.Context, name string) (context.Context, *subsegment) {
	p, ok := ctx.Value(placeKey{}).(place)
	if t == nil || !ok {
		return ctx, nil
	}
	s := &subsegment{
		Name: segmentName(name), ID: segmentID(), TraceID: p.trace, ParentID: p.below, Type: "subsegment",
		Start: seconds(time.Now()), tracer: t,
	}
	return context.WithValue(ctx, placeKey{}, place{s.TraceID, s.ID}), s
}

// header goes with a request to another function, whose segment then lies below s.
func (s *subsegment) header() string {
	return "Root=" + s.TraceID + ";Parent=" + s.ID + ";Sampled=1"
}

// note adds what is worth knowing, values by names.
func (s *subsegment) note(values map[string]any) {
	if s != nil {
		s.Metadata = map[string]any{namespace: values}
	}
}

// end sends s. What is not there, or was there first, is no fault of anybody's.
func (s *subsegment) end(err error) {
	if s == nil {
		return
	}
	switch {
	case err == nil:
	case errors.Is(err, bucket.ErrNotExist), errors.Is(err, bucket.ErrExist), errors.Is(err, bucket.ErrConflict), errors.Is(err, catalog.ErrConflict):
	default:
		s.Fault = true
		s.Cause = &cause{[]exception{{ID: segmentID(), Message: fmt.Sprintf("%.1000s", err), Type: fmt.Sprintf("%T", err)}}}
	}
	s.End = seconds(time.Now())
	conn, err := s.tracer.daemon()
	if err != nil {
		return
	}
	if document, err := json.Marshal(s); err == nil {
		_, _ = conn.Write(append([]byte("{\"format\":\"json\",\"version\":1}\n"), document...)) // who does not listen is told nothing
	}
}

func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

func segmentID() string {
	id := make([]byte, 8)
	_, _ = rand.Read(id) // it never fails
	return hex.EncodeToString(id)
}

// segmentName is a name of the characters, and the length, that X-Ray takes.
func segmentName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune(" _.:/%&#=+\\-@", r)) {
			return r
		}
		return '_'
	}, name)
	return name[:min(len(name), 200)]
}

// bucket makes a subsegment of each operation on b.
func (t *tracer) bucket(b bucket.Bucket) bucket.Bucket {
	if t == nil {
		return b
	}
	return bucket.Traced(b, func(ctx context.Context, operation, key string) (context.Context, func(error)) {
		ctx, s := t.begin(ctx, "bucket "+operation)
		if s == nil {
			return ctx, func(error) {}
		}
		s.Namespace = "aws"
		s.note(map[string]any{"key": key})
		return ctx, s.end
	})
}

// serve makes a subsegment of each request.
func (t *tracer) serve(next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, s := t.begin(r.Context(), r.Method+" "+r.URL.Path)
		if s == nil {
			next.ServeHTTP(w, r)
			return
		}
		sw := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(sw, r.WithContext(ctx))
		s.HTTP = map[string]any{
			"request":  map[string]string{"method": r.Method, "url": r.URL.Path, "user_agent": fmt.Sprintf("%.200s", r.UserAgent())},
			"response": map[string]int64{"status": int64(sw.status), "content_length": sw.sent},
		}
		s.Fault = sw.status >= http.StatusInternalServerError
		s.end(nil)
	})
}

// job makes a subsegment of each of a compactor's jobs.
func (t *tracer) job(ctx context.Context, j compactor.Job) (context.Context, func(compactor.Job, error)) {
	what := "seal"
	switch {
	case j.Sweep:
		what = "sweep"
	case j.Level > 0:
		what = string(j.Level.Class())
	}
	ctx, s := t.begin(ctx, "compact "+what)
	return ctx, func(j compactor.Job, err error) {
		s.note(map[string]any{
			"tenant": string(j.Tenant), "shard": j.Shard.String(), "pprof_blocks": j.L0s, "merged": j.Merged,
			"profiles": j.Profiles, "bytes_in": j.BytesIn, "bytes_out": j.BytesOut,
		})
		s.end(err)
	}
}
