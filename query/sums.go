package query

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/arrowblock"
)

// What was read of blocks and added up once need not be read again: blocks never change. A sum is remembered by
// what it is made of, to the row, and not by the range that was asked for, which is another one each
// time that somebody asks for the last hour.

// sum is the merged tree of some parts, with its own symbols. Neither changes any more.
type sum struct {
	sym  *arrowblock.Symbols
	tree *arrowblock.Tree
}

func (s *sum) sizeBytes() int64 {
	return s.sym.SizeBytes() + int64(s.tree.Len())*int64(6+8*len(s.tree.Self))
}

// own is the sum's tree with values that may be changed.
func (s *sum) own() *arrowblock.Tree {
	t := arrowblock.NewTree(&s.tree.Stacks, len(s.tree.Self))
	for k, self := range s.tree.Self {
		copy(t.Self[k], self)
	}
	return t
}

// sumKey is the SHA-256 of what a sum is made of.
type sumKey [sha256.Size]byte

// sumSet is parts whose sum is remembered as one.
type sumSet struct {
	key   sumKey
	parts []*part
}

// remembers says whether sums of the run's parts may be remembered: of samples that nothing tells apart.
func (r *run) remembers(full bool) bool { return r.sumCache.keeps() && !full && !r.grouped() }

// setsOf divides parts into those whose sums are remembered together. Blocks of one level that lie wholly in the
// range stay together for long, but for those of single minutes; all others, as those at the range's edges, are
// remembered one by one. What is in no bucket is not.
func (r *run) setsOf(parts []*part, c *choice) (sets []sumSet, rest []*part) {
	of := map[block.Level]int{}
	for _, p := range parts {
		switch {
		case p.key == "":
			rest = append(rest, p)
		case p.meta.Level < block.L2 || !r.holds(p):
			sets = append(sets, sumSet{parts: []*part{p}})
		default:
			n, known := of[p.meta.Level]
			if !known {
				n = len(sets)
				of[p.meta.Level] = n
				sets = append(sets, sumSet{})
			}
			sets[n].parts = append(sets[n].parts, p)
		}
	}
	for i := range sets {
		sets[i].key = r.keyOf(sets[i].parts, c)
	}
	return sets, rest
}

// holds says whether all of a part's profiles lie in the range.
func (r *run) holds(p *part) bool {
	info := p.blk.Info()
	return ceilMillis(r.within.From) <= info.MinTime && r.profilesFrom.UnixMilli() <= info.MinTime && info.MaxTime < ceilMillis(r.within.To)
}

// keyOf tells sums apart: by the selector, for labels of samples decide too, by the sample types, and by the rows.
func (r *run) keyOf(parts []*part, c *choice) sumKey {
	h := sha256.New()
	fmt.Fprintf(h, "%q %+v %q", r.req.Selector.String(), c.kind, c.samples)
	for _, p := range parts {
		fmt.Fprintf(h, "\n%q %d", p.key, len(p.picks))
		for i := range p.picks {
			k := &p.picks[i]
			fmt.Fprintf(h, "\n%d %d %d", k.group, len(k.windows), len(k.chosen))
			for _, row := range k.chosen {
				writeRows(h, k.totals.Series[row], k.totals.FirstRow[row], k.totals.FirstRow[row+1])
			}
			for _, w := range k.windows {
				fmt.Fprintf(h, "\n%s %d", w.rollup, len(w.chosen))
				for _, row := range w.chosen {
					writeRows(h, w.cells.Key[row], w.cells.FirstRow[row], w.cells.FirstRow[row+1])
				}
			}
		}
	}
	return sumKey(h.Sum(nil))
}

func writeRows(h hash.Hash, of uint32, from, to uint64) {
	var b [20]byte
	binary.LittleEndian.PutUint32(b[:], of)
	binary.LittleEndian.PutUint64(b[4:], from)
	binary.LittleEndian.PutUint64(b[12:], to)
	h.Write(b[:])
}

// sumList gathers the sums of a merge.
type sumList struct {
	mu  sync.Mutex
	all []*sum
}

func (s *sumList) add(one *sum) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, one)
}

// eachHere is [each] for parts that this process reads: into sums where they may be remembered, else by read.
func (r *run) eachHere(ctx context.Context, parts []*part, c *choice, into *sumList, read func(context.Context, *part) error) ([]*part, error) {
	if into == nil {
		return each(ctx, r.ledger, mergesAtATime(), parts, (*part).name, read)
	}
	sets, rest := r.setsOf(parts, c)
	sound := make([][]*part, 1+len(sets))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(mergesAtATime())
	for i, set := range sets {
		g.Go(func() (err error) {
			sound[1+i], err = r.addSum(ctx, set, c, into)
			return err
		})
	}
	g.Go(func() (err error) {
		sound[0], err = each(ctx, r.ledger, mergesAtATime(), rest, (*part).name, read)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var all []*part
	for _, parts := range sound {
		all = append(all, parts...)
	}
	return all, nil
}

// addSum adds the sum of a set's parts, and returns those that are in it.
func (r *run) addSum(ctx context.Context, set sumSet, c *choice, into *sumList) ([]*part, error) {
	if known, ok := r.sumCache.get(set.key); ok {
		countHit(ctx, known.sizeBytes())
		progressOf(ctx).finish(len(set.parts))
		into.add(known)
		return set.parts, r.reserve(known.sizeBytes(), "the stacks")
	}
	made := &sum{sym: arrowblock.NewSymbols()}
	var mu sync.Mutex
	var trees []*arrowblock.Tree
	sound, err := each(ctx, r.ledger, mergesAtATime(), set.parts, (*part).name, func(ctx context.Context, p *part) error {
		shares, err := r.readPart(ctx, p, c, made.sym, false)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, sh := range shares {
			trees = append(trees, sh.tree)
		}
		return nil
	})
	if err != nil || len(trees) == 0 {
		return sound, err
	}
	made.tree = arrowblock.Merge(made.sym, trees...)
	made.tree.Prune()
	if len(sound) == len(set.parts) {
		r.sumCache.put(set.key, made, made.sizeBytes())
	}
	into.add(made)
	return sound, nil
}

// takeSums adds the trees of sums to those of other parts. When there is just one sum and nothing
// else, its symbols become the answer's, which only reads them.
func (m *merged) takeSums(list *sumList, trees []*arrowblock.Tree) []*arrowblock.Tree {
	switch {
	case list == nil:
		return trees
	case len(list.all) == 1 && len(trees) == 0:
		m.sym = list.all[0].sym
		return append(trees, list.all[0].own())
	}
	for _, s := range list.all {
		trees = append(trees, m.sym.Adopt(s.sym, s.tree))
	}
	return trees
}
