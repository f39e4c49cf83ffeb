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

// set gives a field a text as typing does.
func (b *tab) set(element, text string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`(() => { const e = %s; if (!e) return false; e.value = %q; e.dispatchEvent(new Event(e.tagName === 'SELECT' ? 'change' : 'input', {bubbles: true})); return true })()`, element, text))
}

// Another profile type is chosen from the list; levels are told from rates.
func TestTypes(t *testing.T) {
	b := open(t, shared(t).url)
	b.visit("")
	b.graph()
	b.until(`coldframe.chart.unit === 'nanoseconds' && /^Rate of/.test(document.querySelector('.over-time h2').textContent)`)
	const inUse = "memory:inuse_space:bytes:space:bytes" // coldframe's own, which has just been scraped for the first time
	b.until(`[...document.querySelectorAll('select.type option')].some(o => o.value === '` + inUse + `') || (document.querySelector('header [title^="Ask again"]').click(), false)`)
	b.set(`document.querySelector('select.type')`, inUse)
	b.until(fmt.Sprintf(`new URLSearchParams(location.search).get('type') === %q && coldframe.chart.unit === 'bytes'`, inUse))
	b.graph()
	b.until(`/^Level of/.test(document.querySelector('.over-time h2').textContent) && /iB/.test(document.querySelector('.top-self').textContent + document.querySelector('.top-body .top-self').textContent)`)
	b.do("back", cdp.NavigateBack())
	b.until(`!location.search.includes('type=') && coldframe.chart.unit === 'nanoseconds'`)
}

// An absolute range is typed as people write it; what is none is told, and not asked for.
func TestAbsoluteRange(t *testing.T) {
	b := open(t, shared(t).url)
	b.visit("?tz=utc")
	b.graph()
	b.button("Range of time")
	from, to := `document.querySelectorAll('.range-own input')[0]`, `document.querySelectorAll('.range-own input')[1]`
	b.set(from, "tomorrow, perhaps")
	b.until(`document.querySelector('.range-form .problem')?.textContent && [...document.querySelectorAll('.range-form .primary')].every(x => x.disabled)`)
	end := time.Now().UTC().Truncate(time.Minute)
	b.set(from, end.Add(-20*time.Minute).Format("2006-01-02 15:04"))
	b.set(to, end.Format("2006-01-02 15:04"))
	b.until(`!document.querySelector('.range-form .problem')`)
	b.button("Apply")
	b.until(fmt.Sprintf(`location.search.includes('from=%d&to=%d')`, end.Add(-20*time.Minute).UnixMilli(), end.UnixMilli()))
	b.graph()
	if said := value[string](b, `document.querySelector('.range').innerText`); !strings.Contains(said, end.Format("15:04")) {
		t.Errorf("the range says %q, not %s", said, end.Format("15:04"))
	}
}

// What the menu of a frame offers is done, by mouse and by keyboard.
func TestMenuOfFrames(t *testing.T) {
	b := open(t, shared(t).url)
	b.visit("?query=service_name%3D%22prometheus%22")
	b.graph()
	open := func() {
		t.Helper()
		at := b.frame(serveConn)
		b.do("menu", cdp.MouseClickXY(at.X+at.W/2, at.Y+9, cdp.ButtonRight))
		b.until(`document.querySelector('.popup.menu [role=menuitem]') === document.activeElement`)
	}
	open()
	b.item("Show in the table")
	b.until(fmt.Sprintf(`new URLSearchParams(location.search).get('fn') === %q && document.querySelector('.top-row.chosen') && document.querySelector('p.chosen')`, serveConn))
	b.button("Choose nothing")
	b.until(`!location.search.includes('fn=') && !document.querySelector('p.chosen')`)
	open()
	b.item("Drop stacks with it")
	b.until(fmt.Sprintf(`new URLSearchParams(location.search).get('filter') === 'function!='+%q`, serveConn))
	b.graph()
	b.until(fmt.Sprintf(`!coldframe.flame.place(%q)`, serveConn))
	b.do("back", cdp.NavigateBack())
	b.until(fmt.Sprintf(`!location.search.includes('filter') && coldframe.flame.place(%q)`, serveConn))
	b.graph()

	// The same by keyboard: M opens it, arrows walk, Escape gives the focus back; S opens callers and callees.
	b.do("keys", cdp.Focus(`.flame canvas`), cdp.KeyEvent(kb.ArrowDown), cdp.KeyEvent(kb.ArrowDown), cdp.KeyEvent("m"))
	b.until(`document.querySelector('.popup.menu [role=menuitem]') === document.activeElement`)
	b.key(kb.ArrowDown)
	b.until(`document.querySelectorAll('.popup.menu [role=menuitem]')[1] === document.activeElement`)
	b.key(kb.Escape)
	b.until(`!document.querySelector('.popup.menu') && document.activeElement.tagName === 'CANVAS'`)
	b.key("s")
	b.until(`location.search.includes('sandwich=') && document.querySelectorAll('.sandwich canvas').length === 2`)
	b.do("reload", cdp.Reload())
	b.until(`document.querySelectorAll('.sandwich canvas').length === 2`)
	b.key(kb.Escape)
	b.until(`!location.search.includes('sandwich=') && document.querySelectorAll('.flame canvas').length === 1`)
}

