package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The guides. Their commands change clusters and accounts, so that they are not run here; what
// they call is tested elsewhere: manifests, modules, units and flags in this package, the
// functions in cmd/coldframe-lambda, make's targets by a release.
var guides = []string{"docs/quickstart.md", "docs/aws.md", "docs/gcp.md", "docs/security.md", "docs/migration.md", "docs/cost.md", "terraform/aws/README.md", "terraform/gcp/README.md"}

// What the guides refer to is there: files, make's targets, coldframe's commands.
func TestGuides(t *testing.T) {
	makefile := read(t, "Makefile")
	commands := goSources(t, "cmd/coldframe")
	for _, guide := range guides {
		text := read(t, guide)
		for _, m := range regexp.MustCompile(`\]\(([^)#:]+)(#[a-z-]+)?\)`).FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(guide), m[1])); err != nil {
				t.Errorf("%s: %v", guide, err)
			}
		}
		for _, m := range regexp.MustCompile("(?m)(?:^ *|`)make ([a-z-]+)").FindAllStringSubmatch(text, -1) {
			if !strings.Contains(makefile, "\n"+m[1]+":") {
				t.Errorf("%s: there is no make %s", guide, m[1])
			}
		}
		for _, m := range regexp.MustCompile("(?m)(?:^ *|`)(?:\\./)?coldframe ([a-z]+)").FindAllStringSubmatch(text, -1) {
			if !strings.Contains(strings.ToLower(commands), m[1]+"cmd") {
				t.Errorf("%s: there is no command coldframe %s", guide, m[1])
			}
		}
	}
}
