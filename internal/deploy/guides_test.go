package deploy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/internal/corpus"
)

// The guides, from which people copy.
var guides = []string{
	"README.md", "docs/quickstart.md", "docs/aws.md", "docs/gcp.md", "docs/operations.md", "docs/security.md", "docs/migration.md", "docs/cost.md",
	"terraform/aws/README.md", "terraform/gcp/README.md",
}

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

// commandBlock is a block of shell commands of a guide.
type commandBlock struct {
	line   int
	text   string
	notRun string // why it cannot be run here, as the guide says in a comment above it
}

var (
	fencePattern  = regexp.MustCompile("^ *```(\\w*)$")
	notRunPattern = regexp.MustCompile(`^ *<!-- not run: (.+) -->$`)
)

// notCommands are the languages of blocks that nobody types into a shell.
var notCommands = []string{"yaml", "hcl", "json"}

// commandBlocks are those that are fenced as a shell's, as nothing, or as a language that is not known.
func commandBlocks(text string) (blocks []commandBlock) {
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		fence := fencePattern.FindStringSubmatch(lines[i])
		if fence == nil {
			continue
		}
		b := commandBlock{line: i + 1}
		if i > 0 {
			if m := notRunPattern.FindStringSubmatch(lines[i-1]); m != nil {
				b.notRun = m[1]
			}
		}
		for i++; i < len(lines) && strings.TrimSpace(lines[i]) != "```"; i++ {
			b.text += lines[i] + "\n"
		}
		if !slices.Contains(notCommands, fence[1]) {
			blocks = append(blocks, b)
		}
	}
	return blocks
}

// Every block of commands in the guides is run, or says why it cannot be.
//
// They are run beside what the guides speak of: a bucket.yaml of a folder, a parca.yaml, a
// cpu.pb.gz, and coldframe dev, whose port takes the place of 7070.
func TestGuidesCommands(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs coldframe")
	}
	dir := t.TempDir()
	server := guideWorkspace(t, dir)
	ran := 0
	for _, guide := range guides {
		for _, b := range commandBlocks(read(t, guide)) {
			if b.notRun != "" {
				continue
			}
			cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", strings.ReplaceAll(b.text, "localhost:7070", server))
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "HOME="+dir, "GOCACHE="+goEnv(t, "GOCACHE"), "COLDFRAME_AGENT=off")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s:%d: %v\n%s%s", guide, b.line, err, b.text, out)
			}
			ran++
		}
	}
	if ran < 10 {
		t.Errorf("only %d blocks of commands were run: are they no longer found?", ran)
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// guideWorkspace fills a folder with what guides speak of, and returns the address of a
// server that has profiles of the names that they ask for.
func guideWorkspace(t *testing.T, dir string) (server string) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "coldframe")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "github.com/coldframe/coldframe/cmd/coldframe").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, text := range map[string]string{
		"coldframe":   "#!/bin/sh\nREAL=" + binary + "\n" + untilItListens,
		"bucket.yaml": "type: FILESYSTEM\nconfig: {directory: " + filepath.Join(dir, "bucket") + "}\n",
		"parca.yaml":  "scrape_configs: []\n",
		"cpu.pb.gz":   string(corpus.FiveMinutes()[0].Body),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	server = startDev(t, exec.CommandContext(context.WithoutCancel(t.Context()), binary, "dev", "--agent=off", "--http-address=127.0.0.1:0", "--data="+filepath.Join(t.TempDir(), "data")))
	for _, to := range []string{"--server=http://" + server, "--bucket-config=" + filepath.Join(dir, "bucket.yaml")} {
		out, err := exec.CommandContext(t.Context(), binary, "push", to, "--label=service_name=api", "--label=comm=api", filepath.Join(dir, "cpu.pb.gz")).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	eventually(t, "dev answers with its own profiles", func() error {
		body, err := fetch(t, "http://"+server+`/api/v1/pprof?query={job="coldframe"}&type=process_cpu&from=now-5m`)
		if err != nil {
			return err
		}
		p, err := pprof.ParseData(body)
		if err == nil && len(p.Sample) == 0 { // so it is answered while there is nothing at all
			err = errors.New("no sample yet")
		}
		return err
	})
	return server
}

// untilItListens runs coldframe. A role is told to stop when it listens, and must stop in peace.
const untilItListens = `
case " $* " in *" --preflight "* | *" --check-config "* | *" --help "*) exec "$REAL" "$@" ;; esac
case "$1" in
compact) exec "$REAL" "$@" --once ;;
dev | ingest | query) ;;
agent) "$REAL" agent --preflight >/dev/null || exit 0 ;; # not on this machine
*) exec "$REAL" "$@" ;;
esac
out=$(mktemp)
"$REAL" "$@" --http-address=127.0.0.1:0 >"$out" 2>&1 &
pid=$!
until grep -q -e msg=listening -e http://127.0.0.1: -e address=127.0.0.1: "$out"; do
	kill -0 $pid 2>/dev/null || { cat "$out"; exit 1; }
	sleep 0.1
done
kill -TERM $pid
wait $pid || { cat "$out"; exit 1; }
`

// startDev starts coldframe dev, which says where it listens, and has it killed at the end.
func startDev(t *testing.T, cmd *exec.Cmd) (address string) {
	t.Helper()
	said, says, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = says, says
	err = cmd.Start()
	_ = says.Close()
	if err != nil {
		t.Fatal(err)
	}
	listens, gone := make(chan string, 1), make(chan string, 1)
	go func() {
		var all bytes.Buffer
		chunk := make([]byte, 4096)
		for found := false; ; {
			n, err := said.Read(chunk)
			all.Write(chunk[:n])
			if m := listensPattern.FindSubmatch(all.Bytes()); m != nil && !found {
				found = true
				listens <- string(m[1])
			}
			if err != nil {
				gone <- all.String()
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	select {
	case address = <-listens:
	case all := <-gone:
		t.Fatal("dev has ended:\n", all)
	case <-time.After(5 * time.Minute):
		t.Fatal("dev does not say where it listens")
	}
	return address
}

var listensPattern = regexp.MustCompile(`http://(127\.0\.0\.1:[0-9]+)\b`)

func fetch(t *testing.T, url string) ([]byte, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status + ": " + string(body))
	}
	return body, err
}

// eventually tries until it is so, for some minutes: this machine may have much to do.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Since(began) > 5*time.Minute {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// A block of commands that is neither marked nor runs is a failure, whatever its fence is called.
func TestCommandBlocks(t *testing.T) {
	const text = "```sh\na\n```\n<!-- not run: far away -->\n```\nb\n```\n```yaml\nc: d\n```\n  ```console\n  e\n  ```\n<!-- not run: -->\n```bash\nf\n```\n"
	want := []commandBlock{{1, "a\n", ""}, {5, "b\n", "far away"}, {11, "  e\n", ""}, {15, "f\n", ""}}
	if got := commandBlocks(text); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
