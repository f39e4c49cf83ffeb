package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/query"
)

// Each cache tells of itself; one that is off is told from an empty one.
func TestCacheMetrics(t *testing.T) {
	mem := bucket.Mem()
	q := query.New(catalog.New(mem, catalog.Config{}), mem, query.Config{CacheDir: t.TempDir(), CacheDiskBytes: 1000, TailCacheBytes: -1})
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(cacheMetrics{q})
	want := `# HELP coldframe_query_cache_capacity_bytes Bytes that a cache may hold; 0: it is off.
# TYPE coldframe_query_cache_capacity_bytes gauge
coldframe_query_cache_capacity_bytes{cache="disk"} 1000
coldframe_query_cache_capacity_bytes{cache="indexes"} 2.68435456e+08
coldframe_query_cache_capacity_bytes{cache="ranges"} 1.34217728e+08
coldframe_query_cache_capacity_bytes{cache="sums"} 1.34217728e+08
coldframe_query_cache_capacity_bytes{cache="tail"} 0
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "coldframe_query_cache_capacity_bytes"); err != nil {
		t.Error(err)
	}
}

// A folder that cannot be written is refused at the start.
func TestCacheDirIsChecked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := checkCacheDir(dir); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("%d files are left, %v", len(entries), err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := checkCacheDir(filepath.Join(file, "c")); err == nil || !strings.Contains(err.Error(), "--cache-dir") {
		t.Errorf("%v", err)
	}
}
