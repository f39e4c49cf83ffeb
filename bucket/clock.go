package bucket

import (
	"net/http"
	"sync/atomic"
	"time"
)

// A serverClock follows the clock of a server by the Date of its answers. The zero
// serverClock has seen none.
type serverClock struct {
	ahead atomic.Pointer[time.Duration] // of the local clock
}

// learn looks at an answer to a request that was sent and answered at these local times.
//
// A Date has whole seconds, so that one answer tells the server's lead over the local
// clock only to within a second and the round trip. As long as answers agree, the lead
// stays; else it moves as little as the last answer demands. That narrows it down and
// keeps the clock from jumping to and fro.
func (c *serverClock) learn(h http.Header, sent, answered time.Time) {
	if h.Get("Age") != "" {
		return // an old answer, out of a cache
	}
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return
	}
	low, high := date.Sub(answered), date.Add(time.Second).Sub(sent)
	ahead := low + (high-low)/2
	if known := c.ahead.Load(); known != nil {
		ahead = min(max(*known, low), high)
	}
	c.ahead.Store(&ahead)
}

// now is false before the first answer.
func (c *serverClock) now() (time.Time, bool) {
	ahead := c.ahead.Load()
	if ahead == nil {
		return time.Time{}, false
	}
	return time.Now().Add(*ahead), true
}
