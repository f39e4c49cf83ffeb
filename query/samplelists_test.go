package query

import (
	"slices"
	"testing"
	"time"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
)

// Labels that samples of compacted blocks have are in the lists, told apart; not for a token that sees a part.
func TestListsHaveLabelsOfSamples(t *testing.T) {
	h := newHouse()
	h.putArrow(t,
		named(t, start, "a", map[string][]string{"thread": {"worker"}, "bad\xff": {"x"}}, "service_name", "api"),
		named(t, start.Add(time.Second), "a", map[string][]string{"thread": {"main"}, "service_name": {"no"}}, "service_name", "api"),
		named(t, start, "b", map[string][]string{"pod": {"of a sample"}}, "service_name", "db", "pod", "b-0"),
	)
	q := h.querier(h.bkt, Config{})
	req := Request{Tenant: profile.DefaultTenant, Range: profile.TimeRange{From: start.Add(-time.Hour), To: start.Add(time.Hour)}}
	names, err := q.LabelNames(t.Context(), req)
	if err != nil || !slices.Equal(names.Words, []string{"pod", "service_name", "thread"}) || !slices.Equal(names.OfSamples, []string{"pod", "thread"}) {
		t.Errorf("names %q, of samples %q, %v", names.Words, names.OfSamples, err)
	}
	for label, want := range map[string]struct{ words, ofSamples []string }{
		"thread":       {[]string{"main", "worker"}, []string{"main", "worker"}},
		"pod":          {[]string{"b-0"}, nil}, // series have it
		"service_name": {[]string{"api", "db"}, nil},
		"none":         {},
	} {
		values, err := q.LabelValues(t.Context(), req, label)
		if err != nil || !slices.Equal(values.Words, want.words) || !slices.Equal(values.OfSamples, want.ofSamples) {
			t.Errorf("values of %s: %q, of samples %q, %v, want %q and %q", label, values.Words, values.OfSamples, err, want.words, want.ofSamples)
		}
	}
	selector, err := profile.ParseSelector(`{service_name="api"}`)
	if err != nil {
		t.Fatal(err)
	}
	part := serve.WithAccess(t.Context(), &serve.Access{Tenant: req.Tenant, Rights: []serve.Right{serve.Read}, Matchers: selector.Matchers})
	if names, err := q.LabelNames(part, req); err != nil || !slices.Equal(names.Words, []string{"service_name"}) {
		t.Errorf("with a token's selector: %q and %v", names.Words, err)
	}
	if values, err := q.LabelValues(part, req, "thread"); err != nil || len(values.Words) > 0 {
		t.Errorf("values with a token's selector: %q and %v", values.Words, err)
	}
}
