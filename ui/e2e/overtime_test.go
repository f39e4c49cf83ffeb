package e2e

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	cdp "github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	pprof "github.com/google/pprof/profile"
)

// pushMoments sends a profile of ten seconds each minute, from two pods: in each, one more
// function has had time. Names are not all ASCII.
func pushMoments(t *testing.T, server string, end time.Time, n int) {
	t.Helper()
	for i := range n {
		for _, pod := range []string{"a", "b"} {
			at := end.Add(time.Duration(i-n) * time.Minute)
			p := &pprof.Profile{
				SampleType: []*pprof.ValueType{{Type: "cpu", Unit: "nanoseconds"}}, PeriodType: &pprof.ValueType{Type: "cpu", Unit: "nanoseconds"}, Period: 10_000_000,
				TimeNanos: at.UnixNano(), DurationNanos: int64(10 * time.Second),
				Mapping: []*pprof.Mapping{{ID: 1, Start: 0x1000, Limit: 0x2000, File: "/usr/bin/momente", BuildID: "c0ffee", HasFunctions: true}},
			}
			for k := range i + 1 {
				f := &pprof.Function{ID: uint64(k + 1), Name: fmt.Sprintf("größe.λ%d", k), Filename: "/src/größe.go"}
				l := &pprof.Location{ID: f.ID, Mapping: p.Mapping[0], Address: 0x1000 + uint64(k), Line: []pprof.Line{{Function: f, Line: 7}}}
				p.Function, p.Location = append(p.Function, f), append(p.Location, l)
				p.Sample = append(p.Sample, &pprof.Sample{Location: []*pprof.Location{l}, Value: []int64{1e9}})
			}
			push(t, server, p, url.Values{"service_name": {"momente"}, "pod": {pod}, "type_name": {"process_cpu"}})
		}
	}
}

// The flame chart shows what ran when, of one series: its columns are profiles, and time is
// chosen by pressing one, by dragging, or with the keyboard.
func TestFlameChart(t *testing.T) {
	chromium(t)
	s := serve(t)
	const profiles = 6
	pushMoments(t, s.url, time.Now().Add(-time.Minute), profiles)
	b := open(t, s.url)
	b.visit("?type=process_cpu/cpu&query=service_name%3D%22momente%22")
	const drawn = `!document.querySelector('[aria-busy=true], .unsettled')`
	b.until(`coldframe.flame?.place('größe.λ5') && ` + drawn)

	b.button("Flame chart")
	columns := fmt.Sprintf(`coldframe.flame.label === 'Flame chart' && coldframe.steps?.columns === %d && %s`, profiles, drawn)
	b.until(`location.search.includes('show=time') && ` + columns)
	b.until(`document.querySelector('.steps-several')?.innerText.includes('2 series')`)
	b.button("Show one series alone")
	b.item("pod=b")
	b.until(`/pod="b"/.test(new URLSearchParams(location.search).get('query')) && !document.querySelector('.steps-several') && ` + columns)
	b.shot("flame-chart")

	// The last profile has all functions, and stands last; the first has one.
	first, last := b.frame("größe.λ0"), b.frame("größe.λ5")
	if last.X <= first.X+first.W {
		t.Errorf("what came last begins at %v, before what came first ends at %v", last.X, first.X+first.W)
	}
	b.do("hover", cdp.MouseEvent("mouseMoved", last.X+last.W/2, last.Y+9))
	b.until(`/größe.λ5/.test(document.querySelector('.tip')?.innerText)`)
	for _, what := range []string{"1 s", "größe.go:7", "momente", "c0ffee"} {
		if tip := value[string](b, `document.querySelector('.tip').innerText`); !strings.Contains(tip, what) {
			t.Errorf("the tip lacks %s: %s", what, tip)
		}
	}
	b.do("away", cdp.MouseEvent("mouseMoved", 5, 5))

	// A function is zoomed to; back shows all again.
	b.do("zoom", cdp.MouseClickXY(last.X+last.W/2, last.Y+9))
	b.until(zoomed("größe.λ5"))
	b.do("back", cdp.NavigateBack())
	b.until(`coldframe.flame.root === 0`)

	// Dragged time is the range that is asked for; reload keeps it, Escape leaves it.
	box := b.box(".flame canvas")
	b.do("drag", cdp.DragAndDropXY(last.X-4, box.Y+60, box.X+box.W-2, box.Y+60, 8))
	b.until(`/a=\d+&b=\d+/.test(location.search) && coldframe.steps.columns === 1 && ` + drawn)
	b.do("reload", cdp.Reload())
	b.until(`coldframe.steps?.columns === 1 && ` + drawn)
	b.do("escape", cdp.Focus(`.flame canvas`), cdp.KeyEvent(kb.Escape))
	b.until(`!/[?&]a=/.test(location.search) && ` + columns)

	// With the keyboard to the first column, and into it.
	b.do("keys", cdp.Focus(`.flame canvas`), cdp.KeyEvent(kb.ArrowDown), cdp.KeyEvent(kb.ArrowDown))
	b.until(`/depth 1$/.test(document.querySelector('.flame [aria-live]').textContent)`)
	b.key(kb.Enter)
	b.until(`/a=\d+&b=\d+/.test(location.search) && coldframe.steps.columns === 1 && ` + drawn)

	// A search marks it in every column; the table view has no columns.
	b.button("Whole range")
	b.until(columns)
	b.typeInto("#search", "λ0")
	b.until(`coldframe.flame.marked === 1 && /% matched/.test(document.querySelector('.search-found').textContent)`)
	b.button("Both")
	b.until(`!location.search.includes('show=') && document.querySelector('.top') && coldframe.flame.label === 'Flame graph' && ` + drawn)
}
