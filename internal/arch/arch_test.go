// Package arch holds the floors of the house: an import goes down, never sideways
// or up. The build fails when one does not.
package arch

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/coldframe/coldframe/"

// floors lists every package of the product. A package that is not here fails the
// test: a new room is a decision, to be written down beside it.
var floors = map[string]int{
	"internal/guard": -1, // switches that are in no product build
	"profile":        0, "bucket": 0, "bpf": 0, "bpf/ehframe": 0, "ui": 0,
	"api": 0, "api/parca/query/v1alpha1": 0, "api/parca/profilestore/v1alpha1": 0, "api/parca/metastore/v1alpha1": 0,
	"api/parca/scrape/v1alpha1": 0, "api/parca/debuginfo/v1alpha1": 0, "api/parca/telemetry/v1alpha1": 0, "api/parca/share/v1alpha1": 0,
	"block": 1, "block/pprofblock": 1, "block/arrowblock": 1, "profile/draft": 1,
	"catalog": 2, "upload": 2, "serve": 2, "serve/webconfig": 2, "agent/symbols": 2, "agent/kubernetes": 2,
	"ingest/push/folded": 2, "ingest/push/otlp": 2, "ingest/push/parca": 2, "ingest/push/jfr": 2,
	"ingest/push/perf": 3,
	"ingest/scrape":    3, "ingest/push": 3, "compactor": 3, "query": 3, "query/cluster": 3, "query/parca": 3, "query/pyroscope": 3, "agent": 3,
	"cmd/coldframe": 4, "cmd/coldframe-lambda": 4,
}

// below names the imports within a floor that are meant: a parent package whose
// words its sub-packages speak.
var below = map[string][]string{
	"block/pprofblock": {"block"},
	"block/arrowblock": {"block"},
	"query/cluster":    {"query"},       // parts of queries go from member to member
	"query/parca":      {"query"},       // its questions are turned into the parent's
	"query/pyroscope":  {"query"},       // as above
	"bpf":              {"bpf/ehframe"}, // its tables are what the other reads

	"api/parca/query/v1alpha1":  {"api/parca/profilestore/v1alpha1", "api/parca/metastore/v1alpha1"},
	"api/parca/scrape/v1alpha1": {"api/parca/profilestore/v1alpha1"},
}

// doors says by which packages alone an outside module may be entered.
var doors = map[string][]string{
	"github.com/thanos-io/objstore":                  {"bucket"},
	"github.com/minio/minio-go":                      {"bucket"},
	"cloud.google.com/go/storage":                    {"bucket"},
	"github.com/Azure/":                              {"bucket"},
	"github.com/aws/":                                {"bucket", "cmd/coldframe", "cmd/coldframe-lambda"},
	"github.com/apache/arrow-go":                     {"block/arrowblock", "query", "query/parca", "ingest/push/parca"},
	"github.com/prometheus/prometheus/discovery":     {"ingest/scrape"},
	"github.com/prometheus/prometheus/promql":        {"profile"},
	"github.com/prometheus/client_golang":            {"serve", "ingest/scrape", "cmd/coldframe"},
	"github.com/prometheus/exporter-toolkit":         {"serve/webconfig"},
	"github.com/alecthomas/kong":                     {"cmd/coldframe"},
	"go.opentelemetry.io/otel":                       {"cmd/coldframe"},
	"github.com/google/pprof":                        {"profile", "upload", "query", "query/parca", "query/pyroscope", "ingest/push", "ingest/scrape", "cmd/coldframe"},
	"github.com/klauspost/compress":                  {"profile", "profile/draft", "ingest/push/parca", "block/pprofblock", "block/arrowblock"},
	"github.com/cilium/ebpf":                         {"bpf"},
	"github.com/ianlancetaylor/demangle":             {"agent/symbols"},
	"github.com/ulikunitz/xz":                        {"agent/symbols"},
	"github.com/prometheus/prometheus/model/relabel": {"agent", "ingest/scrape"},
	"k8s.io/":                          {"agent/kubernetes"},
	"github.com/grafana/pyroscope/api": {"query/pyroscope", "ingest/push"},
	"github.com/grafana/jfr-parser":    {}, // what ours is compared with in tests
	"github.com/hashicorp/memberlist":  {"query/cluster"},
	"golang.org/x/sys":                 {"profile", "bpf", "agent", "query", "cmd/coldframe"},
	"github.com/bufbuild/protocompile": {}, // generates api; in no product
}

type pkg struct {
	ImportPath, Dir string
	Imports         []string
	GoFiles         []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,Imports,GoFiles", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, module)
		all = append(all, p)
	}
}

// testSupport are packages that only tests import; they see every floor. guard is not
// among them: the product asks it, and only a build for the simulation can answer.
func testSupport(path string) bool {
	return strings.HasPrefix(path, "internal/") && path != "internal/guard" || path == "bucket/buckettest"
}

func TestImportsGoDown(t *testing.T) {
	for _, p := range packages(t) {
		if testSupport(p.ImportPath) {
			continue
		}
		floor, known := floors[p.ImportPath]
		if !known {
			t.Errorf("%s is on no floor: name it in internal/arch, and say in docs/decisions why there is a new room", p.ImportPath)
			continue
		}
		for _, imported := range p.Imports {
			path, ours := strings.CutPrefix(imported, module)
			if !ours {
				continue
			}
			switch to, known := floors[path]; {
			case testSupport(path):
				t.Errorf("%s imports %s, which only tests may", p.ImportPath, path)
			case !known:
				t.Errorf("%s imports %s, which is on no floor", p.ImportPath, path)
			case to >= floor && !slices.Contains(below[p.ImportPath], path):
				t.Errorf("%s (floor %d) imports %s (floor %d): an import goes down", p.ImportPath, floor, path, to)
			}
		}
	}
}

func TestOutsideModulesEnterByTheirDoor(t *testing.T) {
	for _, p := range packages(t) {
		if testSupport(p.ImportPath) {
			continue
		}
		for _, imported := range p.Imports {
			for outside, allowed := range doors {
				if strings.HasPrefix(imported, outside) && !slices.Contains(allowed, p.ImportPath) {
					t.Errorf("%s imports %s, whose door is %s", p.ImportPath, imported, strings.Join(allowed, ", "))
				}
			}
		}
	}
}

// The kernel half is Linux' alone, and the program is not: elsewhere it is built without the agent.
func TestWhatIsLinuxAlone(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", module+"cmd/coldframe")
	cmd.Env = append(os.Environ(), "GOOS=darwin", "GOARCH=arm64", "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for _, path := range strings.Fields(string(out)) {
		if path, ours := strings.CutPrefix(path, module); ours && (path == "agent" || path == "bpf") {
			t.Errorf("%s is linked on darwin, and does not compile there", path)
		}
	}
}

// Every package says what it is: a comment of at least two lines, in the file
// that carries the package's name or in doc.go.
func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range packages(t) {
		comment, err := packageComment(p)
		if err != nil {
			t.Error(err)
		} else if strings.Count(comment, "\n") < 2 && len(p.GoFiles) > 0 {
			t.Errorf("%s: the package comment %q is too short to say what it is, promises and refuses", p.ImportPath, comment)
		}
	}
}

func packageComment(p pkg) (string, error) {
	var comment strings.Builder
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			return "", fmt.Errorf("%s: %w", p.ImportPath, err)
		}
		comment.WriteString(f.Doc.Text())
	}
	return comment.String(), nil
}
