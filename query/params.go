package query

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
)

// params reads a request's query parameters. The first fault is kept and names its
// parameter; after it everything reads as its default.
type params struct {
	values url.Values
	now    time.Time
	err    error
}

func newParams(r *http.Request, now time.Time) *params {
	values, err := url.ParseQuery(r.URL.RawQuery)
	p := &params{values: values, now: now}
	if err != nil {
		p.fail("", fmt.Errorf("query string: %w: %w", err, profile.ErrInvalid))
	}
	return p
}

func (p *params) fail(field string, err error) {
	if p.err == nil && err != nil {
		p.err = serve.Field(field, err)
	}
}

// request reads what all routes share but the tenant.
func (p *params) request() Request {
	return Request{Selector: p.selector(), Range: p.timeRange(), Filters: p.filters(), Strict: p.flag("strict")}
}

// treeRequest reads how a tree is made of a request.
func (p *params) treeRequest(req Request) TreeRequest {
	t := TreeRequest{Request: req, View: View{Sandwich: p.values.Get("sandwich"), Invert: p.flag("invert")}}
	p.fail("group_by", ParseGroupBy(&t.View, p.list("group_by")))
	t.Base = p.base(req)
	t.Aggregate = p.aggregate()
	t.Absolute = p.choice("diff", "relative", "absolute") == "absolute"
	return t
}

// base reads what an answer is compared with: the same question, but for what base_query,
// base_from and base_to say. Without any of them there is none.
func (p *params) base(req Request) *Request {
	if !p.values.Has("base_query") && !p.values.Has("base_from") && !p.values.Has("base_to") {
		return nil
	}
	base := req
	if p.values.Has("base_query") {
		sel, err := profile.ParseSelector(p.values.Get("base_query"))
		p.fail("base_query", err)
		if sel.Type.IsZero() {
			sel.Type = req.Selector.Type
		}
		base.Selector = sel
	}
	length := req.Range.To.Sub(req.Range.From)
	switch {
	case p.values.Has("base_from"):
		base.Range.From = p.time("base_from", req.Range.From)
		base.Range.To = p.time("base_to", base.Range.From.Add(length))
	case p.values.Has("base_to"):
		base.Range.To = p.time("base_to", req.Range.To)
		base.Range.From = base.Range.To.Add(-length)
	}
	if p.err == nil {
		p.fail("base_from", base.Range.Validate())
	}
	return &base
}

// filters reads those of stacks and of frames.
func (p *params) filters() []Filter {
	var filters []Filter
	for _, name := range []string{"filter", "frame_filter"} {
		for _, text := range p.values[name] {
			f, err := ParseFilter(text, name == "frame_filter")
			p.fail(name, err)
			filters = append(filters, f)
		}
	}
	if p.err == nil {
		p.fail("filter", validateFilters(filters))
	}
	return filters
}

func (p *params) selector() profile.Selector {
	sel, err := profile.ParseSelector(p.values.Get("query"))
	p.fail("query", err)
	typ, err := profile.ParseTypePattern(p.values.Get("type"))
	p.fail("type", err)
	switch {
	case sel.Type.IsZero():
		sel.Type = typ
	case !typ.IsZero() && typ != sel.Type:
		p.fail("type", fmt.Errorf("type is %q, but the selector names %q: %w", typ, sel.Type, profile.ErrInvalid))
	}
	return sel
}

func (p *params) timeRange() profile.TimeRange {
	r := profile.TimeRange{To: p.time("to", p.now)}
	// What go tool pprof -seconds N adds to a URL: the last N seconds.
	back := time.Hour
	if seconds := p.integer("seconds", 0, 0, math.MaxInt32); seconds > 0 {
		back = time.Duration(seconds) * time.Second
		r.From = p.time("from", r.To.Add(-back))
	} else {
		r.From = p.time("from", p.now.Add(-back))
	}
	if p.err == nil {
		p.fail("from", r.Validate())
	}
	return r
}

func (p *params) time(name string, missing time.Time) time.Time {
	s := p.values.Get(name)
	if s == "" {
		return missing
	}
	// A '+' that was not escaped, as in now+5m, arrives as a space.
	t, err := profile.ParseTime(strings.ReplaceAll(s, " ", "+"), p.now)
	p.fail(name, err)
	return t
}

func (p *params) flag(name string) bool {
	s := p.values.Get(name)
	if s == "" {
		return false
	}
	on, err := strconv.ParseBool(s)
	if err != nil {
		p.fail(name, fmt.Errorf("%q: want 1 or 0, true or false: %w", s, profile.ErrInvalid))
	}
	return on
}

func (p *params) integer(name string, missing, least, most int) int {
	s := p.values.Get(name)
	if s == "" {
		return missing
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > most {
		p.fail(name, fmt.Errorf("%q: want a whole number from %d to %d: %w", s, least, most, profile.ErrInvalid))
	}
	return n
}

func (p *params) share(name string) float64 {
	s := p.values.Get(name)
	if s == "" {
		return 0
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f >= 0 && f <= 1) {
		p.fail(name, fmt.Errorf("%q: want a share from 0 to 1: %w", s, profile.ErrInvalid))
	}
	return f
}

// choice reads one of a few words; the first is the default.
func (p *params) choice(name string, words ...string) string {
	s := p.values.Get(name)
	switch {
	case s == "":
		return words[0]
	case !slices.Contains(words, s):
		p.fail(name, fmt.Errorf("%q: want one of %s: %w", s, strings.Join(words, ", "), profile.ErrInvalid))
	}
	return s
}

// duration reads 30s, 5m, 1d, or a number of seconds; unset is 0.
func (p *params) duration(name string) time.Duration {
	s := p.values.Get(name)
	if s == "" {
		return 0
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		s += "s"
	}
	d, err := profile.ParseTime("now+"+s, time.Time{})
	if err != nil || !d.After(time.Time{}) {
		p.fail(name, fmt.Errorf("%q: want a duration such as 30s, 5m or 1d, or a number of seconds: %w", s, profile.ErrInvalid))
	}
	return d.Sub(time.Time{})
}

// list reads words separated by commas or given by several parameters of a name.
func (p *params) list(name string) []string {
	var words []string
	for _, value := range p.values[name] {
		for word := range strings.SplitSeq(value, ",") {
			if word = strings.TrimSpace(word); word != "" && !slices.Contains(words, word) {
				words = append(words, word)
			}
		}
	}
	return words
}
