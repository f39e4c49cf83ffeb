package scrape

import (
	"context"
	"net/http"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	storev1 "github.com/coldframe/coldframe/api/parca/profilestore/v1alpha1"
	scrapev1 "github.com/coldframe/coldframe/api/parca/scrape/v1alpha1"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
)

// Routes tells every route by which targets are shown, as [http.ServeMux] patterns:
//
//	GET  /api/v1/targets                                 ours, JSON
//	POST /parca.scrape.v1alpha1.ScrapeService/Targets    Parca's, gRPC and its kin
//	GET  /api/targets                                    the same as JSON; ?state=STATE_ACTIVE
//
// Who may not read the tenant that is scraped for sees none.
func (s *Scraper) Routes(handle func(pattern string, h http.Handler)) {
	handle("GET /api/v1/targets", s.show(http.HandlerFunc(serveTargets)))
	parca := parcaTargets{}
	path, procedures := scrapev1.NewScrapeServiceHandler(parca)
	handle("POST "+path, s.show(procedures))
	handle("GET /api/targets", s.show(serve.JSONCall(parca.Targets)))
}

type shownKey struct{}

// show lets a request see what its tenant and token may see.
func (s *Scraper) show(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tenant, err := serve.Tenant(r)
		if err != nil {
			serve.WriteRPCError(w, r, err)
			return
		}
		var shown []Status
		if tenant == s.settings.Tenant {
			only := serve.AccessOf(r.Context()).Restrict(profile.Selector{})
			for _, st := range s.Targets() {
				if only.Matches(st.Labels) {
					shown = append(shown, st)
				}
			}
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), shownKey{}, shown)))
	})
}

// shownTo are the targets that the request of a context may see.
func shownTo(ctx context.Context) []Status {
	shown, _ := ctx.Value(shownKey{}).([]Status)
	return shown
}

// targetJSON is a target in the answer of GET /api/v1/targets.
type targetJSON struct {
	Job        string            `json:"job"`
	URL        string            `json:"url"`
	Name       string            `json:"name"`
	State      State             `json:"state"`
	Health     Health            `json:"health"`
	Labels     map[string]string `json:"labels"`
	Discovered map[string]string `json:"discovered_labels"`
	Last       *time.Time        `json:"last_scrape,omitempty"`
	Duration   *float64          `json:"last_duration_seconds,omitempty"`
	Err        string            `json:"last_error,omitempty"`
}

func serveTargets(w http.ResponseWriter, r *http.Request) {
	all := []targetJSON{}
	for _, st := range shownTo(r.Context()) {
		t := targetJSON{
			Job: st.Job, URL: st.URL, Name: st.Name, State: st.State, Health: st.Health,
			Labels: st.Labels.Map(), Discovered: st.Discovered.Map(), Err: st.errText(),
		}
		if !st.Last.IsZero() {
			last, took := st.Last.UTC(), st.Duration.Seconds()
			t.Last, t.Duration = &last, &took
		}
		all = append(all, t)
	}
	serve.WriteJSON(w, http.StatusOK, struct {
		Targets []targetJSON `json:"targets"`
	}{all})
}

func (st Status) errText() string {
	if st.Err == nil {
		return ""
	}
	return st.Err.Error()
}

// parcaTargets answers in the words of Parca's API.
type parcaTargets struct{}

// Targets lists targets by job. What relabelling dropped and what cannot be scraped are
// dropped targets.
func (parcaTargets) Targets(ctx context.Context, req *scrapev1.TargetsRequest) (*scrapev1.TargetsResponse, error) {
	res := &scrapev1.TargetsResponse{Targets: map[string]*scrapev1.Targets{}}
	for _, st := range shownTo(ctx) {
		active := st.State == Active
		switch req.GetState() {
		case scrapev1.TargetsRequest_STATE_ACTIVE:
			if !active {
				continue
			}
		case scrapev1.TargetsRequest_STATE_DROPPED:
			if active {
				continue
			}
		}
		if res.Targets[st.Job] == nil {
			res.Targets[st.Job] = &scrapev1.Targets{}
		}
		res.Targets[st.Job].Targets = append(res.Targets[st.Job].Targets, st.parca())
	}
	return res, nil
}

func (st Status) parca() *scrapev1.Target {
	t := &scrapev1.Target{
		DiscoveredLabels: labelSet(st.Discovered, ""), Labels: labelSet(st.Labels, st.Name),
		LastError: st.errText(), Url: st.URL, LastScrapeDuration: durationpb.New(st.Duration),
	}
	if !st.Last.IsZero() {
		t.LastScrape = timestamppb.New(st.Last)
	}
	switch st.Health {
	case Up:
		t.Health = scrapev1.Target_HEALTH_GOOD
	case Down:
		t.Health = scrapev1.Target_HEALTH_BAD
	}
	return t
}

// labelSet is a label set in Parca's words, with the profile's name as __name__ if there is one.
func labelSet(ls profile.Labels, name string) *storev1.LabelSet {
	set := &storev1.LabelSet{}
	if name != "" {
		set.Labels = append(set.Labels, &storev1.Label{Name: "__name__", Value: name})
	}
	for _, l := range ls {
		set.Labels = append(set.Labels, &storev1.Label{Name: l.Name, Value: l.Value})
	}
	return set
}
