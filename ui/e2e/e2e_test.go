// Package e2e drives the page in Chromium, against the real binary with real profiles
// in a real bucket. Nothing is replaced by something easier.
package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	cdp "github.com/chromedp/chromedp"
)

// patience is how long something may take that takes a moment: machines that test are busy.
const patience = 90 * time.Second

// none is what actions give that give nothing.
type none = cdp.Void

// chromium finds the browser; without one the test is skipped, except in CI.
func chromium(t testing.TB) string {
	t.Helper()
	for _, name := range []string{os.Getenv("COLDFRAME_CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); name != "" && err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("no chromium: apt-get install chromium")
	}
	t.Skip("no chromium: apt-get install chromium")
	return ""
}

// binary is the program under test: what COLDFRAME names, else what is built now.
var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("COLDFRAME"); path != "" {
		return path, nil
	}
	dir, err := os.MkdirTemp("", "coldframe-e2e-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "coldframe")
	cmd := exec.CommandContext(context.Background(), "go", "build", "-o", path, "./cmd/coldframe")
	cmd.Dir = "../.."
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// server is a coldframe that runs.
type server struct {
	url, data string // data is the folder that plays the bucket
	cmd       *exec.Cmd
	log       bytes.Buffer
}

// freeAddress is one that nobody listens on.
func freeAddress() (string, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// start runs coldframe dev on a folder, or whatever command the first of args is.
func start(data string, args ...string) (*server, error) {
	path, err := binary()
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		args = append([]string{"dev", "--data", data, "--agent", "off", "--tick", "2s"}, args...)
	}
	s := &server{url: "http://" + address, data: data}
	s.cmd = exec.CommandContext(context.Background(), path, append(args, "--http-address", address)...)
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := ready(context.Background(), s.url)
		if err == nil {
			return s, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("coldframe %s does not come up: %w\n%s", args[0], err, s.stop())
		}
	}
}

// stop ends the server and gives what it logged.
func (s *server) stop() string {
	_ = s.cmd.Process.Signal(os.Interrupt)
	_ = s.cmd.Wait()
	return s.log.String()
}

// serve runs coldframe dev on a folder of its own, or another command, until the test ends.
func serve(t testing.TB, args ...string) *server {
	t.Helper()
	s, err := start(t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if log := s.stop(); t.Failed() {
			t.Logf("%s:\n%s", s.cmd, log)
		}
	})
	return s
}

// fleet is a server that has an hour of profiles, which tests share as long as they
// only look.
var fleet struct {
	once sync.Once
	*server
}

func shared(t testing.TB) *server {
	t.Helper()
	chromium(t)
	fleet.once.Do(func() {
		dir, err := os.MkdirTemp("", "coldframe-e2e-") //nolint:usetesting // it outlives the test that asks first
		if err != nil {
			t.Fatal(err)
		}
		if fleet.server, err = start(dir); err != nil {
			t.Fatal(err)
		}
		pushHour(t, fleet.url, time.Now())
	})
	return fleet.server
}

func TestMain(m *testing.M) {
	code := m.Run()
	if fleet.server != nil {
		fleet.stop()
		_ = os.RemoveAll(fleet.data)
	}
	os.Exit(code)
}

