package query

import (
	"container/list"
	"sync"
)

// lru remembers what was used lately, up to a number of bytes. The zero capacity and
// a negative one remember nothing.
type lru[K comparable, V any] struct {
	capacity int64

	mu           sync.Mutex
	used         int64
	order        list.List // of *lruEntry, the latest used first
	entries      map[K]*list.Element
	hits, misses int64
}

type lruEntry[K comparable, V any] struct {
	key   K
	value V
	bytes int64
}

func newLRU[K comparable, V any](capacity int64) *lru[K, V] {
	return &lru[K, V]{capacity: capacity, entries: map[K]*list.Element{}}
}

func (c *lru[K, V]) get(key K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.entries[key]
	if !ok {
		c.misses++
		var none V
		return none, false
	}
	c.hits++
	c.order.MoveToFront(element)
	return element.Value.(*lruEntry[K, V]).value, true
}

// has says whether get would find the key, and counts no use of it.
func (c *lru[K, V]) has(key K) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entries[key] != nil
}

// keeps says whether the cache is there at all.
func (c *lru[K, V]) keeps() bool { return c.capacity > 0 }

// put remembers a value of a size, unless it would take more than a quarter of the
// capacity: one giant shall not drive out everything else.
func (c *lru[K, V]) put(key K, value V, bytes int64) {
	if c.capacity <= 0 || bytes > c.capacity/4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.entries[key]; ok {
		return
	}
	c.entries[key] = c.order.PushFront(&lruEntry[K, V]{key, value, bytes})
	for c.used += bytes; c.used > c.capacity; {
		oldest := c.order.Remove(c.order.Back()).(*lruEntry[K, V])
		delete(c.entries, oldest.key)
		c.used -= oldest.bytes
	}
}

// forget drops the entries whose keys match.
func (c *lru[K, V]) forget(match func(K) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, element := range c.entries {
		if match(key) {
			c.used -= c.order.Remove(element).(*lruEntry[K, V]).bytes
			delete(c.entries, key)
		}
	}
}

// use is how the cache has fared.
func (c *lru[K, V]) use(name string) CacheUse {
	c.mu.Lock()
	defer c.mu.Unlock()
	return CacheUse{Name: name, Hits: c.hits, Misses: c.misses, Bytes: c.used, Capacity: max(0, c.capacity)}
}

// CacheUse is how one of a Querier's caches has fared since the process began.
type CacheUse struct {
	Name         string // indexes, ranges, disk, sums or tail
	Hits, Misses int64
	Bytes        int64 // that it holds
	Capacity     int64 // in bytes; 0: it is off
}

// Caches tells how the caches have fared.
func (q *Querier) Caches() []CacheUse {
	return []CacheUse{q.indexes.use("indexes"), q.ranges.use("ranges"), q.disk.use(), q.sumCache.use("sums"), q.tailCache.use("tail")}
}
