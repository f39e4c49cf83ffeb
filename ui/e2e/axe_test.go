package e2e

import (
	"fmt"
	"os"
	"testing"

	cdp "github.com/chromedp/chromedp"
)

// views are the page's, each in a state that shows what it has.
var views = []struct{ name, query, ready string }{
	{"explore", "?by=zone&fn=runtime.mallocgc", `document.querySelector('p.chosen') && coldframe.flame?.boxes > 20`},
	{"sandwich", "?sandwich=runtime.mallocgc&filter=function*%3Druntime", `document.querySelectorAll('.sandwich canvas').length === 2`},
	{"chart", "?show=time&query=service_name%3D%22prometheus%22", `coldframe.flame?.label === 'Flame chart' && document.querySelector('.steps-several')`},
	{"compare", "?view=compare&from=now-30m", `document.querySelector('.summary') && coldframe.flame?.boxes > 20`},
	{"sides", "?view=compare&from=now-30m&how=sides", `document.querySelectorAll('.two canvas').length === 2`},
	{"labels", "?view=labels", `document.querySelectorAll('.list tbody tr').length > 5`},
	{"operate", "?view=operate", `document.querySelector('.facts') && document.querySelector('#missing .none, #missing tbody')`},
	{"nothing", "?query=service_name%3D%22none%22", `document.querySelector('.empty')`},
}

// axe-core finds nothing to complain of, in any view, in either theme, wide or narrow,
// nor in what opens above them. The screenshots are for people.
func TestAccessible(t *testing.T) {
	axe, err := os.ReadFile("../node_modules/axe-core/axe.min.js")
	if err != nil {
		t.Fatalf("axe-core is not installed: %v", err)
	}
	b := open(t, shared(t).url)
	b.expect("404")
	check := func(what string) {
		t.Helper()
		found := value[[]string](b, string(axe)+`;axe.run().then(r => r.violations.map(v => v.id + ' (' + v.impact + '): ' + v.nodes.slice(0, 3).map(n => n.html.slice(0, 160) + ' ' + (n.any[0]?.message ?? '')).join('\n')))`)
		for _, v := range found {
			t.Errorf("%s: %s", what, v)
		}
	}
	for _, width := range []int64{1280, 390} {
		b.size(width, 860)
		for _, theme := range []string{"light", "dark"} {
			b.scheme(theme)
			for _, v := range views {
				what := fmt.Sprintf("%s-%s-%d", v.name, theme, width)
				b.visit(v.query)
				b.until(v.ready + ` && !document.querySelector('[aria-busy=true], .unsettled')`)
				check(what)
				b.shot(what)
				if wide := value[float64](b, `document.documentElement.scrollWidth - innerWidth`); wide > 0 {
					t.Errorf("%s is %v pixels wider than the window", what, wide)
				}
			}
		}
	}
	b.size(1280, 860)
	b.visit("")
	b.graph()
	for _, theme := range []string{"light", "dark"} {
		b.scheme(theme)
		for _, title := range []string{"Range of time", "Share and download", "Add a filter", "Keys"} {
			b.button(title)
			b.until(`document.querySelector('.popup:not([hidden]):not([role=listbox]), dialog[open]')`)
			check(title + ", " + theme)
			b.shot("open-" + title + "-" + theme)
			b.do("close", cdp.Evaluate[none](`{document.querySelector('dialog').close(); document.body.dispatchEvent(new PointerEvent('pointerdown', {bubbles: true}))}`))
			b.until(`!document.querySelector('.popup:not([hidden]):not([role=listbox]), dialog[open]')`)
		}
	}
}
