package bucket

import (
	"context"
	"sync/atomic"
)

// Usage is what was asked of a bucket. Requests are told by the classes in which S3
// bills them, and every attempt counts, as it does on the bill. Bytes are those of
// bodies; headers are not counted.
type Usage struct {
	Puts    int64 // writes
	Gets    int64 // reads, and questions for an object's size or time
	Lists   int64 // pages of listings, 1000 keys each
	Deletes int64

	BytesIn  int64 // read from the bucket
	BytesOut int64 // sent to it
}

// Requests is the number of requests of all classes.
func (u Usage) Requests() int64 { return u.Puts + u.Gets + u.Lists + u.Deletes }

// Sub is what was used since before, an earlier Usage of the same [Account].
func (u Usage) Sub(before Usage) Usage {
	return Usage{
		Puts:     u.Puts - before.Puts,
		Gets:     u.Gets - before.Gets,
		Lists:    u.Lists - before.Lists,
		Deletes:  u.Deletes - before.Deletes,
		BytesIn:  u.BytesIn - before.BytesIn,
		BytesOut: u.BytesOut - before.BytesOut,
	}
}

// Account adds up usage. The zero Account is ready to use, from many goroutines.
type Account struct {
	requests [classes]atomic.Int64
	in, out  atomic.Int64
}

// Usage is what was charged so far.
func (a *Account) Usage() Usage {
	return Usage{
		Puts:     a.requests[classPut].Load(),
		Gets:     a.requests[classGet].Load(),
		Lists:    a.requests[classList].Load(),
		Deletes:  a.requests[classDelete].Load(),
		BytesIn:  a.in.Load(),
		BytesOut: a.out.Load(),
	}
}

// WithAccount has everything that a bucket does under the returned context charged to
// a, and still to the accounts that ctx carries already.
func WithAccount(ctx context.Context, a *Account) context.Context {
	return context.WithValue(ctx, ledgerKey{}, &ledger{account: a, next: ledgerOf(ctx)})
}

// class is a price class of requests.
type class uint8

const (
	classPut class = iota
	classGet
	classList
	classDelete
	classes
)

// reads reports that requests of the class change nothing.
func (c class) reads() bool { return c == classGet || c == classList }

// pageSize is how many keys a server tells in one answer to a listing.
const pageSize = 1000

// A ledger is the list of accounts that a context carries. The nil ledger is empty.
type ledger struct {
	account *Account
	next    *ledger
}

type ledgerKey struct{}

func ledgerOf(ctx context.Context) *ledger {
	l, _ := ctx.Value(ledgerKey{}).(*ledger)
	return l
}

func (l *ledger) request(c class) {
	for ; l != nil; l = l.next {
		l.account.requests[c].Add(1)
	}
}

func (l *ledger) received(n int64) {
	for ; l != nil; l = l.next {
		l.account.in.Add(n)
	}
}

func (l *ledger) sent(n int64) {
	for ; l != nil; l = l.next {
		l.account.out.Add(n)
	}
}
