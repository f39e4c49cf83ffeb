package agent

import "time"

// departed are processes that have ended a moment ago. The kernel tells of an exit before
// it has taken the process apart, so the last samples come after that: they belong to the
// process that was, and must not bring it back to life.
type departed struct {
	byPID map[uint32]*process
	queue []departure // by time
}

type departure struct {
	p  *process
	at time.Time
}

// remembered is how long taking a process apart may last.
const remembered = 2 * time.Second

func newDeparted() departed { return departed{byPID: map[uint32]*process{}} }

func (d *departed) add(p *process, now time.Time) {
	d.byPID[p.pid] = p
	d.queue = append(d.queue, departure{p, now})
}

// find is the process that had an ID and began at a time, which may not be known of it.
func (d *departed) find(pid uint32, start uint64) *process {
	p := d.byPID[pid]
	if p == nil || p.start != 0 && p.start != start {
		return nil
	}
	return p
}

// forget drops those that left long ago.
func (d *departed) forget(now time.Time) {
	n := 0
	for n < len(d.queue) && now.Sub(d.queue[n].at) > remembered {
		if p := d.queue[n].p; d.byPID[p.pid] == p {
			delete(d.byPID, p.pid)
		}
		d.queue[n] = departure{}
		n++
	}
	d.queue = d.queue[n:]
}
