package push

import (
	"cmp"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
	"github.com/coldframe/coldframe/upload"
)

const (
	agentsFor = 5 * time.Minute // how long a client that is silent is shown, as in Parca
	maxAgents = 10_000

	maxChanges = 5 // that are told of a client in a minute
)

// Agent is a client that has pushed within the last five minutes.
type Agent struct {
	ID         string         `json:"id"` // its label node, else its address
	Address    string         `json:"address"`
	Tenant     profile.Tenant `json:"tenant"`
	Protocol   string         `json:"protocol"`
	LastPush   time.Time      `json:"last_push"`
	Duration   float64        `json:"last_push_duration_seconds"`
	LastError  string         `json:"last_error,omitempty"`
	Pushes     int64          `json:"pushes"`
	PushErrors int64          `json:"push_errors"`

	told    Outcome   // the last that was told
	changes int       // that were told since then:
	since   time.Time // within a minute
}

// agents remembers who has pushed.
type agents struct {
	mu  sync.Mutex
	all map[agentKey]*Agent
}

type agentKey struct {
	tenant       profile.Tenant
	protocol, id string
}

// pushed notes a push, and says in it by whom it was and whether its outcome is another
// than that of the one before.
func (a *agents) pushed(c *client, profiles []upload.Profile, push *Push) {
	push.Client = c.address
	if c.err != nil {
		return
	}
	for _, p := range profiles {
		if node := p.Labels.Get("node"); node != "" {
			push.Client = node
			break
		}
	}
	key, outcome := agentKey{c.tenant, c.protocol, push.Client}, push.Outcome()
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	agent := a.all[key]
	if agent == nil {
		if a.all == nil {
			a.all = map[agentKey]*Agent{}
		}
		if len(a.all) >= maxAgents {
			a.forget(now)
		}
		if len(a.all) >= maxAgents {
			return
		}
		agent = &Agent{ID: push.Client, Tenant: c.tenant, Protocol: c.protocol}
		a.all[key] = agent
	}
	push.Changed = agent.changed(outcome, now)
	agent.Address, agent.LastPush, agent.Duration, agent.LastError = c.address, now.UTC(), push.Took.Seconds(), ""
	agent.Pushes++
	if push.Err != nil {
		agent.LastError = push.Err.Error()
		agent.PushErrors++
	}
}

// changed says whether an outcome is worth telling: when it is another than the last that was told,
// and few were within a minute. Many clients may be behind one address.
func (a *Agent) changed(outcome Outcome, now time.Time) bool {
	if outcome == a.told {
		return false
	}
	if now.Sub(a.since) > time.Minute {
		a.since, a.changes = now, 0
	}
	if a.changes >= maxChanges {
		return false
	}
	a.told = outcome
	a.changes++
	return true
}

// forget drops who has been silent. a.mu is held.
func (a *agents) forget(now time.Time) {
	for key, agent := range a.all {
		if now.Sub(agent.LastPush) > agentsFor {
			delete(a.all, key)
		}
	}
}

// Agents lists a tenant's clients that have pushed within the last five minutes, by ID.
func (rc *Receiver) Agents(tenant profile.Tenant) []Agent {
	rc.agents.mu.Lock()
	defer rc.agents.mu.Unlock()
	rc.agents.forget(time.Now())
	list := []Agent{}
	for _, agent := range rc.agents.all {
		if agent.Tenant == tenant {
			list = append(list, *agent)
		}
	}
	slices.SortFunc(list, func(x, y Agent) int {
		return cmp.Or(cmp.Compare(x.ID, y.ID), cmp.Compare(x.Protocol, y.Protocol))
	})
	return list
}

// serveAgents answers GET /api/v1/agents.
func (rc *Receiver) serveAgents(w http.ResponseWriter, r *http.Request) {
	tenant, err := serve.Tenant(r)
	if err != nil {
		serve.WriteError(w, err)
		return
	}
	serve.WriteJSON(w, http.StatusOK, struct {
		Agents []Agent `json:"agents"`
	}{rc.Agents(tenant)})
}
