package cluster

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query"
)

// fake answers a part with its own name as the block, or as do says.
type fake struct {
	name  string
	asked atomic.Int32
	do    atomic.Pointer[func(context.Context) error]
}

func (f *fake) Compute(ctx context.Context, p query.Part) (*query.Partial, error) {
	f.asked.Add(1)
	if do := f.do.Load(); do != nil {
		if err := (*do)(ctx); err != nil {
			return nil, err
		}
	}
	return &query.Partial{Block: []byte(f.name), Requests: len(p.Blocks)}, nil
}

func (f *fake) behave(do func(context.Context) error) { f.do.Store(&do) }

// member is one member on loopback.
type member struct {
	*Cluster
	*fake
	server *httptest.Server
	stop   func()
}

func startMember(t *testing.T, config Config) *member {
	t.Helper()
	var handler atomic.Pointer[http.Handler]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*handler.Load()).ServeHTTP(w, r) }))
	config.Bind = cmp.Or(config.Bind, "127.0.0.1:0")
	if config.URL == "" {
		config.URL = server.URL
	}
	log := &memberLog{t: t, name: config.Name}
	config.Observer.Said = log.say
	c, err := Start(config)
	if err != nil {
		t.Fatal(err)
	}
	c.leave = 3 * time.Second
	m := &member{Cluster: c, fake: &fake{name: config.Name}, server: server}
	h := c.Handler(m.fake)
	handler.Store(&h)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context())) // the cleanup ends it
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := c.Run(ctx); err != nil {
			t.Logf("%s: %v", config.Name, err)
		}
	}()
	m.stop = func() { cancel(); <-ended }
	t.Cleanup(func() {
		c.leave = time.Millisecond
		m.stop()
		server.CloseClientConnections()
		server.Close()
		log.end()
	})
	return m
}

// memberLog keeps memberlist from logging when the test has ended: its probes outlive it.
type memberLog struct {
	t     *testing.T
	name  string
	mu    sync.Mutex
	ended bool
}

func (l *memberLog) say(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.t.Logf("%s: %s", l.name, strings.TrimSpace(line))
	}
}

func (l *memberLog) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
}

// three members that know each other.
func three(t *testing.T, config Config) []*member {
	t.Helper()
	var all []*member
	for i := range 3 {
		config.Name = fmt.Sprintf("m%d", i)
		if i > 0 {
			config.Join = []string{all[0].GossipAddress()}
		}
		all = append(all, startMember(t, config))
	}
	for _, m := range all {
		m.waitFor(t, 3)
	}
	return all
}

func (m *member) waitFor(t *testing.T, n int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); len(m.Members()) != n; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s knows %d members, want %d: %+v", m.name, len(m.Members()), n, m.Members())
		}
	}
}

func keys(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("v1/b4/default/00/20260901/%026d.arrow.zip", i)
	}
	return all
}

func part(key string) query.Part {
	return query.Part{Version: 2, Blocks: []query.PartBlock{{Key: key}}}
}

// Every member asks the same one for a block, and all have a share of the blocks.
func TestMembersAgree(t *testing.T) {
	all := three(t, Config{Key: bytes.Repeat([]byte("k"), 32), HedgeAfter: time.Minute})
	blocks := keys(300)
	owned := map[string]int{}
	for i, key := range blocks {
		owner := ""
		for _, m := range all {
			worker := m.Assign(blocks[i : i+1])[0]
			if worker == "" {
				worker = m.name
			}
			if owner == "" {
				owner = worker
			}
			if worker != owner {
				t.Fatalf("%s: %s says %s, another %s", key, m.name, worker, owner)
			}
		}
		owned[owner]++
	}
	for name, n := range owned {
		if n < 70 || n > 130 {
			t.Errorf("%s owns %d of 300 blocks", name, n)
		}
	}
	for i, worker := range all[0].Assign(blocks[:enough]) { // of more calls some would be hedged
		if worker == "" {
			continue
		}
		partial, err := all[0].Cluster.Compute(t.Context(), worker, part(blocks[i]))
		if err != nil || string(partial.Block) != worker || partial.Requests != 1 {
			t.Fatalf("%s: %v, %v", worker, partial, err)
		}
	}
	if n := all[0].asked.Load(); n != 0 {
		t.Errorf("a member asked itself %d times", n)
	}
}

// When a member takes leave, its blocks alone move, and soon.
func TestLeave(t *testing.T) {
	all := three(t, Config{})
	blocks := keys(200)
	before := all[0].Assign(blocks)
	all[2].stop()
	all[0].waitFor(t, 2)
	for i, worker := range all[0].Assign(blocks) {
		if before[i] != "m2" && worker != before[i] {
			t.Fatalf("%s moved from %q to %q", blocks[i], before[i], worker)
		}
		if worker == "m2" {
			t.Fatal("a member that left is asked")
		}
	}
}

