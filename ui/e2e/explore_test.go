package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	cdp "github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// A function that is on many stacks of the recordings, and its package.
const (
	serveConn = "net/http.(*conn).serve"
	malloc    = "runtime.mallocgc"
)

// Somebody opens the page for the first time: the hottest function is on the screen.
func TestFirstSight(t *testing.T) {
	b := open(t, shared(t).url)
	b.visit("")
	b.graph()
	if first := value[string](b, `document.querySelector('.top-body [role=row] .top-name').textContent`); first == "" {
		t.Error("the table names no function")
	}
	for _, what := range []string{"blocks", "profiles", "request", "B", "cache hit", "CPU", "$", "nodes"} {
		if price := value[string](b, `document.querySelector('.price').innerText`); !strings.Contains(price, what) {
			t.Errorf("the price %q does not tell of %s", price, what)
		}
	}
	// The first script asked in the page's words, else the page would have asked again.
	for _, question := range []string{"flamegraph", "series", "types"} {
		if asked := value[int](b, fmt.Sprintf(`performance.getEntriesByType('resource').filter(e => e.name.includes('/api/v1/%s')).length`, question)); asked != 1 {
			t.Errorf("%s was asked for %d times, want once", question, asked)
		}
	}
	if b.param("type") != "" {
		t.Error("a choice that nobody made is in the URL")
	}
	if others := value[[]string](b, `performance.getEntriesByType('resource').map(e => e.name).filter(name => !name.startsWith(location.origin + '/') && !name.startsWith('data:'))`); len(others) > 0 {
		t.Errorf("the page asks others: %q", others)
	}
}

func TestZoom(t *testing.T) {
	b := open(t, shared(t).url)
	b.visit("?query=service_name%3D%22prometheus%22")
	b.graph()
	at := b.frame(serveConn)
	b.do("zoom", cdp.MouseClickXY(at.X+at.W/2, at.Y+9))
	b.until(zoomed(serveConn))
	b.do("back", cdp.NavigateBack())
	b.until(`coldframe.flame.root === 0 && !location.search.includes('zoom')`)
	b.do("forward", cdp.NavigateForward())
	b.until(zoomed(serveConn))
	b.do("reload", cdp.Reload())
	b.graph()
	b.until(zoomed(serveConn))
	b.do("escape", cdp.Focus(`.flame canvas`), cdp.KeyEvent(kb.Escape))
	b.until(`coldframe.flame.root === 0 && !location.search.includes('zoom')`)

	// With the keyboard alone, and told to those who do not see it.
	b.key(kb.ArrowDown)
	b.key(kb.ArrowDown)
	b.until(`/depth 1/.test(document.querySelector('.flame [aria-live]').textContent)`)
	b.key(kb.ArrowRight)
	b.key(kb.ArrowLeft)
	b.key(kb.Enter)
	b.until(`coldframe.flame.root > 0 && location.search.includes('zoom')`)
	b.key(kb.Backspace)
	b.until(`coldframe.flame.root === 0`)

	at = b.frame(serveConn)
	b.do("hover", cdp.MouseEvent("mouseMoved", at.X+at.W/2, at.Y+9))
	b.until(`document.querySelector('.tip')?.innerText.includes('net/http.(*conn).serve')`)
	for _, what := range []string{`Total\s+[\d.]+ min [\d.]+%`, `Self\s+[\d.]+ \w+ [\d.]+%`, `File\s.*/server\.go:\d+`, `Binary\s+prometheus`} {
		if tip := value[string](b, `document.querySelector('.tip').innerText`); !regexp.MustCompile(what).MatchString(tip) {
			t.Errorf("the tip lacks %s: %s", what, tip)
		}
	}
}

func zoomed(name string) string {
	return fmt.Sprintf(`new URLSearchParams(location.search).get('zoom') && coldframe.flame.rootName === %q`, name)
}

