package compactor

import (
	"context"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
)

// Observer is told what happens, for logs and metrics. Its funcs may be nil, are
// called from many goroutines and should return at once.
type Observer struct {
	// Begin: a job begins. Its requests go on under the context that is returned; the func is
	// called at its end, with what has become of it. For traces.
	Begin func(context.Context, Job) (context.Context, func(Job, error))
	// Committed: a job's blocks are live.
	Committed func(Job)
	// Abandoned: another commit has taken the ground from under a job. What it wrote is
	// named by nobody and is left to the lifecycle. It is planned again.
	Abandoned func(Job, error)
	// Rejected: a pprof block, or a file in it, is damaged or over a limit, and is not in
	// the block that was made of the others. Told before the commit.
	Rejected func(key, file, reason string)
	// Quarantined: a live block is damaged, or missing, and is marked so in HEAD.
	Quarantined func(key, reason string)
	// Unreadable: a block's sources are gone or damaged, so that a sweep cannot tell
	// what it gathered. Stragglers of its minutes are lost.
	Unreadable func(key string, err error)
	// Sealed: how long ago the last minute ended that is sealed, after each look at a shard.
	Sealed func(profile.Tenant, block.Shard, time.Duration)
	// Looked: what HEAD says of a shard and what is to be merged there, after each look.
	Looked func(profile.Tenant, block.Shard, State)
	// Expired: the days before this one have left HEAD.
	Expired func(profile.Tenant, block.Shard, block.Day)
	// Deleted: objects are deleted.
	Deleted func(profile.Tenant, block.Shard, Deletion)
	// Audited: what lies in a shard and is of no use. Once a day.
	Audited func(profile.Tenant, block.Shard, Audit)
	// Checking: how far a Check has come, after each block.
	Checking func(Checked)
	// Failed: a round of Run failed in part. It goes on.
	Failed func(error)
}

// State is what HEAD says of a shard, and the work that is due.
type State struct {
	Blocks [block.L4 + 1]int   // live ones by level; arch parts are not counted
	Bytes  [block.L4 + 1]int64 // of these
	Bad    int                 // live blocks that are damaged or gone
	Arch   int                 // entries in arch parts

	Merges     int   // planned and not done
	MergeBytes int64 // that these will read
}

func stateOf(h catalog.Head, plan []merge) State {
	var s State
	for _, m := range h.Live {
		s.Blocks[m.Level]++
		s.Bytes[m.Level] += m.Size
		if m.Bad != "" {
			s.Bad++
		}
	}
	for _, part := range h.Arch {
		s.Arch += part.Entries
	}
	s.Merges = len(plan)
	for _, p := range plan {
		for _, m := range p.in {
			s.MergeBytes += m.Size
		}
	}
	return s
}

// Job is a seal, a sweep or a merge of blocks, and what became of it.
type Job struct {
	Tenant profile.Tenant
	Shard  block.Shard

	Level  block.Level // of the block that a merge makes; 0 for seals and sweeps
	Day    block.Day   // of a merge's blocks
	Merged int         // how many blocks a merge reads

	Sweep bool           // stragglers, rather than minutes not sealed before
	From  catalog.Minute // its pprof blocks were uploaded in the minutes (From, To]
	To    catalog.Minute

	L0s      int   // pprof blocks read
	BytesIn  int64 // of them, or of the blocks merged
	Profiles int   // in the blocks that were made
	Repeated int   // left out because they were in already
	Rejected int   // pprof blocks and profiles that could not be used
	Blocks   int
	BytesOut int64
	Took     time.Duration
}

func (o Observer) begin(ctx context.Context, j Job) (context.Context, func(Job, error)) {
	if o.Begin != nil {
		return o.Begin(ctx, j)
	}
	return ctx, func(Job, error) {}
}

func (o Observer) committed(j Job) {
	if o.Committed != nil {
		o.Committed(j)
	}
}

func (o Observer) abandoned(j Job, err error) {
	if o.Abandoned != nil {
		o.Abandoned(j, err)
	}
}

func (o Observer) rejected(key, file, reason string) {
	if o.Rejected != nil {
		o.Rejected(key, file, reason)
	}
}

func (o Observer) quarantined(key, reason string) {
	if o.Quarantined != nil {
		o.Quarantined(key, reason)
	}
}

func (o Observer) unreadable(key string, err error) {
	if o.Unreadable != nil {
		o.Unreadable(key, err)
	}
}

func (o Observer) sealed(s shard, behind time.Duration) {
	if o.Sealed != nil {
		o.Sealed(s.tenant, s.Shard, behind)
	}
}

func (o Observer) looked(s shard, state State) {
	if o.Looked != nil {
		o.Looked(s.tenant, s.Shard, state)
	}
}

func (o Observer) expired(s shard, before block.Day) {
	if o.Expired != nil {
		o.Expired(s.tenant, s.Shard, before)
	}
}

func (o Observer) deleted(s shard, d Deletion) {
	if o.Deleted != nil && d.objects() > 0 {
		o.Deleted(s.tenant, s.Shard, d)
	}
}

func (o Observer) audited(s shard, a Audit) {
	if o.Audited != nil {
		o.Audited(s.tenant, s.Shard, a)
	}
}

func (o Observer) checking(before, shard Checked) {
	if o.Checking != nil {
		before.Blocks += shard.Blocks
		before.Bytes += shard.Bytes
		o.Checking(before)
	}
}

func (o Observer) failed(err error) {
	if o.Failed != nil {
		o.Failed(err)
	}
}
