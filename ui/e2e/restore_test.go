package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdp "github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// seen is what a view shows, in words: its texts but for the price, what is pressed and chosen,
// and what the canvases hold.
const seen = `(() => {
	const main = document.querySelector('main').cloneNode(true);
	for (const e of main.querySelectorAll('.price, .chart-readout, option')) e.remove(); // types come in by themselves
	const flame = window.coldframe?.flame ?? {};
	return [
		document.title, main.textContent, document.querySelector('select.type').value, document.querySelector('[role=combobox]')?.value, document.getElementById('search')?.value,
		[...document.querySelectorAll('[aria-pressed=true], [aria-checked=true], [aria-sort]:not([aria-sort=none])')].map(e => e.textContent).join(),
		document.querySelectorAll('canvas').length, document.querySelector('.flame canvas') && [flame.nodes, flame.rootName, flame.flip, flame.marked].join(),
	].join('\n');
})()`

// The address is the whole state: what a view shows after a reload is what it showed before, and
// so it is when one comes back to it from another.
func TestReloadRestores(t *testing.T) {
	b := open(t, shared(t).url)
	end := time.Now().Add(-2 * time.Minute).UnixMilli()
	at := fmt.Sprintf("from=%d&to=%d&type=process_cpu/cpu", end-3_000_000, end)
	states := []struct{ query, ready string }{
		{"?query=service_name%3D%22prometheus%22&by=pod&q=Handler&sort=total&inv=1&color=file&" + at, `coldframe.flame?.marked > 0`},
		{"?query=service_name%3D%22prometheus%22&group=pod&flip=1&fold=1&show=graph&" + at, `coldframe.flame?.flip`},
		{"?query=service_name%3D%22compile%22&hide=function!%3Druntime.mallocgc&filter=function*%3Druntime&fn=runtime.memmove&tz=utc&" + at, `document.querySelectorAll('.chip').length === 2 && document.querySelector('p.chosen')`},
		{fmt.Sprintf("?query=service_name%%3D%%22prometheus%%22&a=%d&b=%d&sandwich=runtime.mallocgc&%s", end-2_000_000, end-1_000_000, at), `document.querySelector('.pinned') && document.querySelectorAll('.sandwich canvas').length === 2`},
		{"?query=service_name%3D%22prometheus%22&show=time&" + at, `coldframe.steps?.columns > 4`},
		{fmt.Sprintf("?view=compare&abs=1&how=sides&query=pod%%3D%%22prometheus-a%%22&bquery=pod%%3D%%22prometheus-b%%22&bfrom=%d&bto=%d&%s", end-3_000_000, end, at), `document.querySelectorAll('.two canvas').length === 2`},
		{"?view=labels&label=pod&query=service_name%3D%22prometheus%22&" + at, `document.querySelectorAll('.list tbody tr').length === 2`},
	}
	settled := func(ready string) { // charts are drawn a frame after their answers
		t.Helper()
		b.until(ready + ` && !document.querySelector('[aria-busy=true], .unsettled') && [...document.querySelectorAll('.chart-plot')].every(e => e.querySelector('canvas'))`)
	}
	before := make([]string, len(states))
	for i, s := range states {
		b.visit(s.query)
		settled(s.ready)
		before[i] = value[string](b, seen)
		b.do("reload", cdp.Reload())
		settled(s.ready)
		b.until(seen + ` === ` + quote(before[i]))
	}

	// The same within one document, as links of the page lead from one to the other.
	for i := range states {
		b.do("go on", cdp.Evaluate[none](fmt.Sprintf(`{history.pushState(null, '', %s); dispatchEvent(new PopStateEvent('popstate'))}`, quote(states[i].query))))
		b.until(seen + ` === ` + quote(before[i]))
	}
	for i := len(states) - 2; i >= 0; i-- {
		b.do("back", cdp.Evaluate[none](`{history.back()}`))
		b.until(seen + ` === ` + quote(before[i]))
	}
	b.do("forward", cdp.Evaluate[none](`{history.forward()}`))
	b.until(seen + ` === ` + quote(before[1]))
}

