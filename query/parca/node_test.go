package parca_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coldframe/coldframe/internal/apitest"
)

// Parca's own client for browsers, which speaks gRPC-Web as text, and Arrow for JavaScript
// read what Parca's page reads.
func TestParcaClient(t *testing.T) {
	node := nodeWithModules(t)
	h := open(t)
	cmd := exec.CommandContext(t.Context(), node, "ask.js", h.URL, apitest.CPU+"{}", fmt.Sprint(h.Start.Unix()), fmt.Sprint(h.End.Unix()))
	cmd.Dir = filepath.Join("testdata", "node")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	var got struct {
		Types, Labels, Values []string
		Refused               string
		Points                []int
		Total, Filtered       int64
		Rows                  []struct {
			Name, File, Mapping                    string
			Address, Cumulative, Flat, Diff, Depth int64
			Parent, Offset                         int
			Children                               []int
		}
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if !slices.Contains(got.Types, apitest.CPU) || !slices.Contains(got.Labels, "pod") || !slices.Equal(got.Values, []string{"a", "b"}) || !slices.Equal(got.Points, []int{apitest.Rounds, apitest.Rounds}) {
		t.Errorf("types %v, labels %v, values %v, points %v", got.Types, got.Labels, got.Values, got.Points)
	}
	if !strings.HasPrefix(got.Refused, "INVALID_ARGUMENT: query: ") {
		t.Errorf("a wrong query is refused with %q", got.Refused)
	}
	_, want := apitest.Paths(h.CPU, "cpu")
	totals := map[string]int64{}
	paths := make([]string, len(got.Rows))
	for i, row := range got.Rows {
		if i > 0 {
			name := row.Name
			if name == "" {
				name = fmt.Sprintf("0x%x", row.Address)
			}
			paths[i] = strings.TrimPrefix(paths[row.Parent]+";"+name, ";")
			if !slices.Contains(got.Rows[row.Parent].Children, i) {
				t.Errorf("row %d is not among the children of its parent %d", i, row.Parent)
			}
		}
		totals[paths[i]] = row.Cumulative
	}
	if !maps.Equal(totals, want) || got.Total != want[""] || got.Filtered != 0 {
		t.Errorf("got %v of %d, want %v", totals, got.Total, want)
	}
}

// nodeWithModules finds Node and installs what the lock file says.
func nodeWithModules(t *testing.T) string {
	t.Helper()
	dir := filepath.Join("testdata", "node")
	node, err := exec.LookPath("node")
	if err == nil {
		if _, missing := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json")); missing != nil {
			cmd := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
			cmd.Dir, cmd.Stderr = dir, os.Stderr
			err = cmd.Run()
		}
	}
	if err != nil && os.Getenv("CI") != "" {
		t.Fatal(err)
	}
	if err != nil {
		t.Skip(err)
	}
	return node
}
