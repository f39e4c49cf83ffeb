package e2e

import (
	"fmt"
	"testing"

	cdp "github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

func TestCompare(t *testing.T) {
	b := open(t, shared(t).url)
	b.visit("")
	b.graph()
	over := b.box(".u-over")
	b.do("drag", cdp.DragAndDropXY(over.X+over.W*.5, over.Y+over.H/2, over.X+over.W*.7, over.Y+over.H/2, 8))
	b.button("Compare with before")
	b.until(`location.search.includes('view=compare') && document.querySelectorAll('.sides .u-over').length === 2`)
	b.graph()
	b.until(`/Before .+After .+Change .+%/s.test(document.querySelector('.summary')?.innerText)`)
	b.until(`document.querySelector('.top-change[aria-sort=descending]') && /points/.test(document.querySelector('.top-body .top-change')?.textContent)`)

	b.button("Absolute")
	b.until(`location.search.includes('abs=1') && document.querySelector('.top-body .top-change') && !/points/.test(document.querySelector('.top-body .top-change')?.textContent)`)
	b.button("Side by side")
	b.until(`location.search.includes('how=sides') && document.querySelectorAll('.two canvas').length === 2`)
	at := b.frame(serveConn)
	b.do("zoom both", cdp.MouseClickXY(at.X+at.W/2, at.Y+9))
	b.until(`location.search.includes('zoom=')`)
	b.do("back", cdp.NavigateBack(), cdp.NavigateBack())
	b.until(`document.querySelectorAll('.flame canvas').length === 1`)

	from, before := b.param("from"), b.param("bfrom")
	b.button("Exchange")
	b.until(fmt.Sprintf(`new URLSearchParams(location.search).get('bfrom') === %q && new URLSearchParams(location.search).get('from') === %q`, from, before))
	b.do("another selector", cdp.SendKeys(`[aria-label="Selector before"]`, `service_name="compile"`+kb.Escape+kb.Enter))
	b.until(`new URLSearchParams(location.search).get('bquery') === 'service_name="compile"'`)
	b.graph()
	b.do("choose", cdp.Focus(`.top-body`), cdp.KeyEvent(kb.ArrowDown))
	b.until(`document.querySelector('p.chosen')?.innerText.includes('before')`)
}

func TestLabels(t *testing.T) {
	b := open(t, shared(t).url)
	b.visit("?view=labels")
	b.until(`document.querySelectorAll('.list tbody tr').length >= 8`)
	if first := value[string](b, `document.querySelector('.list tbody td').textContent`); first != "prometheus" {
		t.Errorf("the largest service is %q, want prometheus", first)
	}
	sum := value[float64](b, `[...document.querySelectorAll('td.share')].reduce((s, x) => s + parseFloat(x.textContent), 0)`)
	if sum < 99 || sum > 101 {
		t.Errorf("the shares add up to %v %%", sum)
	}
	b.button("zone")
	b.until(`location.search.includes('label=zone') && [...document.querySelectorAll('.list tbody td')].some(x => x.textContent === 'eu-b')`)
	b.button("against the rest")
	b.until(`location.search.includes('view=compare') && /zone!="/.test(new URLSearchParams(location.search).get('bquery'))`)
	b.graph()
	b.do("back", cdp.NavigateBack())
	b.until(`document.querySelector('.list tbody a')`)
	b.press(`document.querySelector('.list tbody a')`)
	b.until(`/^zone="eu-[ab]"$/.test(new URLSearchParams(location.search).get('query'))`)
	b.graph()
}

// Keys go everywhere, and each view is gone back to.
func TestKeysAndHelp(t *testing.T) {
	b := open(t, shared(t).url)
	b.expect("404")
	b.visit("")
	b.graph()
	for key, view := range map[string]string{"2": "compare", "3": "labels", "4": "operate"} {
		b.key(key)
		b.until(fmt.Sprintf(`location.search.includes('view=%s') && document.querySelector('main.%[1]s')`, view))
		b.key("1")
		b.until(`!location.search.includes('view=') && document.querySelector('main.explore')`)
	}
	b.key("?")
	b.until(`document.querySelector('dialog').open`)
	b.key(kb.Escape)
	b.until(`!document.querySelector('dialog').open`)
	b.key("t")
	b.until(`document.documentElement.dataset.theme === 'dark'`)
	b.do("reload", cdp.Reload())
	b.until(`document.documentElement.dataset.theme === 'dark'`)
}
