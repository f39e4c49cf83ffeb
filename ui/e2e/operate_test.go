package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	cdp "github.com/chromedp/chromedp"
)

// What this server has, and what brings it in.
func TestOperate(t *testing.T) {
	b := open(t, shared(t).url)
	b.expect("404") // an API that this server does not have
	b.visit("?view=operate&refresh=5s")
	b.until(`document.querySelector('#blocks dd')`)
	b.within(4*time.Minute, `document.querySelector('#blocks .levels tbody tr')`) // a minute's uploads are merged when it is over
	b.until(`/\d/.test(document.querySelector('#blocks .levels .cell').innerText)`)
	b.until(`[...document.querySelectorAll('#blocks dt')].some(x => x.textContent === 'Compaction lag')`)
	b.until(`[...document.querySelectorAll('#agents tbody tr')].some(x => /pprof/.test(x.innerText) && /480/.test(x.innerText))`) // pushes of the fleet
	// The recordings have frames without names: how much, and where, and from there to their stacks.
	b.until(`/runs through code whose functions have no names/.test(document.querySelector('#missing')?.innerText)`)
	b.press(`document.querySelector('#missing td a')`)
	b.until(`/^binary=/.test(new URLSearchParams(location.search).get('filter')) && document.querySelector('main.explore')`)
	b.graph()
	b.do("back", cdp.NavigateBack())
	b.until(`document.querySelector('.facts')`)
	if facts := value[string](b, `document.querySelector('.facts').innerText`); facts == "" {
		t.Error("the blocks have no facts")
	}
}

// A target that does not answer says so, in its own words.
func TestTargets(t *testing.T) {
	chromium(t)
	gone, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "parca.yaml")
	text := fmt.Sprintf("scrape_configs:\n- job_name: gone\n  scrape_interval: 1s\n  scrape_timeout: 2s\n  static_configs:\n  - targets: [%q]\n", gone)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, "--config-path", config)
	b := open(t, s.url)
	b.expect("404") // an API that this server does not have
	b.visit("?view=operate&refresh=5s")
	const row = `[...document.querySelectorAll('#targets tbody tr')].find(x => x.cells[0].textContent === '%s' && x.querySelector('.state.%s')?.textContent === '%s')`
	b.until(fmt.Sprintf(row, "gone", "bad", "down") + `.cells[6].innerText.includes('connection refused')`)
	b.until(fmt.Sprintf(row, "coldframe", "good", "up") + `.cells[6].innerText === ''`)
	b.shot("targets")
}

// A bucket and a process that have nothing: each part says what to do next. Two processes that
// know each other are told of as members.
func TestOperateEmptyAndCluster(t *testing.T) {
	chromium(t)
	dir := t.TempDir()
	config := filepath.Join(dir, "bucket.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "type: FILESYSTEM\nconfig:\n  directory: %q\n", filepath.Join(dir, "bucket")), 0o600); err != nil {
		t.Fatal(err)
	}
	gossip, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	member := func(name, address string) *server {
		return serve(t, "query", "--bucket-config", config, "--cluster-name", name, "--cluster-zone", "zone-"+name, "--cluster-bind-address", address, "--cluster-join", gossip)
	}
	b := open(t, member("first", gossip).url)
	b.expect("404") // APIs that a process that only answers queries does not have
	b.visit("?view=operate")
	for part, next := range map[string]string{
		"blocks": "coldframe agent", "targets": "--config-path parca.yaml", "agents": "coldframe agent --remote-store-address", "cluster": "--cluster-join", "missing": "coldframe push",
	} {
		b.until(fmt.Sprintf(`document.querySelector('#%s .none')?.innerText.includes(%q)`, part, next))
	}
	b.shot("operate-empty")

	second := member("second", "127.0.0.1:0")
	b.visit("?view=operate&refresh=5s")
	b.until(`document.querySelectorAll('#cluster tbody tr').length === 2 && /first.*this one/.test(document.querySelector('#cluster tbody').innerText)`)
	b.until(fmt.Sprintf(`[...document.querySelectorAll('#cluster tbody tr')].some(x => x.cells[0].innerText.trim() === 'second' && x.cells[1].innerText === %q && x.cells[2].innerText === 'zone-second' && x.querySelector('.state.good'))`, second.url))
	b.shot("cluster")
}
