package block_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/profile"
)

func aMeta() block.Meta {
	return block.Meta{
		ID: anID, Level: block.L4, Day: 20686, MinTime: 1787346300123, MaxTime: 1787346359999,
		Size: 5_800_000, Tail: 65536, CRC: 0xdeadbeef, Rows: 48_000, Profiles: 120,
		Types: block.Types{must(profile.ParseType("process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta"))},
		R4:    &block.Rollup{ID: anID, Size: 9000, Tail: 800, CRC: 7},
	}
}

func TestMetaJSON(t *testing.T) {
	const want = `{"id":"01J9ZQ4T5V8W3X6Y7Z0A1B2C3D","l":4,"day":"20260821","min":1787346300123,"max":1787346359999,` +
		`"size":5800000,"tail":65536,"crc":3735928559,"rows":48000,"profiles":120,` +
		`"types":["process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta"],` +
		`"r4":{"id":"01J9ZQ4T5V8W3X6Y7Z0A1B2C3D","size":9000,"tail":800,"crc":7}}`
	m := aMeta()
	got, err := json.Marshal(m)
	if err != nil || string(got) != want {
		t.Fatalf("got %s, %v, want %s", got, err, want)
	}
	var back block.Meta
	if err := json.Unmarshal(got, &back); err != nil || !reflect.DeepEqual(back, m) {
		t.Errorf("read back: got %+v, %v, want %+v", back, err, m)
	}
	for _, bad := range []string{`{"day":"2026"}`, `{"id":"x"}`, `{"types":["cpu"]}`, `{"l":300}`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s is read as %+v", bad, back)
		}
	}
	m.Types[0].Sample.Unit = "a:b"
	if got, err := json.Marshal(m); err == nil {
		t.Errorf("a type that cannot be read is written: %s", got)
	}
}

func TestMetaValidate(t *testing.T) {
	if err := aMeta().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*block.Meta){
		"level 0":           func(m *block.Meta) { m.Level = 0 },
		"level 5":           func(m *block.Meta) { m.Level = 5 },
		"other day":         func(m *block.Meta) { m.Day++ },
		"two days":          func(m *block.Meta) { m.MaxTime += 24 * 60 * 60 * 1000 },
		"reversed":          func(m *block.Meta) { m.MinTime = m.MaxTime + 1 },
		"no tail":           func(m *block.Meta) { m.Tail = 0 },
		"tail beyond block": func(m *block.Meta) { m.Tail = m.Size + 1 },
		"negative rows":     func(m *block.Meta) { m.Rows = -1 },
		"r4 of an L3":       func(m *block.Meta) { m.Level = block.L3 },
		"r4 without tail":   func(m *block.Meta) { m.R4.Tail = 0 },
	} {
		m := aMeta()
		spoil(&m)
		if err := m.Validate(); !errors.Is(err, block.ErrCorrupt) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestMetaPrunes(t *testing.T) {
	m := aMeta()
	at := func(ms int64) time.Time { return time.UnixMilli(ms) }
	for _, c := range []struct {
		from, to int64
		want     bool
	}{
		{0, m.MinTime, false},
		{0, m.MinTime + 1, true},
		{m.MinTime, m.MinTime + 1, true},
		{m.MaxTime, m.MaxTime + 1, true},
		{m.MaxTime + 1, m.MaxTime + 2, false},
	} {
		if got := m.Overlaps(profile.TimeRange{From: at(c.from), To: at(c.to)}); got != c.want {
			t.Errorf("[%d, %d): got %v, want %v", c.from, c.to, got, c.want)
		}
	}
	for pattern, want := range map[string]bool{"": true, "process_cpu": true, "process_cpu/cpu": true, "process_cpu/samples": false, "memory": false} {
		if got := m.HasType(must(profile.ParseTypePattern(pattern))); got != want {
			t.Errorf("%q: got %v, want %v", pattern, got, want)
		}
	}
}
