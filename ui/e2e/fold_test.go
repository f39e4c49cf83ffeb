package e2e

import (
	"net/url"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"
)

// Functions that call themselves are one frame when they are folded, and nothing is lost of it.
func TestFold(t *testing.T) {
	chromium(t)
	s := serve(t)
	binary := &pprof.Mapping{ID: 1, File: "/bin/app", HasFunctions: true}
	p := &pprof.Profile{
		SampleType: []*pprof.ValueType{{Type: "cpu", Unit: "nanoseconds"}}, PeriodType: &pprof.ValueType{Type: "cpu", Unit: "nanoseconds"}, Period: 1,
		TimeNanos: time.Now().Add(-3 * time.Minute).UnixNano(), DurationNanos: 1e10, Mapping: []*pprof.Mapping{binary},
	}
	at := map[string]*pprof.Location{}
	for i, name := range []string{"main.main", "main.fib", "main.add"} {
		f := &pprof.Function{ID: uint64(i + 1), Name: name}
		at[name] = &pprof.Location{ID: f.ID, Mapping: binary, Address: f.ID, Line: []pprof.Line{{Function: f}}}
		p.Function, p.Location = append(p.Function, f), append(p.Location, at[name])
	}
	main, fib, add := at["main.main"], at["main.fib"], at["main.add"]
	p.Sample = []*pprof.Sample{
		{Location: []*pprof.Location{add, fib, fib, fib, main}, Value: []int64{2e9}},
		{Location: []*pprof.Location{fib, fib, main}, Value: []int64{1e9}},
	}
	push(t, s.url, p, url.Values{"service_name": {"recursive"}, "type_name": {"process_cpu"}})
	b := open(t, s.url)
	b.visit("?query=service_name%3D%22recursive%22&type=process_cpu/cpu")
	b.until(`coldframe.flame?.nodes === 6 && coldframe.flame.place('main.add').top === 5 * 19`)
	b.button("Fold")
	b.until(`location.search.includes('fold=1') && coldframe.flame.nodes === 4 && coldframe.flame.place('main.add').top === 3 * 19`)
	b.until(`[...document.querySelectorAll('.top-body .top-row')].some(x => /^main\.fib/.test(x.textContent) && x.querySelector('.top-self').textContent.startsWith('1 s') && x.querySelector('.top-total').textContent.startsWith('3 s'))`)
	b.button("Fold")
	b.until(`!location.search.includes('fold') && coldframe.flame.nodes === 6`)
}
