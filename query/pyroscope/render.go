package pyroscope

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	querierv1 "github.com/grafana/pyroscope/api/gen/proto/go/querier/v1"
	typesv1 "github.com/grafana/pyroscope/api/gen/proto/go/types/v1"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/serve"
)

// rendered is the JSON of /pyroscope/render: a flamebearer and what its client needs to
// write beside it.
type rendered struct {
	Version     int                  `json:"version"`
	Flamebearer renderedFlame        `json:"flamebearer"`
	Metadata    metadata             `json:"metadata"`
	Timeline    *timeline            `json:"timeline"`
	Groups      map[string]*timeline `json:"groups"`
	LeftTicks   int64                `json:"leftTicks,omitempty"`
	RightTicks  int64                `json:"rightTicks,omitempty"`
}

type renderedFlame struct {
	Names    []string  `json:"names"`
	Levels   [][]int64 `json:"levels"`
	NumTicks int64     `json:"numTicks"`
	MaxSelf  int64     `json:"maxSelf"`
}

type metadata struct {
	Format     string `json:"format"` // single or double
	SpyName    string `json:"spyName"`
	SampleRate int64  `json:"sampleRate"` // what divides values of units samples into seconds
	Units      string `json:"units"`
	Name       string `json:"name"`
}

// timeline is the totals of a type over time.
type timeline struct {
	StartTime     int64             `json:"startTime"` // seconds
	Samples       []int64           `json:"samples"`
	DurationDelta int64             `json:"durationDelta"` // seconds of a step
	Watermarks    map[string]string `json:"watermarks"`
}

// render answers GET /pyroscope/render?query=TYPE{…}&from=&until=&max-nodes=&groupBy=&format=.
func (a *API) render(r *http.Request) (any, error) {
	values := r.URL.Query()
	m, err := readRender(values, "query", "from", "until")
	if err != nil {
		return nil, err
	}
	switch format := values.Get("format"); format {
	case "", "json":
	case "dot":
		m.Format = querierv1.ProfileFormat_PROFILE_FORMAT_DOT
	default:
		return nil, serve.Field("format", fmt.Errorf("%q: want json or dot: %w", format, profile.ErrInvalid))
	}
	t, err := a.tree(r.Context(), m)
	if err != nil {
		return nil, err
	}
	if m.GetFormat() == querierv1.ProfileFormat_PROFILE_FORMAT_DOT {
		return dot(t, nodesOf(m.GetMaxNodes())), nil
	}
	answer := newRendered(t, bear(t, nodesOf(m.GetMaxNodes())))
	return answer, a.timelines(r.Context(), m, values["groupBy"], answer)
}

// renderDiff answers GET /pyroscope/render-diff?leftQuery=&leftFrom=&leftUntil=&rightQuery=….
func (a *API) renderDiff(r *http.Request) (any, error) {
	left, err := readRender(r.URL.Query(), "leftQuery", "leftFrom", "leftUntil")
	if err != nil {
		return nil, err
	}
	right, err := readRender(r.URL.Query(), "rightQuery", "rightFrom", "rightUntil")
	if err != nil {
		return nil, err
	}
	t, err := a.compared(r.Context(), left, right)
	if err != nil {
		return nil, err
	}
	return newRendered(t, bear(t, nodesOf(left.GetMaxNodes()))), nil
}

// renderLabelValues answers GET /pyroscope/label-values?label=&query=&from=&until=.
func (a *API) renderLabelValues(r *http.Request) (any, error) {
	values := r.URL.Query()
	m := &typesv1.LabelValuesRequest{Name: values.Get("label")}
	if m.GetName() == "" {
		return nil, serve.Field("label", fmt.Errorf("it must be given: %w", profile.ErrInvalid))
	}
	if text := values.Get("query"); text != "" {
		m.Matchers = []string{text}
	}
	var err error
	if m.Start, m.End, err = renderRange(values, "from", "until"); err != nil {
		return nil, err
	}
	found, err := a.labelValues(r.Context(), m)
	if found.GetNames() == nil {
		return []string{}, err
	}
	return found.GetNames(), err
}

