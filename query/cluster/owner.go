package cluster

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
)

// owners are the members that may be asked for a block, the one whose it is first: by
// descending score of a weighted rendezvous hash. Members of this one's zone come before all
// others. Cost: one hash a member.
func owners(key string, members []Member, zone string) []Member {
	type candidate struct {
		Member
		far   bool
		score float64
	}
	all := make([]candidate, 0, len(members))
	for _, m := range members {
		all = append(all, candidate{m, m.Zone != zone, score(key, m)})
	}
	slices.SortFunc(all, func(a, b candidate) int {
		if a.far != b.far {
			if a.far {
				return 1
			}
			return -1
		}
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.Name, b.Name))
	})
	ordered := make([]Member, len(all))
	for i, c := range all {
		ordered[i] = c.Member
	}
	return ordered
}

// score is the logarithmic method: −w/ln(u), with u a uniform hash in (0, 1). The largest
// of many is any one's with the probability of its weight's share (Schindelhauer and
// Schomaker, Weighted Distributed Hash Tables, 2005).
func score(key string, m Member) float64 {
	d := xxhash.NewWithSeed(xxhash.Sum64String(m.Name))
	_, _ = d.WriteString(key) // never fails
	u := (float64(d.Sum64()>>11) + 0.5) / (1 << 53)
	return -float64(m.Weight) / math.Log(u)
}

// Assign implements query.Remote. A block of this member's own, or of nobody's who may be
// asked, is "".
func (c *Cluster) Assign(keys []string) []string {
	members := c.usable()
	workers := make([]string, len(keys))
	if len(members) < 2 {
		return workers
	}
	for i, key := range keys {
		if o := owners(key, members, c.config.Zone)[0]; !o.Self {
			workers[i] = o.Name
		}
	}
	return workers
}

// usable are the members that may be asked now, this one included.
func (c *Cluster) usable() []Member {
	now := time.Now()
	c.mu.RLock()
	defer c.mu.RUnlock()
	usable := make([]Member, 0, len(c.members))
	for _, m := range c.members {
		if m.Refused == "" && !now.Before(c.avoid[m.Name]) {
			usable = append(usable, m)
		}
	}
	return usable
}

// outrunOften is how often in a row another member answers what a silent one was asked for,
// until it counts as dead.
const outrunOften = 3

// answered notes that a member answered what worker was asked for. One that has been outrun
// often is shunned, and until it answers again it is each time that it is outrun.
func (c *Cluster) answered(member, worker string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if member == worker {
		delete(c.outrun, worker)
		return
	}
	if c.outrun[worker]++; c.outrun[worker] >= outrunOften {
		c.avoid[worker] = time.Now().Add(avoidFor)
	}
}

// shun has a member that failed not be asked for a while.
func (c *Cluster) shun(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(c.avoid, func(_ string, until time.Time) bool { return now.After(until) })
	c.avoid[name] = now.Add(avoidFor)
}