func ready(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/-/ready", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// tab is a window of a browser of its own. What the page writes to the console as an
// error, and what it throws, fails the test, unless it matches one of expected.
type tab struct {
	t        testing.TB
	ctx      context.Context
	base     string
	expected []string
	mu       sync.Mutex
}

func open(t testing.TB, base string) *tab {
	t.Helper()
	path := chromium(t)
	options := append(cdp.DefaultExecAllocatorOptions[:], cdp.ExecPath(path), cdp.NoSandbox, cdp.DisableGPU,
		cdp.Flag("disable-component-update", true),
		cdp.UserDataDir(t.TempDir()), cdp.WindowSize(1280, 860))
	ctx, cancelAllocator := cdp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	ctx, cancelTab := cdp.NewContext(ctx)
	ctx, cancelTime := context.WithTimeout(ctx, 10*time.Minute)
	b := &tab{t: t, ctx: ctx, base: base}
	var watching sync.WaitGroup
	console := cdp.Console(ctx)
	watching.Go(func() {
		for m, err := range console {
			if err != nil {
				return
			}
			if m.Type == cdp.ConsoleError || m.IsException() {
				b.complain(fmt.Sprintf("console: %s: %s (%s)", m.Type, m.Text, m.URL))
			}
		}
	})
	t.Cleanup(func() {
		if t.Failed() {
			b.shot("failed-" + strings.ReplaceAll(t.Name(), "/", "-"))
		}
		cancelTime()
		_ = cdp.Cancel(ctx)
		cancelTab()
		cancelAllocator()
		watching.Wait()
	})
	return b
}

func (b *tab) complain(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, expected := range b.expected {
		if strings.Contains(text, expected) {
			return
		}
	}
	b.t.Error(text)
}

// expect says that complaints of the console that hold text are meant.
func (b *tab) expect(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expected = append(b.expected, text)
}

// do acts, or ends the test.
func (b *tab) do(what string, actions ...cdp.Action[none]) {
	b.t.Helper()
	if err := cdp.Do(b.ctx, actions...); err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
}

// visit goes to a view of the page and waits for the graph, if it is one.
func (b *tab) visit(query string) {
	b.t.Helper()
	b.do("open "+query, cdp.Navigate(b.base+"/"+query))
}

// until waits for a condition of JavaScript.
func (b *tab) until(condition string) {
	b.t.Helper()
	b.within(patience, condition)
}

// within waits so long for a condition of JavaScript. What throws, as when an element is not there
// yet, is not true yet.
func (b *tab) within(patience time.Duration, condition string) {
	b.t.Helper()
	poll := cdp.Poll[bool]("(() => { try { return !!("+condition+") } catch { return false } })()", cdp.WithPollingTimeout(patience))
	_, err := cdp.Run(b.ctx, poll)
	for deadline := time.Now().Add(patience); err != nil && strings.Contains(err.Error(), "context") && time.Now().Before(deadline) && b.ctx.Err() == nil; {
		time.Sleep(50 * time.Millisecond) // the page that was asked is gone; another takes its place
		_, err = cdp.Run(b.ctx, poll)
	}
	if err != nil {
		b.t.Fatalf("never true: %s: %v\nat %s\npage says: %.200s", condition, err, value[string](b, "location.href"), value[string](b, "document.body.innerText"))
	}
}

// value evaluates JavaScript.
func value[T any](b *tab, script string) T {
	b.t.Helper()
	v, err := cdp.Run(b.ctx, cdp.Evaluate[T](script, cdp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", script, err)
	}
	return v
}

// button presses the button with a text or a title that begins so, as soon as it is there.
func (b *tab) button(text string) {
	b.t.Helper()
	b.press(fmt.Sprintf(`[...document.querySelectorAll('button,a,summary')].find(b=>b.checkVisibility()&&!b.disabled&&(b.textContent.trim().startsWith(%[1]q)||b.title.startsWith(%[1]q)||(b.ariaLabel??'').startsWith(%[1]q)))`, text))
}

// item presses the item of an open menu that begins with a text.
func (b *tab) item(text string) {
	b.t.Helper()
	b.press(fmt.Sprintf(`[...document.querySelectorAll('[role^=menuitem]')].find(b=>b.textContent.startsWith(%q))`, text))
}

// press waits for an element and presses it at once: between finding and pressing the page
// cannot change.
func (b *tab) press(element string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`(() => { const e = %s; if (!e) return false; e.focus(); e.click(); return true })()`, element))
}

// typeInto writes into the element.
func (b *tab) typeInto(selector, text string) {
	b.t.Helper()
	b.do("type into "+selector, cdp.SendKeys(selector, text))
}

// key presses keys.
func (b *tab) key(keys string) {
	b.t.Helper()
	b.do(fmt.Sprintf("press %q", keys), cdp.KeyEvent(keys))
}

type box struct{ X, Y, W, H float64 }

func (b *tab) box(selector string) box {
	b.t.Helper()
	at := value[[]float64](b, fmt.Sprintf(`(()=>{const r=document.querySelector(%q).getBoundingClientRect();return [r.x,r.y,r.width,r.height]})()`, selector))
	return box{at[0], at[1], at[2], at[3]}
}

// frame is where a function's first frame stands in the window.
func (b *tab) frame(name string) box {
	b.t.Helper()
	b.until(fmt.Sprintf(`window.coldframe?.flame?.place(%q)`, name))
	at := value[[]float64](b, fmt.Sprintf(`(()=>{const p=coldframe.flame.place(%q),r=document.querySelector('.flame canvas').getBoundingClientRect();return [r.x+p.left,r.y+p.top,p.width,18]})()`, name))
	return box{at[0], at[1], at[2], at[3]}
}

// graph waits until a flame graph is painted whole.
func (b *tab) graph() {
	b.t.Helper()
	b.until(`window.coldframe?.flame?.boxes > 20 && !document.querySelector('[aria-busy=true], .unsettled')`)
}

// param is a parameter of the page's address.
func (b *tab) param(name string) string {
	b.t.Helper()
	return value[string](b, fmt.Sprintf(`new URLSearchParams(location.search).get(%q) ?? ''`, name))
}

func (b *tab) size(width, height int64) {
	b.t.Helper()
	b.protocol(func(ctx context.Context) error {
		_, err := cdp.Call(ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 500})
		return err
	})
}

// scheme is what the system says it likes: light or dark.
func (b *tab) scheme(name string) {
	b.t.Helper()
	b.protocol(func(ctx context.Context) error {
		_, err := cdp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
		return err
	})
}

// downloadTo has the browser keep what is downloaded.
func (b *tab) downloadTo(dir string) {
	b.t.Helper()
	b.protocol(func(ctx context.Context) error {
		_, err := cdp.CallBrowser(ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: dir})
		return err
	})
}

func (b *tab) protocol(call func(context.Context) error) {
	b.t.Helper()
	action := cdp.Action[none](func(ctx context.Context, _ *cdp.Target) (none, error) { return none{}, call(ctx) })
	if _, err := cdp.Run(b.ctx, action); err != nil {
		b.t.Fatal(err)
	}
}

// shot writes a screenshot to shots/, to be looked at.
func (b *tab) shot(name string) {
	b.t.Helper()
	png, err := cdp.Run(b.ctx, cdp.CaptureScreenshot())
	if err != nil {
		b.t.Logf("screenshot %s: %v", name, err)
		return
	}
	if err := errors.Join(os.MkdirAll("shots", 0o755), os.WriteFile(filepath.Join("shots", name+".png"), png, 0o644)); err != nil {
		b.t.Error(err)
	}
}