// Times are told in the zone of whoever looks, or in UTC: in the chart's reach, in ranges and
// where they are typed.
func TestZones(t *testing.T) {
	b := open(t, shared(t).url)
	b.protocol(func(ctx context.Context) error {
		_, err := cdp.Call(ctx, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Asia/Kolkata"})
		return err
	})
	from := time.Date(2026, 3, 4, 20, 0, 0, 0, time.UTC)
	b.visit(fmt.Sprintf("?from=%d&to=%d&type=process_cpu/cpu", from.UnixMilli(), from.Add(time.Hour).UnixMilli()))
	b.until(`document.querySelector('.range').innerText.includes('2026-03-05 01:30:00 – 2026-03-05 02:30:00')`)
	b.key("u")
	b.until(`document.querySelector('.range').innerText.includes('2026-03-04 20:00:00 – 2026-03-04 21:00:00')`)
	b.button("Range of time")
	input := `document.querySelector('.range-own input')`
	b.until(input + `.value === '2026-03-04 20:00:00'`)
	b.set(input, "2026-03-04 19:30")
	b.button("Apply")
	b.until(fmt.Sprintf(`location.search.includes('from=%d&')`, from.Add(-30*time.Minute).UnixMilli()))

	// The choice is kept without being in the address; an address that says otherwise overrules it.
	b.do("reload", cdp.Reload())
	b.until(`!location.search.includes('tz=') && document.querySelector('.range').innerText.includes('2026-03-04 19:30:00')`)
	b.visit(fmt.Sprintf("?tz=local&from=%d&to=%d&type=process_cpu/cpu", from.UnixMilli(), from.Add(time.Hour).UnixMilli()))
	b.until(`document.querySelector('.range').innerText.includes('2026-03-05 01:30:00')`)
	b.button("Show times in UTC")
	b.until(`document.querySelector('.range').innerText.includes('2026-03-04 20:00:00')`)
}

// reachable are the elements that Tab must come to: all that can be pressed or written in, but
// of a group of radio buttons the chosen one, from which arrows lead on.
const reachable = `[...document.querySelectorAll('button, a[href], input, select, summary, [tabindex]')].filter(e => e.checkVisibility() && !e.disabled && e.tabIndex >= 0)`

// Everything that a mouse can press is reached with Tab, has a name and shows that it has the focus.
func TestKeyboardReachesAll(t *testing.T) {
	b := open(t, shared(t).url)
	b.expect("404") // an API that this server does not have
	for _, v := range views {
		b.visit(v.query)
		b.until(v.ready + ` && !document.querySelector('[aria-busy=true], .unsettled')`)
		// The button at the end keeps the focus in the page: beyond it is the browser's own, where keys are lost.
		b.do("begin", cdp.Evaluate[none](`{
			window.reached = new Set(); window.unmarked = new Set();
			document.addEventListener('focusin', e => {
				reached.add(e.target);
				const style = getComputedStyle(e.target);
				if (style.outlineStyle === 'none' && style.boxShadow === 'none') unmarked.add(e.target.outerHTML.slice(0, 120));
			});
			document.body.append(Object.assign(document.createElement('button'), {id: 'end', textContent: 'end'}));
			document.activeElement?.blur();
		}`))
		for presses := 0; value[string](b, `document.activeElement.id`) != "end"; presses++ {
			if presses > 300 {
				t.Fatalf("%s: Tab never comes to the end", v.name)
			}
			b.key(kb.Tab)
		}
		if missed := value[[]string](b, reachable+`.filter(e => !reached.has(e)).map(e => e.outerHTML.slice(0, 120))`); len(missed) > 0 {
			t.Errorf("%s: Tab does not come to %q", v.name, missed)
		}
		if unmarked := value[[]string](b, `[...unmarked]`); len(unmarked) > 0 {
			t.Errorf("%s: nothing shows that the focus is on %q", v.name, unmarked)
		}
	}
}

// Menus, forms, switches and the chart are worked without a mouse.
func TestKeyboardAlone(t *testing.T) {
	b := open(t, shared(t).url)
	b.visit("?query=service_name%3D%22prometheus%22")
	b.graph()
	focus := func(element string) {
		t.Helper()
		b.until(fmt.Sprintf(`(() => { const e = %s; e?.focus(); return e && document.activeElement === e })()`, element))
	}

	// A menu opens, its arrows walk, Enter chooses, and the focus is where it was.
	focus(`document.querySelector('[title="What colours mean"]')`)
	b.key(kb.Enter)
	b.until(`document.activeElement.role === 'menuitemradio' && document.activeElement.textContent === 'Package'`)
	b.key(kb.ArrowDown)
	b.key(kb.Enter)
	b.until(`location.search.includes('color=function') && document.activeElement.title === 'What colours mean'`)

	// A switch is one stop, and arrows choose.
	focus(`document.querySelector('[aria-label="Show"] [aria-checked=true]')`)
	b.key(kb.ArrowRight)
	b.until(`location.search.includes('show=graph') && document.activeElement.textContent === 'Graph'`)
	b.key(kb.ArrowLeft)
	b.until(`!location.search.includes('show=') && document.activeElement.textContent === 'Both'`)

	// A filter is written and added, and taken away.
	focus(`document.querySelector('[title^="Add a filter"]')`)
	b.key(kb.Enter)
	b.until(`document.activeElement.closest('.filter-form, .popup')`)
	focus(`document.querySelector('[aria-label="Text of the filter"]')`)
	b.key("Handler")
	b.key(kb.Enter)
	b.until(`new URLSearchParams(location.search).get('filter') === 'function*=Handler'`)
	focus(`document.querySelector('.chip button')`)
	b.key(kb.Enter)
	b.until(`!location.search.includes('filter=')`)
	b.graph()

	// The chart: arrows pin a step, Shift widens, Escape shows the whole range.
	focus(`document.querySelector('.chart-plot')`)
	b.key(kb.ArrowLeft)
	b.until(`/[?&]a=\d+/.test(location.search)`)
	const width = `(new URLSearchParams(location.search).get('b') - new URLSearchParams(location.search).get('a'))`
	one := value[float64](b, width)
	b.key(kb.ArrowLeft)
	b.do("widen", cdp.KeyEvent(kb.ArrowRight, cdp.KeyModifiers(cdp.ModifierShift)))
	b.until(fmt.Sprintf(`%s === %v`, width, 2*one))
	b.key(kb.Escape)
	b.until(`!/[?&]a=/.test(location.search)`)
	b.graph()

	// The table: sorted by its head, walked by arrows.
	focus(`document.querySelector('.top-total button')`)
	b.key(kb.Enter)
	b.until(`location.search.includes('sort=total')`)
	focus(`document.querySelector('.top-body')`)
	b.key(kb.End)
	b.until(`document.querySelector('.top-row.chosen')?.getAttribute('aria-rowindex') === String(coldframe.top.rows + 1)`)
	b.key(kb.Escape)
	b.until(`!location.search.includes('fn=')`)
}