func TestSearchAndTable(t *testing.T) {
	b := open(t, shared(t).url)
	b.visit("")
	b.graph()
	b.key("/")
	b.until(`document.activeElement.id === 'search'`)
	value[any](b, `document.activeElement.select()`) // this driver types the / all the same
	b.typeInto("#search", "mallocgc")
	b.until(`/^[0-9.]+% matched$/.test(document.querySelector('.search-found').textContent)`)
	b.until(`coldframe.flame.marked > 0 && coldframe.top.rows < 60 && coldframe.top.rows > 0`)
	if got := b.param("q"); got != "mallocgc" {
		t.Errorf("q is %q", got)
	}
	b.key(kb.Escape)
	b.until(`coldframe.flame.marked === 0 && !location.search.includes('q=')`)

	first := value[string](b, `coldframe.top.first`)
	b.button("Total")
	b.until(fmt.Sprintf(`coldframe.top.first !== %q && location.search.includes('sort=total')`, first))
	b.button("Sort by name")
	b.until(`document.querySelector('.top-name[aria-sort=ascending]')`)
	b.button("Self")
	b.until(fmt.Sprintf(`coldframe.top.first === %q`, first))
	if rows := value[int](b, `document.querySelectorAll('.top-body [role=row]').length`); rows > 80 {
		t.Errorf("%d rows of the table are in the page; only those in the window should be", rows)
	}

	// What is chosen in the table is marked in the graph; opening it shows callers and callees.
	b.do("choose", cdp.Focus(`.top-body`), cdp.KeyEvent(kb.ArrowDown), cdp.KeyEvent(kb.ArrowDown))
	b.until(`new URLSearchParams(location.search).get('fn') && coldframe.flame.marked >= 1 && document.querySelector('p.chosen')`)
	chosen := b.param("fn")
	b.key(kb.Enter)
	b.until(fmt.Sprintf(`new URLSearchParams(location.search).get('sandwich') === %q && document.querySelectorAll('.sandwich canvas').length === 2`, chosen))
	b.button("Back to the graph")
	b.until(`!location.search.includes('sandwich') && document.querySelectorAll('.flame canvas').length === 1`)

	for _, c := range []struct{ press, state string }{
		{"Table", `show=table`}, {"Graph", `show=graph`}, {"Both", ``},
	} {
		b.button(c.press)
		b.until(fmt.Sprintf(`location.search.includes(%q) && (%q === 'show=graph' || document.querySelector('.top')) && (%q === 'show=table' || document.querySelector('.flame'))`, c.state, c.state, c.state))
	}
}

func TestShape(t *testing.T) {
	b := open(t, shared(t).url)
	b.visit("?query=service_name%3D%22prometheus%22")
	b.graph()
	nodes := value[int](b, `coldframe.flame.nodes`)
	fill := value[string](b, fmt.Sprintf(`coldframe.flame.place(%q).fill`, serveConn))

	b.button("Callers at the bottom")
	b.until(`coldframe.flame.flip && location.search.includes('flip=1')`)
	b.button("Callers at the bottom")
	b.until(`!coldframe.flame.flip`)

	b.button("Invert")
	b.until(fmt.Sprintf(`location.search.includes('inv=1') && coldframe.flame.nodes !== %d`, nodes))
	b.do("key i", cdp.Focus(`.flame canvas`), cdp.KeyEvent("i"))
	b.until(fmt.Sprintf(`!location.search.includes('inv') && coldframe.flame.nodes === %d`, nodes))

	b.button("Fold")
	b.until(fmt.Sprintf(`location.search.includes('fold=1') && coldframe.flame.nodes < %d`, nodes))
	b.button("Fold")

	for _, by := range []string{"File", "Binary", "Function"} {
		b.button("What colours mean")
		b.item(by)
		b.until(fmt.Sprintf(`location.search.includes('color=%s') && coldframe.flame.place(%q)?.fill !== %q`, strings.ToLower(by), serveConn, fill))
	}
	b.button("What colours mean")
	b.item("Package")
	b.until(fmt.Sprintf(`!location.search.includes('color=') && coldframe.flame.place(%q)?.fill === %q`, serveConn, fill))

	b.button("First rows of the graph")
	b.item("pod")
	b.until(`location.search.includes('group=pod') && coldframe.flame.place('{pod="prometheus-a"}') && coldframe.flame.place('{pod="prometheus-b"}')`)
}

func TestFilters(t *testing.T) {
	b := open(t, shared(t).url)
	b.visit("?show=graph")
	b.graph()
	total := value[string](b, `document.querySelector('.price').innerText`)

	b.button("+ Filter")
	b.typeInto(`[aria-label="Text of the filter"]`, "net/http")
	b.key(kb.Enter)
	b.until(`new URLSearchParams(location.search).get('filter') === 'function*=net/http' && document.querySelector('.chip')?.textContent.includes('keep function contains net/http')`)
	b.graph()
	b.until(fmt.Sprintf(`document.querySelector('.price').innerText !== %q`, total))

	at := b.frame(serveConn)
	b.do("menu", cdp.MouseClickXY(at.X+at.W/2, at.Y+9, cdp.ButtonRight))
	b.item("Hide its frames")
	b.until(fmt.Sprintf(`new URLSearchParams(location.search).get('hide') === 'function!='+%q`, serveConn))
	b.until(fmt.Sprintf(`!coldframe.flame.place(%q) && coldframe.flame.place('net/http.serverHandler.ServeHTTP')`, serveConn))
	b.button("Remove the filter: hide")
	b.until(fmt.Sprintf(`coldframe.flame.place(%q)`, serveConn))

	b.visit("?filter=function%3Dno.such.function")
	b.until(`document.querySelector('.empty')?.innerText.includes('filters leave out all')`)
	b.button("Take the filters away")
	b.graph()
}

// flamegraphs counts how often the page has asked for one.
const flamegraphs = `performance.getEntriesByType('resource').filter(e => e.name.includes('/api/v1/flamegraph')).length`

