package query

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestTypeChoice(t *testing.T) {
	h := newHouse()
	rng := rand.New(rand.NewPCG(14, 15))
	all := fleet{rng, start, time.Hour}.profiles(t, 12)
	h.putL0(t, all[:6]...)
	h.putArrow(t, all[6:]...)
	for _, c := range []struct {
		selector, typ string
		want          string // the tree's type
		err           error
	}{
		{"{}", "", "", ErrAmbiguous},
		{"{}", "process_cpu", "cpu", nil},
		{"{}", "memory", "inuse_objects", nil},
		{"{}", "memory/alloc_space", "alloc_space", nil},
		{"{}", "memory:inuse_space:bytes:space:bytes", "inuse_space", nil},
		{"{}", "wall", "", ErrNoType},
		{"{}", "process_cpu/wall", "", ErrNoType},
		{`{pod="nobody"}`, "process_cpu", "", nil},
		{`{pod="nobody"}`, "", "", nil},
		{`{pod="nobody"}`, "wall", "", ErrNoType},
	} {
		tree, err := h.q.Tree(t.Context(), TreeRequest{Request: request(t, c.selector, c.typ, start, start.Add(time.Hour))})
		if !errors.Is(err, c.err) || err == nil && tree.Type.Sample.Type != c.want {
			t.Errorf("%s of type %q: %q and %v, want %q and %v", c.selector, c.typ, tree.Type.Sample.Type, err, c.want, c.err)
		}
		if err != nil && !strings.Contains(err.Error(), "memory:inuse_space:bytes:space:bytes") {
			t.Errorf("%s of type %q: %v does not say which types there are", c.selector, c.typ, err)
		}
	}
	for typ, want := range map[string]error{"process_cpu": nil, "": nil, "wall": ErrNoType} {
		tree, err := h.q.Tree(t.Context(), TreeRequest{Request: request(t, "{}", typ, start.Add(-time.Hour), start)})
		if !errors.Is(err, want) || err == nil && len(tree.Depth) != 1 {
			t.Errorf("type %q of a range without profiles: %v, want %v", typ, err, want)
		}
	}
	if tree, err := newHouse().q.Tree(t.Context(), TreeRequest{Request: request(t, "{}", "wall", start, start.Add(time.Hour))}); err != nil || len(tree.Depth) != 1 {
		t.Errorf("an empty bucket: %v", err)
	}
}