// first returns a block that m would ask another for, and whom.
func (m *member) first(t *testing.T) (key, worker string) {
	t.Helper()
	blocks := keys(100)
	for i, w := range m.Assign(blocks) {
		if w != "" {
			return blocks[i], w
		}
	}
	t.Fatal("a member owns all blocks")
	return "", ""
}

func byName(all []*member, name string) *member {
	return all[slices.IndexFunc(all, func(m *member) bool { return m.name == name })]
}

// A member that fails costs a second question, and is not asked for a while.
func TestFailingMember(t *testing.T) {
	all := three(t, Config{HedgeAfter: time.Minute})
	key, worker := all[0].first(t)
	byName(all, worker).behave(func(context.Context) error { return errors.New("disk on fire") })
	partial, err := all[0].Cluster.Compute(t.Context(), worker, part(key))
	if err != nil || string(partial.Block) == worker || string(partial.Block) == all[0].name {
		t.Fatalf("%v, %v", partial, err)
	}
	if again := all[0].Assign([]string{key})[0]; again == worker {
		t.Error("a member that failed just now is asked again")
	}
}

// A frozen member costs a hedge. A question that is no longer needed ends.
func TestFrozenMember(t *testing.T) {
	all := three(t, Config{HedgeAfter: 20 * time.Millisecond})
	key, worker := all[0].first(t)
	ended := make(chan struct{}, 100)
	byName(all, worker).behave(func(ctx context.Context) error {
		<-ctx.Done()
		ended <- struct{}{}
		return ctx.Err()
	})
	for range 30 { // more than may be hedged: the rest counts the member as dead
		partial, err := all[0].Cluster.Compute(t.Context(), worker, part(key))
		if err != nil || string(partial.Block) == worker {
			t.Fatalf("%v, %v", partial, err)
		}
	}
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("the frozen member's question did not end")
	}
}

