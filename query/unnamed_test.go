package query

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"
)

// Each binary is told with what google/pprof's samples say of it, one by one.
func TestUnnamedAgainstGooglePprof(t *testing.T) {
	for name, layOut := range layouts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(5, 6))
			all := fleet{rng, start, 2 * time.Hour}.profiles(t, 20)
			h := newHouse()
			layOut(t, h, all)
			req := request(t, `{}`, "process_cpu/cpu", start, start.Add(2*time.Hour))
			got, err := h.q.Unnamed(t.Context(), req, 100)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]int64{}
			var total, unnamed int64
			seen := map[string]bool{}
			for _, s := range all {
				id := fmt.Sprint(s.name, s.labels, s.time.UnixMilli(), string(s.body))
				p := s.parse(t)
				columns := columnsOf(p, s.name, req.Selector.Type)
				if len(columns) == 0 || seen[id] {
					continue
				}
				seen[id] = true
				for _, sample := range p.Sample {
					v := sample.Value[columns[0]]
					total += v
					lacking := map[string]bool{}
					for k, l := range sample.Location {
						if slices.ContainsFunc(l.Line, func(line pprof.Line) bool {
							return line.Function != nil && (line.Function.Name != "" || line.Function.SystemName != "")
						}) {
							continue
						}
						binary := " "
						if l.Mapping != nil {
							binary = l.Mapping.File + " " + l.Mapping.BuildID
						}
						lacking[binary] = true
						if k == 0 {
							want[binary+" self"] += v
						}
					}
					for binary := range lacking {
						want[binary+" total"] += v
					}
					if len(lacking) > 0 {
						unnamed += v
					}
				}
			}
			if got.Total != total || got.Unnamed != unnamed || unnamed == 0 || unnamed == total {
				t.Errorf("%d of %d have no name, want %d of %d", got.Unnamed, got.Total, unnamed, total)
			}
			values := map[string]int64{}
			for _, b := range got.Binaries {
				values[b.File+" "+b.BuildID+" total"] = b.Total
				if b.Self != 0 {
					values[b.File+" "+b.BuildID+" self"] = b.Self
				}
				if b.Addresses < 1 {
					t.Errorf("%s has %d addresses without a name", b.File, b.Addresses)
				}
			}
			compareMaps(t, "values", values, want)
		})
	}
}

func TestUnnamed(t *testing.T) {
	at := func(mapping *pprof.Mapping, address uint64, functions ...string) *pprof.Location {
		l := &pprof.Location{Mapping: mapping, Address: address}
		for _, name := range functions {
			l.Line = append(l.Line, pprof.Line{Function: &pprof.Function{Name: name}})
		}
		return l
	}
	app, libc, moved := &pprof.Mapping{Start: 0x1000, Limit: 0x2000, File: "/bin/app", BuildID: "a1"}, &pprof.Mapping{Start: 0x5000, Limit: 0x6000, File: "/lib/libc.so", BuildID: "c1"}, &pprof.Mapping{Start: 0x9000, Limit: 0xa000, File: "/lib/libc.so", BuildID: "c1"}
	kernel := &pprof.Mapping{Start: 0xf000, Limit: 0xffff, File: "[kernel.kallsyms]"}
	main := at(app, 0x1001, "main")
	for name, c := range map[string]struct {
		stacks [][]*pprof.Location // leaf first, each of value 10
		limit  int
		want   string
	}{
		"everything has a name":           {[][]*pprof.Location{{main}}, 9, "0 of 10:"},
		"a leaf without":                  {[][]*pprof.Location{{at(libc, 0x5001), main}, {main}}, 9, "10 of 20: /lib/libc.so c1 1 10 10"},
		"twice on a stack counts once":    {[][]*pprof.Location{{at(libc, 0x5001), at(libc, 0x5002), main}}, 9, "10 of 10: /lib/libc.so c1 2 10 10"},
		"a caller without":                {[][]*pprof.Location{{at(app, 0x1002, "work"), at(libc, 0x5001), main}}, 9, "10 of 10: /lib/libc.so c1 1 0 10"},
		"mapped elsewhere it is the same": {[][]*pprof.Location{{at(libc, 0x5001), main}, {at(moved, 0x9002), main}}, 9, "20 of 20: /lib/libc.so c1 2 20 20"},
		"two binaries":                    {[][]*pprof.Location{{at(libc, 0x5001), at(app, 0x1009)}, {at(libc, 0x5001), main}}, 9, "20 of 20: /lib/libc.so c1 1 20 20 /bin/app a1 1 0 10"},
		"no more than the limit":          {[][]*pprof.Location{{at(libc, 0x5001), at(app, 0x1009)}, {at(libc, 0x5001), main}}, 1, "20 of 20: /lib/libc.so c1 1 20 20"},
		"the kernel":                      {[][]*pprof.Location{{at(kernel, 0xf001), main}}, 9, "10 of 10: [kernel.kallsyms] kernel 1 10 10"},
		"no mapping":                      {[][]*pprof.Location{{at(nil, 0x77), main}}, 9, "10 of 10:   1 10 10"},
		"one inlined name is a name":      {[][]*pprof.Location{{at(libc, 0x5001, "", "malloc"), main}}, 9, "0 of 10:"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &pprof.Profile{
				SampleType: []*pprof.ValueType{{Type: "cpu", Unit: "nanoseconds"}}, PeriodType: &pprof.ValueType{Type: "cpu", Unit: "nanoseconds"},
				TimeNanos: start.UnixNano(), DurationNanos: 1e9, Mapping: []*pprof.Mapping{app, libc, moved, kernel},
			}
			for i, m := range p.Mapping {
				m.ID = uint64(i + 1)
			}
			for _, stack := range c.stacks {
				for _, l := range stack {
					if !slices.Contains(p.Location, l) {
						l.ID = uint64(len(p.Location) + 1)
						p.Location = append(p.Location, l)
						for _, line := range l.Line {
							line.Function.ID = uint64(len(p.Function) + 1)
							p.Function = append(p.Function, line.Function)
						}
					}
				}
				p.Sample = append(p.Sample, &pprof.Sample{Location: stack, Value: []int64{10}})
			}
			h := newHouse()
			h.putL0(t, sent{"process_cpu", mustLabels("service_name", "api"), start, write(t, p)})
			list, err := h.q.Unnamed(t.Context(), request(t, "{}", "", start, start.Add(time.Hour)), c.limit)
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprintf("%d of %d:", list.Unnamed, list.Total)
			for _, b := range list.Binaries {
				id := b.BuildID
				if b.Kernel {
					id = "kernel"
				}
				got += fmt.Sprint(" ", b.File, " ", id, " ", b.Addresses, " ", b.Self, " ", b.Total)
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if list.Count < len(list.Binaries) || strings.Contains(name, "limit") && list.Count != 2 {
				t.Errorf("counted %d", list.Count)
			}
		})
	}
}