func TestTime(t *testing.T) {
	b := open(t, shared(t).url)
	b.visit("")
	b.graph()
	nodes := value[int](b, `coldframe.flame.nodes`)
	over := b.box(".u-over")
	b.do("drag", cdp.DragAndDropXY(over.X+over.W*.3, over.Y+over.H/2, over.X+over.W*.45, over.Y+over.H/2, 8))
	b.until(`/a=\d+&b=\d+/.test(location.search) && document.querySelector('.pinned')`)
	b.until(fmt.Sprintf(`coldframe.flame.nodes !== %d`, nodes))
	b.button("Whole range")
	b.until(fmt.Sprintf(`!/a=\d/.test(location.search) && coldframe.flame.nodes === %d`, nodes))
	b.graph() // the chart has its place again
	over = b.box(".u-over")

	b.do("pin", cdp.MouseEvent("mouseMoved", over.X+over.W*.5, over.Y+over.H/2), cdp.MouseClickXY(over.X+over.W*.5, over.Y+over.H/2))
	b.until(`/a=\d+&b=\d+/.test(location.search)`)
	b.do("keys", cdp.Focus(`.chart-plot`))
	a := b.param("a")
	b.key(kb.ArrowRight)
	b.until(fmt.Sprintf(`new URLSearchParams(location.search).get('a') > %q`, a))
	b.button("Zoom in")
	b.until(`/from=\d+&to=\d+/.test(location.search) && !/[?&]a=/.test(location.search)`)
	b.do("back", cdp.NavigateBack())
	b.until(`/a=\d+/.test(location.search)`)

	b.button("Range of time")
	b.button("Last 15 minutes")
	b.until(`location.search.includes('from=now-15m') && document.querySelector('.range').innerText.includes('Last 15 minutes')`)
	b.button("Range of time")
	b.until(`document.querySelector('.range-own input')`)
	value[any](b, `(() => { const i = document.querySelector('.range-own input'); i.value = 'now-2h'; i.dispatchEvent(new Event('input', {bubbles: true})) })()`)
	b.button("Apply")
	b.until(`location.search.includes('from=now-2h')`)
	b.graph()

	asked := value[int](b, flamegraphs)
	b.key("r")
	b.until(fmt.Sprintf(`%s > %d`, flamegraphs, asked))
	b.graph()
	b.button("Ask again")
	b.until(fmt.Sprintf(`%s > %d`, flamegraphs, asked+1))
	b.graph()
	b.button("Refresh by itself")
	b.item("5 s")
	b.until(`location.search.includes('refresh=5s')`)
	paints := value[int](b, `coldframe.flame.paints`)
	b.until(fmt.Sprintf(`coldframe.flame.paints > %d`, paints))

	b.button("One line for each value")
	b.item("zone")
	b.until(`location.search.includes('by=zone') && coldframe.chart.lines >= 2 && document.querySelectorAll('.chart .legend li').length >= 2`)
	b.button("Select eu-a")
	b.until(`new URLSearchParams(location.search).get('query') === 'zone="eu-a"'`)
}

func TestSelector(t *testing.T) {
	b := open(t, shared(t).url)
	b.expect("400") // what the server refuses, Chromium writes to the console
	b.visit("")
	b.graph()
	const line = `[role=combobox]`
	b.typeInto(line, "serv")
	b.until(`document.querySelector('[role=option]')?.textContent === 'service_name' && [...document.querySelectorAll('[role=option]')].every(o => o.textContent.includes('serv'))`)
	b.key(kb.ArrowDown)
	b.key(kb.Enter)
	b.until(`document.querySelector('[role=combobox]').value === 'service_name="' && [...document.querySelectorAll('[role=option]')].some(o => o.textContent === 'prometheus')`)
	b.do("type", cdp.KeyEvent("prom"))
	b.until(`document.querySelectorAll('[role=option]').length === 1`)
	b.key(kb.Tab)
	b.until(`document.querySelector('[role=combobox]').value === 'service_name="prometheus"'`)
	b.key(kb.Enter)
	b.until(`new URLSearchParams(location.search).get('query') === 'service_name="prometheus"'`)
	b.graph()

	// What is wrong is told under the place where it is, before anything is asked.
	b.typeInto(line, ` pod`)
	b.key(kb.Escape)
	b.key(kb.Enter)
	b.until(`document.querySelector('.problem')?.textContent.includes('between two conditions stands a comma')`)
	if at := value[int](b, `document.querySelector('.problem').textContent.indexOf('▲')`); at != 26 {
		t.Errorf("the mark stands under letter %d, want 26", at)
	}
	// What only the server can know, it tells in the same place.
	b.visit(`?query=xxx%3D~%22(%3F%3Da)b%22&type=process_cpu/cpu`)
	b.until(`document.querySelector('.problem')?.textContent.includes('invalid or unsupported Perl syntax')`)
	b.until(`document.querySelector('.problem').textContent.indexOf('▲') === document.querySelector('[role=combobox]').value.indexOf('(?=')`)
	b.until(`document.querySelectorAll('.notice.failed').length === 1`) // chart and graph fail alike, which is told once
}