// A member that others outrun again and again is not asked for a while, and is when it answers.
func TestOutrunMember(t *testing.T) {
	all := three(t, Config{HedgeAfter: 20 * time.Millisecond})
	key, worker := all[0].first(t)
	byName(all, worker).behave(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	for range outrunOften {
		if _, err := all[0].Cluster.Compute(t.Context(), worker, part(key)); err != nil {
			t.Fatal(err)
		}
	}
	if again := all[0].Assign([]string{key})[0]; again == worker {
		t.Error("a member that was outrun is asked again")
	}
	all[0].answered(worker, worker)
	if n := all[0].outrun[worker]; n != 0 {
		t.Errorf("a member that answers was outrun %d times", n)
	}
}

// When nobody answers, Compute says so, and the querier computes the part itself.
func TestNobodyAnswers(t *testing.T) {
	all := three(t, Config{HedgeAfter: 10 * time.Millisecond})
	key, worker := all[0].first(t)
	for _, m := range all[1:] {
		m.behave(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	}
	if _, err := all[0].Cluster.Compute(t.Context(), worker, part(key)); err == nil || !strings.Contains(err.Error(), worker) {
		t.Errorf("err = %v", err)
	}
	if workers := all[0].Assign([]string{key}); workers[0] == worker {
		t.Error("a member that is silent is asked again")
	}
	if _, err := all[0].Cluster.Compute(t.Context(), "nobody", query.Part{}); err == nil {
		t.Error("a member that is not there has answered")
	}
}

// What is too large stays too large, whoever is asked.
func TestTooLargeIsNotRetried(t *testing.T) {
	all := three(t, Config{})
	key, worker := all[0].first(t)
	for _, m := range all {
		m.behave(func(context.Context) error {
			return fmt.Errorf("4 GiB: %w", query.ErrTooLarge)
		})
	}
	_, err := all[0].Cluster.Compute(t.Context(), worker, part(key))
	if err == nil {
		t.Fatal("no error")
	}
	if got := all[1].asked.Load() + all[2].asked.Load(); got > 2 {
		t.Errorf("%d questions", got)
	}
}

// Members without the key are refused at both doors, those of another cluster at gossip's.
func TestStrangers(t *testing.T) {
	key := bytes.Repeat([]byte("k"), 16)
	inside := startMember(t, Config{Name: "inside", Key: key})
	for name, config := range map[string]Config{
		"no key":        {},
		"wrong key":     {Key: bytes.Repeat([]byte("x"), 16)},
		"other cluster": {Key: key, Label: "other"},
	} {
		config.Name, config.Join = "outside", []string{inside.GossipAddress()}
		outside := startMember(t, config)
		time.Sleep(300 * time.Millisecond)
		if n := len(inside.Members()); n != 1 {
			t.Errorf("%s: the stranger is a member", name)
		}
		outside.stop()
	}
	for _, token := range []string{"", "Bearer ", "Bearer x"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, Path, strings.NewReader("{}"))
		r.Header.Set("Authorization", token)
		w := httptest.NewRecorder()
		inside.Handler(inside.fake).ServeHTTP(w, r)
		if w.Code != http.StatusForbidden || inside.asked.Load() != 0 {
			t.Errorf("Authorization %q: status %d", token, w.Code)
		}
	}
}

// A member of another version, or one that says nothing of use, is seen and not asked.
func TestOtherVersions(t *testing.T) {
	old := startMember(t, Config{Name: "a", URL: "ftp://x"})
	m := startMember(t, Config{Name: "b", Join: []string{old.GossipAddress()}})
	m.waitFor(t, 2)
	members := m.Members()
	if members[0].Name != "a" || !strings.Contains(members[0].Refused, "ftp://x") {
		t.Errorf("members: %+v", members)
	}
	if workers := m.Assign(keys(50)); slices.ContainsFunc(workers, func(w string) bool { return w != "" }) {
		t.Error("a member that cannot be asked is asked")
	}
	for text, want := range map[string]string{
		`{"v":1,"u":"http://10.0.0.1:7070"}`: "version 1",
		`?`:                                  "cannot be read",
		`{"v":2,"u":"http://:7070","w":7}`:   "",
	} {
		n := *m.list.LocalNode()
		n.Meta = []byte(text)
		got := m.member(&n)
		if want == "" && (got.Refused != "" || got.URL != "http://"+net.JoinHostPort("127.0.0.1", "7070") || got.Weight != 7) {
			t.Errorf("%s: %+v", text, got)
		}
		if !strings.Contains(got.Refused, want) {
			t.Errorf("%s: refused %q, want %q", text, got.Refused, want)
		}
	}
}

func TestMalformedPartIsRefused(t *testing.T) {
	m := startMember(t, Config{Name: "a"})
	for body, want := range map[string]int{"": 400, "{": 400, `{"v":"x"}`: 400, `{"v":2}`: 200} {
		resp, err := http.Post(m.server.URL, "application/json", strings.NewReader(body)) //nolint:noctx // it ends at once
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%q: status %d, want %d", body, resp.StatusCode, want)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for what, config := range map[string]Config{
		"name":   {},
		"weight": {Name: "a", Weight: -1},
		"key":    {Name: "a", Key: []byte("short")},
		"bind":   {Name: "a", Bind: "7946"},
		"port":   {Name: "a", Bind: "127.0.0.1:99999"},
		"join":   {Name: "a", Bind: "127.0.0.1:0", Advertise: "nowhere"},
	} {
		if c, err := Start(config); !errors.Is(err, profile.ErrInvalid) {
			t.Errorf("%s: %v, %v", what, c, err)
		}
	}
}

// Shares follow weights, one's own zone comes first, and the order is the same for all.
func TestOwners(t *testing.T) {
	members := []Member{{Name: "a", Weight: 1, Zone: "x"}, {Name: "b", Weight: 3, Zone: "x"}, {Name: "c", Weight: 1, Zone: "y"}}
	n := map[string]int{}
	for _, key := range keys(4000) {
		o := owners(key, members, "x")
		n[o[0].Name]++
		if o[2].Name != "c" {
			t.Fatal("a member of another zone comes before one's own")
		}
	}
	if n["b"] < 2800 || n["b"] > 3200 {
		t.Errorf("three quarters of 4,000 blocks are %d", n["b"])
	}
	far := owners(keys(1)[0], members, "y")
	if far[0].Name != "c" {
		t.Error("one's own zone is not asked first")
	}
}

func TestLatencyBudget(t *testing.T) {
	l := latency{initial: time.Second}
	if l.hedgeAfter() != time.Second {
		t.Error("the first wait is not the one that was asked for")
	}
	for i := range 100 {
		l.took(time.Duration(i) * time.Millisecond)
	}
	if got := l.hedgeAfter(); got < 90*time.Millisecond || got > 99*time.Millisecond {
		t.Errorf("95th percentile of 0…99 ms: %s", got)
	}
	hedges := 0
	for range 1000 {
		l.hedgeAfter()
		if l.mayHedge() {
			hedges++
		}
	}
	if hedges < 50 || hedges > 62 {
		t.Errorf("%d of 1,000 calls were hedged, want 5 %% and a burst of 10", hedges)
	}
}

// What a stranger may send to the internal call is an answer or an error.
func FuzzPart(f *testing.F) {
	text, err := json.Marshal(part("v1/b4/default/00/20260901/01ARZ3NDEKTSV4RRFFQ69G5FAV.arrow.zip"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	q := query.New(nil, nil, query.Config{})
	c := &Cluster{}
	f.Fuzz(func(t *testing.T, body []byte) {
		var p query.Part
		if json.Unmarshal(body, &p) == nil && p.Version == 2 && len(p.Types) > 0 {
			return // it would be computed
		}
		w := httptest.NewRecorder()
		c.Handler(q).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, Path, bytes.NewReader(body)))
		if w.Code == http.StatusOK {
			t.Errorf("%q is an answer: %s", body, w.Body)
		}
	})
}
