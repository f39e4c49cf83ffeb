package e2e

import (
	"testing"
	"time"

	cdp "github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Somebody opens the page and does what people do with it.
func TestExplore(t *testing.T) {
	base := serve(t)
	pushHour(t, base, time.Now())
	b := open(t, base)

	b.visit("")
	b.graph()
	if first := value[string](b, `document.querySelector('.top-body [role=row] .top-name').textContent`); first == "" {
		t.Error("the table names no function")
	}
	b.shot("explore-light-1280")

	t.Run("zoom by click, out by Escape, back and forward", func(t *testing.T) {
		at := b.frame("net/http.(*conn).serve")
		b.do("zoom", cdp.MouseClickXY(at.X+at.W/2, at.Y+9))
		b.until(`new URLSearchParams(location.search).get('zoom')`)
		b.until(`coldframe.flame.rootName === 'net/http.(*conn).serve'`)
		b.do("back", cdp.NavigateBack())
		b.until(`coldframe.flame.root === 0 && !location.search.includes('zoom')`)
		b.do("forward", cdp.NavigateForward())
		b.until(`coldframe.flame.rootName === 'net/http.(*conn).serve'`)
		b.do("reload", cdp.Reload())
		b.graph()
		b.until(`coldframe.flame.rootName === 'net/http.(*conn).serve'`)
		b.do("keys", cdp.Focus(`.flame canvas`), cdp.KeyEvent(kb.Escape))
		b.until(`coldframe.flame.root === 0 && !location.search.includes('zoom')`)
	})
}
