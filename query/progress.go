package query

import (
	"context"
	"sync/atomic"
)

// Progress tells how far a query is while it runs. The zero Progress is ready to use, for
// one query; it may be read from other goroutines.
type Progress struct{ objects, done atomic.Int64 }

type progressKey struct{}

// WithProgress has a query that is asked under the context tell its progress.
func WithProgress(ctx context.Context, p *Progress) context.Context {
	return context.WithValue(ctx, progressKey{}, p)
}

// Objects is how many objects are to be read, as far as is known, and how many of these were
// read. A query that has to begin anew counts on.
func (p *Progress) Objects() (done, all int) { return int(p.done.Load()), int(p.objects.Load()) }

func (p *Progress) plan(objects int) {
	if p != nil {
		p.objects.Add(int64(objects))
	}
}

func (p *Progress) finish(objects int) {
	if p != nil {
		p.done.Add(int64(objects))
	}
}

// progressOf is the context's, or nil.
func progressOf(ctx context.Context) *Progress {
	p, _ := ctx.Value(progressKey{}).(*Progress)
	return p
}
