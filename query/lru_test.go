package query

import (
	"testing"
	"time"
)

func TestLRU(t *testing.T) {
	c := newLRU[string, int](100)
	for i, key := range []string{"a", "b", "c", "d"} {
		c.put(key, i, 25)
	}
	c.get("a")
	c.put("e", 4, 10)
	c.put("giant", 5, 26)
	for key, want := range map[string]bool{"a": true, "b": false, "c": true, "d": true, "e": true, "giant": false} {
		if _, got := c.get(key); got != want {
			t.Errorf("%s is remembered: %t, want %t", key, got, want)
		}
	}
	c.forget(func(key string) bool { return key == "a" })
	if _, ok := c.get("a"); ok || c.used != 60 {
		t.Errorf("a is remembered after it was forgotten, or %d bytes are counted, want 60", c.used)
	}
	none := newLRU[string, int](-1)
	none.put("a", 1, 0)
	if _, ok := none.get("a"); ok {
		t.Error("a cache of no capacity remembers")
	}
}

// What two queries are charged is what the process used, about half for each.
func TestCPUMeter(t *testing.T) {
	var m cpuMeter
	before := processCPU()
	stopA, stopB := m.start(), m.start()
	for processCPU() < before+20*time.Millisecond {
	}
	b := stopB()
	a := stopA()
	used := processCPU() - before
	if a+b > used || a+b < 19*time.Millisecond || a < b || a > b+5*time.Millisecond {
		t.Errorf("charged %s and %s of %s", a, b, used)
	}
	stop := m.start()
	if c := stop(); c > 5*time.Millisecond {
		t.Errorf("a query that did nothing is charged %s", c)
	}
}
