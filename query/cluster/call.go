package cluster

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/serve"
)

// Path is where [Cluster.Handler] is to be reached.
const Path = "/internal/v1/part"

const (
	maxPart    = 8 << 20   // bytes of a question; a block takes some 200
	maxPartial = 256 << 20 // bytes of an answer
)

// Computer answers parts of queries: a [query.Querier].
type Computer interface {
	Compute(ctx context.Context, p query.Part) (*query.Partial, error)
}

// Handler answers POST [Path] by q: a [query.Part] in JSON, its [query.Partial] back.
func (c *Cluster) Handler(q Computer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.token != "" && subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+c.token)) != 1 {
			serve.WriteError(w, &serve.Error{Status: http.StatusForbidden, Code: "forbidden", Err: errors.New("only members of the cluster may ask this")})
			return
		}
		var p query.Part
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxPart)).Decode(&p); err != nil {
			serve.WriteError(w, fmt.Errorf("part of a query: %w: %w", err, profile.ErrInvalid))
			return
		}
		partial, err := q.Compute(r.Context(), p)
		if err != nil {
			serve.WriteError(w, err)
			return
		}
		serve.WriteJSON(w, http.StatusOK, partial)
	})
}

// answer is what one member said.
type answer struct {
	member  string
	partial *query.Partial
	err     error
}

// Compute implements query.Remote: it asks worker, and the next in order if that fails,
// or too if it is silent for longer than calls usually are.
func (c *Cluster) Compute(ctx context.Context, worker string, p query.Part) (*query.Partial, error) {
	order := c.order(worker, p)
	if len(order) == 0 {
		return nil, fmt.Errorf("member %s has left", worker)
	}
	ctx, cancel := context.WithCancel(ctx) // ends the call that is no longer needed
	defer cancel()
	answers := make(chan answer, len(order))
	asked, waiting := 0, 0
	ask := func() {
		m := order[asked]
		asked, waiting = asked+1, waiting+1
		go func() { answers <- c.ask(ctx, m, p) }()
	}
	ask()
	late := c.latency.hedgeAfter()
	hedge, stalled := time.NewTimer(late), time.NewTimer(stalledAfter*late)
	defer hedge.Stop()
	defer stalled.Stop()
	var errs []error
	for waiting > 0 {
		select {
		case a := <-answers:
			waiting--
			if a.err == nil {
				c.answered(a.member, worker)
				return a.partial, nil
			}
			if errors.Is(a.err, query.ErrTooLarge) || ctx.Err() != nil {
				return nil, a.err
			}
			c.shun(a.member)
			errs = append(errs, a.err)
			if waiting == 0 && asked < len(order) {
				ask()
			}
		case <-hedge.C:
			if asked < len(order) && c.latency.mayHedge() {
				c.hedged(order[asked-1].Name, order[asked].Name)
				ask()
			}
		case <-stalled.C:
			c.shun(worker)
			if asked == len(order) {
				return nil, errors.Join(append(errs, fmt.Errorf("member %s has been silent for %s", worker, stalledAfter*late))...)
			}
			ask()
			stalled.Reset(stalledAfter * late)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, errors.Join(errs...)
}

// stalledAfter is after how many times the usual longest wait a member counts as dead: the
// next one is asked then whatever the budget of hedges says.
const stalledAfter = 4

// most members that are asked for one part; then the asking process computes it.
const most = 3

// order is worker and the members to ask instead of it: the next owners of the part's first
// block. This process is not among them: it is the last resort anyway.
func (c *Cluster) order(worker string, p query.Part) []Member {
	var first, others []Member
	key := ""
	if len(p.Blocks) > 0 {
		key = p.Blocks[0].Key
	}
	for _, m := range owners(key, c.usable(), c.config.Zone) {
		switch {
		case m.Name == worker:
			first = append(first, m)
		case !m.Self:
			others = append(others, m)
		}
	}
	all := append(first, others...)
	return all[:min(len(all), most)]
}

func (c *Cluster) hedged(first, second string) {
	if c.config.Observer.Hedged != nil {
		c.config.Observer.Hedged(first, second)
	}
}

// ask is one call.
func (c *Cluster) ask(ctx context.Context, m Member, p query.Part) answer {
	began := time.Now()
	partial, err := c.post(ctx, m, p)
	if err != nil {
		err = fmt.Errorf("member %s: %w", m.Name, err)
	} else {
		c.latency.took(time.Since(began))
	}
	if c.config.Observer.Asked != nil && !errors.Is(err, context.Canceled) {
		c.config.Observer.Asked(m.Name, time.Since(began), err)
	}
	return answer{m.Name, partial, err}
}

func (c *Cluster) post(ctx context.Context, m Member, p query.Part) (*query.Partial, error) {
	body, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, m.URL+Path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // the status says enough
		if resp.StatusCode == http.StatusUnprocessableEntity {
			return nil, fmt.Errorf("%s: %w", text, query.ErrTooLarge)
		}
		return nil, fmt.Errorf("%s: %s", resp.Status, text)
	}
	var partial query.Partial
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxPartial)).Decode(&partial); err != nil {
		return nil, fmt.Errorf("its answer: %w", err)
	}
	return &partial, nil
}
