package compactor

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
)

// A claim says that a compactor looks after a shard for a while, so that others leave it alone
// and save the work. It is no lock: it may be lost, read late or overwritten, and whoever does
// not heed it does no harm. It lies where only people and compactors look, and expires.
type claim struct {
	By    string    `json:"by"`
	Until time.Time `json:"until"` // by the bucket's clock
}

// claims are those of one compactor.
type claims struct {
	bkt  bucket.Bucket
	by   string
	last time.Duration // how long a claim lasts; 0: none is made or heeded

	mu  sync.Mutex
	own map[shard]time.Time // until when
}

// take says whether the compactor may look after a shard now. It costs nothing while its
// own claim lasts, else a request, or two if nobody has it. How long claims last is random, and
// none is prolonged: so whoever looks first has the shard next, and compactors come to share.
func (c *claims) take(ctx context.Context, s shard, now time.Time) bool {
	if c.last <= 0 {
		return true
	}
	c.mu.Lock()
	until := c.own[s]
	c.mu.Unlock()
	if until.After(now) {
		return true
	}
	key := block.StatusKey(s.tenant, "compact", s.Shard.String())
	if other, err := c.read(ctx, key); err == nil && other.By != c.by && other.Until.After(now) && other.Until.Sub(now) <= maxClaim {
		c.forget(s)
		return false
	}
	until = now.Add(c.last/2 + rand.N(c.last))
	data, err := json.Marshal(claim{c.by, until})
	if err == nil {
		err = c.bkt.Put(ctx, key, data)
	}
	if err == nil {
		c.mu.Lock()
		c.own[s] = until
		c.mu.Unlock()
	}
	return true // without a claim the work is done all the same
}

// maxClaim bounds what is believed of a claim.
const maxClaim = time.Hour

func (c *claims) read(ctx context.Context, key string) (claim, error) {
	var other claim
	data, _, err := c.bkt.Get(ctx, key)
	if err == nil {
		err = json.Unmarshal(data, &other)
	}
	return other, err
}

// drop gives a shard back at once, for others to do what this compactor could not.
func (c *claims) drop(ctx context.Context, s shard) {
	if c.forget(s) {
		_ = c.bkt.Delete(ctx, block.StatusKey(s.tenant, "compact", s.Shard.String())) // it expires anyway
	}
}

func (c *claims) forget(s shard) (had bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, had = c.own[s]
	delete(c.own, s)
	return had
}

// dropAll gives all shards back.
func (c *claims) dropAll(ctx context.Context) {
	c.mu.Lock()
	var all []shard
	for s := range c.own {
		all = append(all, s)
	}
	c.mu.Unlock()
	for _, s := range all {
		c.drop(ctx, s)
	}
}

// Release gives back what the compactor has claimed, so that others need not wait. It is to
// be called when the compactor is used no more.
func (c *Compactor) Release(ctx context.Context) { c.claims.dropAll(ctx) }
