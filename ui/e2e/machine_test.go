package e2e

import (
	"os/exec"
	"runtime"
	"testing"
	"time"
)

// spin keeps a CPU busy until it is told to stop.
//
//go:noinline
func spin(stop <-chan struct{}) (n int) {
	for {
		select {
		case <-stop:
			return n
		default:
			for range 1 << 16 {
				n++
			}
		}
	}
}

// A stranger starts coldframe, opens the page at once and touches nothing: within a minute it
// shows what this machine spends its time in, this test's own loop as well.
func TestStrangerSeesTheMachine(t *testing.T) {
	chromium(t)
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), path, "agent", "--preflight").CombinedOutput(); err != nil {
		t.Skipf("this machine does not let itself be sampled: %v\n%s", err, out)
	}
	stop := make(chan struct{})
	defer close(stop)
	go func() { runtime.KeepAlive(spin(stop)) }()
	s := serve(t, "--agent", "on")
	began := time.Now()
	b := open(t, s.url)
	b.visit("")
	b.within(3*time.Minute, `coldframe.top?.rows > 20 && coldframe.flame?.place('github.com/coldframe/coldframe/ui/e2e.spin')`)
	t.Logf("the machine was on the screen after %.0f s", time.Since(began).Seconds())
	if rows := value[[]string](b, `[...document.querySelectorAll('.top-body .top-name')].slice(0, 5).map(e => e.title)`); len(rows) < 5 || rows[0] == "" {
		t.Errorf("the table begins with %q", rows)
	}
	if b.param("type") != "" || b.param("query") != "" {
		t.Errorf("choices that nobody made: %s", value[string](b, `location.search`))
	}
	b.shot("stranger")
}
