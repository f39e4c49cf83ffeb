package scrape

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/coldframe/coldframe/ingest/push/jfr"
	"github.com/coldframe/coldframe/upload"
)

// maxBody bounds what a target may answer with.
const maxBody = 64 << 20

// fetch asks a target once and gives the body and what it holds of the scraper's
// memory, which the caller gives back. seconds is 0 or how long the target samples.
func (s *Scraper) fetch(ctx context.Context, client *http.Client, t *target, seconds int) (body []byte, held int64, err error) {
	u := t.url
	query := t.query
	if seconds > 0 {
		query = make(map[string][]string, len(t.query)+1)
		for name, values := range t.query {
			query[name] = values
		}
		query.Set("seconds", strconv.Itoa(seconds))
	}
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, 0, err // names method and URL itself
	}
	defer resp.Body.Close()
	body, held, err = s.read(resp)
	switch {
	case err != nil:
	case resp.StatusCode != http.StatusOK:
		err = fmt.Errorf("%s: %.200s", resp.Status, bytes.TrimSpace(body))
	case len(body) == 0:
		err = errors.New("the body is empty")
	}
	if err != nil {
		err = fmt.Errorf("GET %s: %w", u.String(), err)
	}
	return body, held, err
}

// errBusy says that a scrape failed because others hold what memory there is.
var errBusy = errors.New("other scrapes' answers fill the memory that is set aside for them")

// read reads a body as long as there is memory for it.
func (s *Scraper) read(resp *http.Response) (body []byte, held int64, err error) {
	metered := &metered{from: resp.Body, budget: &s.budget, most: s.settings.MemoryBytes}
	if n := resp.ContentLength; n > 0 && n <= maxBody {
		body = make([]byte, 0, n+bytes.MinRead) // a buffer sees the end without growing
	}
	into := bytes.NewBuffer(body)
	_, err = into.ReadFrom(metered)
	body = into.Bytes()
	switch {
	case err != nil:
		err = fmt.Errorf("reading the body: %w", err)
	case cap(body) > len(body)+len(body)/4+bytes.MinRead:
		body = bytes.Clone(body) // it waits for its window's end
	}
	return body, metered.held, err
}

// metered counts what is read against a budget that all scrapes share.
type metered struct {
	from   io.Reader
	budget *atomic.Int64
	most   int64
	held   int64
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.from.Read(p)
	m.held += int64(n)
	switch total := m.budget.Add(int64(n)); {
	case m.held > maxBody:
		return n, fmt.Errorf("the profile is over %d MiB", maxBody>>20)
	case total > m.most:
		return n, errBusy
	}
	return n, err
}

// scrape asks once and hands on what it gets. A delta profile takes its seconds
// before it answers, so the deadline is never shorter than those and 3 s more.
func (s *Scraper) scrape(ctx context.Context, client *http.Client, t *target, seconds int) error {
	timeout := max(t.job.Timeout, time.Duration(seconds)*time.Second+3*time.Second)
	asking, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	body, held, err := s.fetch(asking, client, t, seconds)
	defer s.budget.Add(-held)
	if err != nil {
		return err
	}
	select {
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
	case <-ctx.Done():
		return ctx.Err()
	}
	profiles, err := t.profiles(body)
	if err == nil {
		// What was fetched is worth keeping even when the scraper is being stopped.
		err = s.sink.Add(context.WithoutCancel(ctx), s.settings.Tenant, profiles...)
	}
	if err != nil {
		return fmt.Errorf("GET %s: %w", t.url.String(), err)
	}
	return nil
}

// profiles are what a target's answer holds: a pprof is one, a recording of a JVM one for
// each kind of event, which says its name.
func (t *target) profiles(body []byte) ([]upload.Profile, error) {
	all := []upload.Profile{{Name: t.name, Body: body}}
	if jfr.IsRecording(body) {
		made, err := jfr.Decode(body, jfr.Options{})
		if err != nil {
			return nil, err
		}
		if len(made) == 0 {
			return nil, errors.New("the recording has no events of CPU, allocations or locks: has it the setting \"profile\"?")
		}
		all = all[:0]
		for _, p := range made {
			all = append(all, upload.Profile(p))
		}
	}
	for i := range all {
		all[i].Labels = t.labels
		if len(t.endpoint.Keep) == 0 {
			continue
		}
		var err error
		if all[i].Body, err = keepSampleTypes(all[i].Body, t.endpoint.Keep); err != nil {
			return nil, err
		}
	}
	return all, nil
}
