package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	protocol "github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/systeminfo"
	cdp "github.com/chromedp/chromedp"
	pprof "github.com/google/pprof/profile"
)

// tree is a profile whose call tree has so many nodes: stacks up to 60 deep of 5,000
// functions in 250 packages, which branch as those of real programs do.
func tree(nodes int, at time.Time) *pprof.Profile {
	rng := rand.New(rand.NewPCG(uint64(nodes), 7))
	p := &pprof.Profile{
		SampleType: []*pprof.ValueType{{Type: "cpu", Unit: "nanoseconds"}}, PeriodType: &pprof.ValueType{Type: "cpu", Unit: "nanoseconds"}, Period: 10_000_000,
		TimeNanos: at.UnixNano(), DurationNanos: int64(10 * time.Second),
		Mapping: []*pprof.Mapping{{ID: 1, File: "/usr/bin/big", BuildID: "b16", HasFunctions: true}},
	}
	for i := range 5000 {
		f := &pprof.Function{ID: uint64(i + 1), Name: fmt.Sprintf("example.com/big/pkg%d.(*Type%d).Method%d", i%250, i%40, i), Filename: fmt.Sprintf("/src/pkg%d/file%d.go", i%250, i%9)}
		p.Function = append(p.Function, f)
		p.Location = append(p.Location, &pprof.Location{ID: f.ID, Mapping: p.Mapping[0], Address: 0x1000 * f.ID, Line: []pprof.Line{{Function: f, Line: int64(i%300 + 1)}}})
	}
	var grow func(prefix []*pprof.Location, left int) int
	grow = func(prefix []*pprof.Location, left int) int {
		made := 0
		for made < left {
			child := append(slices.Clone(prefix), p.Location[rng.IntN(len(p.Location))])
			made++
			if below := min(left-made, int(float64(left)*rng.Float64()*0.7)); below > 0 && len(child) < 60 {
				made += grow(child, below)
			}
			stack := slices.Clone(child)
			slices.Reverse(stack)
			p.Sample = append(p.Sample, &pprof.Sample{Location: stack, Value: []int64{int64(1+rng.ExpFloat64()*3) * 10_000_000}})
		}
		return made
	}
	grow(nil, nodes)
	return p
}

// TestSpeed measures the page in Chromium, each figure the median of three browsers, and
// holds it to what docs/benchmarks.md promises. It is run by `make bench-ui`: a
// machine that is busy with other tests measures these, and not the page.
func TestSpeed(t *testing.T) {
	if os.Getenv("COLDFRAME_BENCH") == "" {
		t.Skip("COLDFRAME_BENCH is not set: make bench-ui")
	}
	s := serve(t)
	for _, nodes := range []int{50_000, 200_000} {
		push(t, s.url, tree(nodes, time.Now().Add(-5*time.Minute)), url.Values{"service_name": {fmt.Sprintf("big%d", nodes)}, "type_name": {"process_cpu"}})
	}
	rows := []string{"| nodes | open to first flame graph | first paint from bytes | zoom | search keystroke | renderer memory |", "|--:|--:|--:|--:|--:|--:|"}
	for _, nodes := range []int{50_000, 200_000} {
		var all [5][]float64
		for range 3 {
			for i, v := range measure(t, s.url, nodes) {
				all[i] = append(all[i], v)
			}
		}
		var m [5]float64
		for i := range all {
			slices.Sort(all[i])
			m[i] = all[i][1]
		}
		rows = append(rows, fmt.Sprintf("| %d | %.0f ms | %.0f ms | %.0f ms | %.0f ms | %.0f MB |", nodes, m[0], m[1], m[2], m[3], m[4]))
		for i, most := range [5]float64{500, 300, 100, 64, 120} {
			if i == 0 && nodes > 50_000 {
				continue // promised for 50,000 nodes
			}
			if m[i] > most {
				t.Errorf("%d nodes: %s is %.0f, more than %.0f", nodes, strings.Split(rows[0], "|")[i+2], m[i], most)
			}
		}
	}
	t.Logf("\n%s", strings.Join(rows, "\n"))
	writeTable(t, "../../docs/benchmarks.md", "page", strings.Join(rows, "\n")+"\n")
}

// writeTable puts a table between the comments of its name.
func writeTable(t *testing.T, file, name, table string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(text), "<!-- "+name+" -->\n")
	_, after, ends := strings.Cut(rest, "<!-- /"+name+" -->")
	if !begins || !ends {
		t.Fatalf("%s has no place for the table %s", file, name)
	}
	text = []byte(before + "<!-- " + name + " -->\n" + table + "<!-- /" + name + " -->" + after)
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// measure opens the page once in a new browser. Times are the page's own, in
// milliseconds, from the event to the frame that shows what it did.
func measure(t *testing.T, base string, nodes int) [5]float64 {
	t.Helper()
	b := open(t, base)
	b.do("warm up the browser", cdp.Navigate(base+"/licenses.txt"))
	b.visit(fmt.Sprintf("?query=service_name%%3D%%22big%d%%22&type=process_cpu/cpu", nodes))
	b.until(`window.coldframe?.firstPaint`)
	if got := value[int](b, `coldframe.flame.nodes`); got < nodes*9/10 {
		t.Fatalf("the graph has %d nodes, want about %d", got, nodes)
	}
	opened := value[float64](b, `coldframe.firstPaint`)
	painted := value[float64](b, `coldframe.firstPaint - coldframe.bytesAt`)

	const act = `new Promise(done => requestAnimationFrame(() => {
		const began = performance.now(); %s;
		requestAnimationFrame(() => { const c = new MessageChannel(); c.port1.onmessage = () => done(performance.now() - began); c.port2.postMessage(0) })
	}))`
	time.Sleep(300 * time.Millisecond)
	zoom := value[float64](b, fmt.Sprintf(act, `(() => {
		const c = document.querySelector('.flame canvas'), r = c.getBoundingClientRect();
		c.dispatchEvent(new MouseEvent('click', {bubbles: true, clientX: r.x + r.width * .4, clientY: r.y + 19 * 3 + 9})) })()`))
	b.until(`location.search.includes('zoom=')`)
	search := value[float64](b, fmt.Sprintf(act, `(() => {
		const i = document.getElementById('search'); i.value = 'pkg7'; i.dispatchEvent(new Event('input', {bubbles: true})) })()`))
	b.until(`coldframe.flame.marked > 0`)
	return [5]float64{opened, painted, zoom, search, rendererMB(b)}
}

// rendererMB is the proportional memory of the tab's process after garbage collection.
func rendererMB(b *tab) float64 {
	b.t.Helper()
	b.protocol(func(ctx context.Context) error {
		_, err := cdp.Call(ctx, heapprofiler.CollectGarbage, protocol.Empty{})
		return err
	})
	var largest float64
	b.protocol(func(ctx context.Context) error {
		info, err := cdp.CallBrowser(ctx, systeminfo.GetProcessInfo, protocol.Empty{})
		if err != nil {
			return err
		}
		for _, p := range info.ProcessInfo {
			if p.Type == "renderer" {
				largest = max(largest, pss(int(p.ID)))
			}
		}
		return nil
	})
	return largest
}

// pss reads a process' proportional set size, in megabytes.
func pss(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "Pss: %f kB", &kib); n == 1 {
			return kib * 1024 / 1e6
		}
	}
	return 0
}