func readRender(values url.Values, text, from, until string) (m *querierv1.SelectMergeStacktracesRequest, err error) {
	if values.Get(text) == "" {
		return nil, serve.Field(text, fmt.Errorf("it must be given, as process_cpu:cpu:nanoseconds:cpu:nanoseconds{service_name=\"x\"}: %w", profile.ErrInvalid))
	}
	m = &querierv1.SelectMergeStacktracesRequest{LabelSelector: values.Get(text)}
	if typ, matchers, braced := strings.Cut(values.Get(text), "{"); strings.Contains(typ, ":") {
		m.ProfileTypeID, m.LabelSelector = strings.TrimSpace(typ), ""
		if braced {
			m.LabelSelector = "{" + matchers
		}
	}
	if m.Start, m.End, err = renderRange(values, from, until); err != nil {
		return nil, err
	}
	if nodes := cmp.Or(values.Get("max-nodes"), values.Get("maxNodes")); nodes != "" {
		n, err := strconv.ParseInt(nodes, 10, 64)
		if err != nil || n < 0 {
			return nil, serve.Field("max-nodes", fmt.Errorf("%q: want a whole number: %w", nodes, profile.ErrInvalid))
		}
		m.MaxNodes = &n
	}
	return m, nil
}

// renderRange reads now, now-1h, RFC 3339, seconds or milliseconds; the last hour when
// nothing is given.
func renderRange(values url.Values, from, until string) (start, end int64, err error) {
	now := time.Now()
	read := func(name string, missing time.Time) int64 {
		text := values.Get(name)
		if text == "" {
			return missing.UnixMilli()
		}
		if ms, bad := strconv.ParseInt(text, 10, 64); bad == nil && ms > 1<<33 {
			return ms
		}
		t, bad := profile.ParseTime(text, now)
		if bad != nil && err == nil {
			err = serve.Field(name, bad)
		}
		return t.UnixMilli()
	}
	return read(from, now.Add(-time.Hour)), read(until, now), err
}

func newRendered(t *query.Tree, b *flamebearer) *rendered {
	r := &rendered{
		Version:     1,
		Flamebearer: renderedFlame{b.names, b.levels, b.total, b.maxSelf},
		Metadata:    metadata{Format: "single", SampleRate: 100, Units: "samples", Name: t.Type.Sample.Type},
	}
	if t.Compared() {
		r.Metadata.Format, r.LeftTicks, r.RightTicks = "double", b.left, b.right
	}
	switch unit := t.Type.Sample.Unit; {
	case unit == "bytes":
		r.Metadata.Units = "bytes"
	case unit == "nanoseconds" && (t.Type.Name == "mutex" || t.Type.Name == "block"):
		r.Metadata.Units = "lock_nanoseconds"
	case unit == "nanoseconds":
		r.Metadata.SampleRate = int64(time.Second)
	case strings.Contains(t.Type.Sample.Type, "objects"):
		r.Metadata.Units = "objects"
	}
	return r
}

// timelines adds the totals over time, and by a label when one is asked for.
func (a *API) timelines(ctx context.Context, m *querierv1.SelectMergeStacktracesRequest, by []string, to *rendered) error {
	req, err := a.request(ctx, m.GetProfileTypeID(), m.GetLabelSelector(), m.GetStart(), m.GetEnd())
	if err != nil {
		return err
	}
	series := query.SeriesRequest{Request: req, Step: wholeSeconds(req.Range)}
	list, err := a.steps(ctx, series, false)
	if err != nil {
		return err
	}
	to.Timeline = newTimeline(list, nil)
	if len(list.Series) > 0 {
		to.Timeline = newTimeline(list, list.Series[0].Points)
	}
	if len(by) == 0 {
		return nil
	}
	series.By = by
	if list, err = a.steps(ctx, series, false); err != nil {
		return err
	}
	to.Groups = map[string]*timeline{}
	for _, s := range list.Series {
		to.Groups[groupName(s.Labels, by)] = newTimeline(list, s.Points)
	}
	return nil
}

// wholeSeconds is a step that has at most some hundreds of points, at least 10 s long.
func wholeSeconds(r profile.TimeRange) time.Duration {
	return max(10*time.Second, (r.To.Sub(r.From) / 500).Round(time.Second))
}

func groupName(ls profile.Labels, names []string) string {
	if len(names) == 1 {
		return ls.Get(names[0])
	}
	return ls.String()
}

// newTimeline spreads points over all steps of the range.
func newTimeline(list *query.SeriesList, points []query.Point) *timeline {
	step := list.Step.Milliseconds()
	first := list.Range.From.UnixMilli() / step * step
	n := (list.Range.To.UnixMilli()-first)/step + 1
	t := &timeline{StartTime: first / 1000, Samples: make([]int64, n), DurationDelta: step / 1000}
	for _, p := range points {
		if i := (p.Time - first) / step; i >= 0 && i < n {
			t.Samples[i] = p.Value
		}
	}
	return t
}
