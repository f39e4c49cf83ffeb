package push

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/coldframe/coldframe/ingest/push/folded"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/profile/draft"
	"github.com/coldframe/coldframe/serve"
	"github.com/coldframe/coldframe/upload"
)

// ingestQuery is what the query of Pyroscope's POST /ingest says of the body.
type ingestQuery struct {
	app         string
	labels      []profile.Label
	from, until time.Time
	spy         string
	rate        int64 // samples a second
	rateGiven   bool
	units       string // of the text formats: samples, objects, bytes, goroutines, lock_samples, lock_nanoseconds
	average     bool   // the values are a state, not a sum over the time
	format      string
}

// serveIngest answers POST /ingest, which Pyroscope's SDKs call: a profile as pprof,
// alone or in a form, as folded stacks in one of four ways, or as a JFR recording.
func (rc *Receiver) serveIngest(w http.ResponseWriter, r *http.Request) error {
	values := r.URL.Query()
	body, err := rc.readBody(r)
	if err != nil {
		return err
	}
	sent, received := sentAt(r), receipt{}
	if sent.IsZero() && hangsOnReceipt(values) {
		received = rc.receipts.request(clientOf(r.Context()).tenant, r.URL.RawQuery, body)
	}
	q, err := parseIngestQuery(values, sent, received.at)
	if err != nil {
		return err
	}
	profiles, err := q.profiles(body, r.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	if err := rc.store(r.Context(), profiles); err != nil {
		if errors.Is(err, upload.ErrUnavailable) && !received.at.IsZero() {
			rc.receipts.remember([]receipt{received})
		}
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// hangsOnReceipt says whether the times of a query are told by the time at which it is read.
func hangsOnReceipt(values url.Values) bool {
	from, until := values.Get("from"), values.Get("until")
	return from != "" && (until == "" || strings.HasPrefix(from, "now") || strings.HasPrefix(until, "now"))
}

// parseIngestQuery reads the query of a request that its client sent at a time, or did not say when.
// Then a profile has no time either, unless the query says one, which may be relative to that of receipt.
func parseIngestQuery(values url.Values, sent, received time.Time) (q ingestQuery, err error) {
	if q.app, q.labels, err = parseAppName(values.Get("name")); err != nil {
		return q, serve.Field("name", err)
	}
	now := sent
	if now.IsZero() {
		now = received
	}
	q.from, q.until = sent, now
	for _, t := range []struct {
		name string
		time *time.Time
	}{{"from", &q.from}, {"until", &q.until}} {
		if s := values.Get(t.name); s != "" {
			if *t.time, err = parseIngestTime(s, now); err != nil {
				return q, serve.Field(t.name, err)
			}
		}
	}
	if q.until.Before(q.from) || q.from.IsZero() { // before: as the last profile of a Go program that ends
		q.until = q.from
	}
	q.rate = 100
	if s := values.Get("sampleRate"); s != "" {
		q.rateGiven = true
		if q.rate, err = strconv.ParseInt(s, 10, 32); err != nil || q.rate < 0 {
			return q, serve.Field("sampleRate", fmt.Errorf("%.40q: want samples a second: %w", s, profile.ErrInvalid))
		}
	}
	if q.spy = values.Get("spyName"); q.spy == "unknown" {
		q.spy = ""
	}
	q.units, q.average, q.format = values.Get("units"), values.Get("aggregationType") == "average", values.Get("format")
	return q, nil
}

// parseAppName splits app{name=value,name=value}. Values are not quoted and have no
// commas and braces.
func parseAppName(s string) (app string, labels []profile.Label, err error) {
	app, rest, braces := strings.Cut(s, "{")
	app = strings.TrimSpace(app)
	if app == "" {
		return "", nil, fmt.Errorf("%.100q: want APP or APP{NAME=VALUE,…}: %w", s, profile.ErrInvalid)
	}
	if !braces {
		return app, nil, nil
	}
	rest, tail, closed := strings.Cut(rest, "}")
	if !closed || strings.TrimSpace(tail) != "" {
		return "", nil, fmt.Errorf("%.100q: want one } at the end: %w", s, profile.ErrInvalid)
	}
	for pair := range strings.SplitSeq(rest, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return "", nil, fmt.Errorf("label %.100q: want NAME=VALUE: %w", pair, profile.ErrInvalid)
		}
		labels = append(labels, profile.Label{Name: strings.TrimSpace(name), Value: strings.TrimSpace(value)})
	}
	return app, labels, nil
}

// parseIngestTime reads a time since 1970 in seconds, or in the smaller unit that its
// size tells, "now" or "now-5m".
func parseIngestTime(s string, now time.Time) (time.Time, error) {
	if ago, ok := strings.CutPrefix(s, "now"); ok {
		if ago == "" {
			return now, nil
		}
		if d, err := time.ParseDuration(ago); err == nil && d <= 0 {
			return now.Add(d), nil
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return time.Time{}, fmt.Errorf("%.40q: want seconds since 1970, or now-5m: %w", s, profile.ErrInvalid)
	}
	switch {
	case n < 1e11:
		return time.Unix(n, 0), nil
	case n < 1e14:
		return time.UnixMilli(n), nil
	case n < 1e17:
		return time.UnixMicro(n), nil
	}
	return time.Unix(0, n), nil
}

// profiles turns a body into profiles, as the query or the body's type say.
func (q ingestQuery) profiles(body []byte, contentType string) ([]upload.Profile, error) {
	format := q.format
	switch {
	case format != "":
	case contentType == "binary/octet-stream+trie":
		format = string(folded.Trie)
	case contentType == "binary/octet-stream+tree":
		format = string(folded.Tree)
	case strings.HasPrefix(contentType, "multipart/form-data"):
		format = "pprof"
	default:
		format = string(folded.Groups)
	}
	if len(body) == 0 {
		return nil, serve.Field("body", fmt.Errorf("a profile is expected, the body is empty: %w", profile.ErrInvalid))
	}
	var profiles []upload.Profile
	var err error
	switch format {
	case "pprof":
		profiles, err = q.fromPprof(body, contentType)
	case "jfr":
		profiles, err = q.fromJFR(body, contentType)
	case string(folded.Groups), "folded", string(folded.Lines), string(folded.Trie), string(folded.Tree):
		if format == "folded" {
			format = string(folded.Groups)
		}
		profiles, err = q.fromFolded(folded.Format(format), body)
	default:
		return nil, serve.Field("format", fmt.Errorf("%.40q: want pprof, jfr, groups, lines, trie or tree: %w", format, profile.ErrInvalid))
	}
	return profiles, err
}

// series gives the labels of a profile. What an application is called is its service.
func (q ingestQuery) series(app string) (profile.Labels, error) {
	pairs := []profile.Label{{Name: "pyroscope_spy", Value: q.spy}}
	service := "service_name"
	for _, l := range q.labels {
		switch {
		case l.Name == "service_name":
			service = "app_name"
		case strings.HasPrefix(l.Name, "__"), l.Name == "pyroscope_spy":
			continue // such as __session_id__: between the SDK and its server
		}
		pairs = append(pairs, l)
	}
	return profile.NewLabels(append(pairs, profile.Label{Name: service, Value: app})...)
}

// fromFolded makes a profile of folded stacks. The time it covers is its identity, so
// that the same body sent again is the same profile.
func (q ingestQuery) fromFolded(format folded.Format, body []byte) ([]upload.Profile, error) {
	app, what, err := q.measured()
	if err != nil {
		return nil, err
	}
	labels, err := q.series(app)
	if err != nil {
		return nil, serve.Field("name", err)
	}
	d := draft.New(what.types...)
	d.PeriodType, d.Period = what.period, what.periodLength
	d.Time, d.Duration = q.from, q.until.Sub(q.from)
	var stack []draft.LocationRef
	values := make([]int64, len(what.types))
	err = folded.Read(format, body, func(names []byte, n int64) error {
		stack = stack[:0]
		for name := range strings.SplitSeq(string(names), ";") {
			if name != "" {
				stack = append(stack, d.Frame(name))
			}
		}
		for i, j := 0, len(stack)-1; i < j; i, j = i+1, j-1 {
			stack[i], stack[j] = stack[j], stack[i]
		}
		for i := range values {
			values[i] = n * what.factors[i]
		}
		return d.Add(stack, nil, values...)
	})
	if err != nil {
		return nil, serve.Field("body", err)
	}
	return []upload.Profile{{Name: what.name, Labels: labels, Body: d.Encode(), Time: q.from}}, nil
}

// measure is what the counts of folded stacks mean.
type measure struct {
	name         string
	types        []profile.ValueType
	factors      []int64 // a count times its factor is the value of a type
	period       profile.ValueType
	periodLength int64
}

// measured says what the counts are. Older SDKs tell it by the application's last word
// ("shop.cpu"), which is then no part of its name, others by the units.
func (q ingestQuery) measured() (app string, _ measure, _ error) {
	period := int64(1)
	if q.rate > 0 {
		period = int64(time.Second) / q.rate
	}
	kind := q.units
	app = q.app
	if i := strings.LastIndexByte(app, '.'); i > 0 {
		if _, known := q.measure(app[i+1:], period); known {
			app, kind = app[:i], app[i+1:]
		}
	}
	m, known := q.measure(kind, period)
	if !known {
		return "", m, serve.Field("units", fmt.Errorf("%.40q: want samples, objects, bytes, goroutines, lock_samples or lock_nanoseconds: %w", kind, profile.ErrInvalid))
	}
	return app, m, nil
}

func (q ingestQuery) measure(kind string, period int64) (measure, bool) {
	vt := func(kind, unit string) profile.ValueType { return profile.ValueType{Type: kind, Unit: unit} }
	count := func(name, kind, unit string, of profile.ValueType) measure {
		return measure{name, []profile.ValueType{vt(kind, unit)}, []int64{1}, of, 0}
	}
	timed := func(name, kind string) measure {
		of := vt(kind, "nanoseconds")
		return measure{name, []profile.ValueType{vt("samples", "count"), of}, []int64{1, period}, of, period}
	}
	space, contentions := vt("space", "bytes"), vt("contentions", "count")
	switch kind {
	case "", "samples", "cpu", "itimer":
		return timed("process_cpu", "cpu"), true
	case "wall":
		return timed("wall", "wall"), true
	case "objects":
		if q.average {
			return count("memory", "inuse_objects", "count", space), true
		}
		return count("memory", "alloc_objects", "count", space), true
	case "bytes":
		if q.average {
			return count("memory", "inuse_space", "bytes", space), true
		}
		return count("memory", "alloc_space", "bytes", space), true
	case "inuse_objects", "alloc_objects":
		return count("memory", kind, "count", space), true
	case "inuse_space", "alloc_space":
		return count("memory", kind, "bytes", space), true
	case "goroutines":
		return count("goroutine", "goroutine", "count", vt("goroutine", "count")), true
	case "lock_samples", "mutex_count":
		return count("mutex", "contentions", "count", contentions), true
	case "lock_nanoseconds", "mutex_duration":
		return count("mutex", "delay", "nanoseconds", contentions), true
	case "block_count":
		return count("block", "contentions", "count", contentions), true
	case "block_duration":
		return count("block", "delay", "nanoseconds", contentions), true
	}
	return measure{}, false
}