// The table holds only the rows that are seen, wherever it is scrolled to.
func TestTableScrolls(t *testing.T) {
	b := open(t, shared(t).url)
	b.visit("?show=table")
	b.until(`coldframe.top?.rows > 300 && document.querySelector('.top-body [role=row]')`)
	b.do("scroll", cdp.Evaluate[none](`{document.querySelector('.top-body').scrollTop = 1e9}`))
	b.until(`Number([...document.querySelectorAll('.top-body [role=row]')].at(-1)?.getAttribute('aria-rowindex')) === coldframe.top.rows + 1`)
	if rows := value[int](b, `document.querySelectorAll('.top-body [role=row]').length`); rows > 80 {
		t.Errorf("%d rows are in the page", rows)
	}
	b.do("keys", cdp.Focus(`.top-body`), cdp.KeyEvent(kb.Home))
	b.until(`document.querySelector('.top-row.chosen')?.getAttribute('aria-rowindex') === '2'`)
}

// Frames of the kernel and frames without symbols are told apart, in the graph, its legend, the
// tip and the table.
func TestKinds(t *testing.T) {
	chromium(t)
	s := serve(t)
	kernel := &pprof.Mapping{ID: 1, Start: 0xffff000000000000, Limit: 0xffffffff00000000, File: "[kernel.kallsyms]", HasFunctions: true}
	stripped := &pprof.Mapping{ID: 2, Start: 0x1000, Limit: 0x9000, File: "/usr/lib/libstripped.so", BuildID: "0123abcd"}
	call := &pprof.Function{ID: 1, Name: "do_syscall_64"}
	work := &pprof.Function{ID: 2, Name: "main.work"}
	p := &pprof.Profile{
		SampleType: []*pprof.ValueType{{Type: "cpu", Unit: "nanoseconds"}}, PeriodType: &pprof.ValueType{Type: "cpu", Unit: "nanoseconds"}, Period: 1,
		TimeNanos: time.Now().Add(-3 * time.Minute).UnixNano(), DurationNanos: 1e10,
		Mapping: []*pprof.Mapping{kernel, stripped}, Function: []*pprof.Function{call, work},
		Location: []*pprof.Location{
			{ID: 1, Mapping: kernel, Address: 0xffff000000000010, Line: []pprof.Line{{Function: call}}},
			{ID: 2, Mapping: stripped, Address: 0x1230},
			{ID: 3, Mapping: &pprof.Mapping{ID: 3, Start: 0x400000, Limit: 0x500000, File: "/bin/app", HasFunctions: true}, Address: 0x400010, Line: []pprof.Line{{Function: work, Line: 9}}},
		},
	}
	p.Mapping = append(p.Mapping, p.Location[2].Mapping)
	p.Sample = []*pprof.Sample{
		{Location: []*pprof.Location{p.Location[0], p.Location[2]}, Value: []int64{3e9}},
		{Location: []*pprof.Location{p.Location[1], p.Location[2]}, Value: []int64{2e9}},
	}
	push(t, s.url, p, url.Values{"service_name": {"kinds"}, "type_name": {"process_cpu"}})
	b := open(t, s.url)
	b.visit("?query=service_name%3D%22kinds%22&type=process_cpu/cpu")
	b.until(`coldframe.flame?.place('do_syscall_64') && !document.querySelector('[aria-busy=true], .unsettled')`)
	fill := func(name string) string { return value[string](b, fmt.Sprintf(`coldframe.flame.place(%q).fill`, name)) }
	if k, u, w := fill("do_syscall_64"), fill("libstripped.so+0x230"), fill("main.work"); k == u || k == w || u == w {
		t.Errorf("the kernel is %s, a frame without symbols %s, one with %s", k, u, w)
	}
	b.until(`[...document.querySelectorAll('.legend li')].some(x => x.textContent.startsWith('kernel')) && document.querySelector('.legend .striped')`)
	b.until(`document.querySelectorAll('.top-body .dot').length === 2`)
	for name, tag := range map[string]string{"do_syscall_64": "kernel", "libstripped.so+0x230": "no symbols"} {
		at := b.frame(name)
		b.do("hover", cdp.MouseEvent("mouseMoved", at.X+at.W/2, at.Y+9))
		b.until(fmt.Sprintf(`document.querySelector('.tip .tag')?.textContent === %q`, tag))
	}
	b.until(`/0123abcd/.test(document.querySelector('.tip').innerText) || /kallsyms/.test(document.querySelector('.tip').innerText)`)
	b.shot("kinds")

	// What has no symbols is what Operate says is missing.
	b.visit("?view=operate&query=service_name%3D%22kinds%22&type=process_cpu/cpu")
	b.until(`/40\.0%/.test(document.querySelector('#missing .operate-lead')?.innerText) && document.querySelector('#missing td').innerText.includes('libstripped.so') && document.querySelector('#missing tbody').innerText.includes('0123abcd')`)
}
