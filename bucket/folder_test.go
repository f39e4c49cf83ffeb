package bucket_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coldframe/coldframe/bucket"
)

func folder(t testing.TB, dir string) bucket.Bucket {
	return open(t, []byte("type: FILESYSTEM\nconfig: {directory: "+dir+"}\n"))
}

// child starts this test binary as another process that does one job on the folder.
func child(t testing.TB, job, dir string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$", "-test.v")
	c.Env = append(os.Environ(), "BUCKET_TEST_JOB="+job, "BUCKET_TEST_DIR="+dir)
	return c
}

// TestChild is the other process.
func TestChild(t *testing.T) {
	dir := os.Getenv("BUCKET_TEST_DIR")
	switch os.Getenv("BUCKET_TEST_JOB") {
	case "":
		t.Skip("no test of its own")
	case "share":
		share(t, folder(t, dir))
	case "hang":
		hang(t, folder(t, dir))
	}
}

const (
	processes  = 3
	increments = 20
	claims     = 50
)

// share counts up a shared register, claims what no other process has claimed, and
// makes and deletes objects in folders that others are emptying.
func share(t *testing.T, b bucket.Bucket) {
	me := fmt.Sprint(os.Getpid())
	for i := range increments {
		for {
			count, old, err := b.Get(t.Context(), "v1/register")
			if err != nil && !errors.Is(err, bucket.ErrNotExist) {
				t.Fatal(err)
			}
			_, err = b.Replace(t.Context(), "v1/register", fmt.Appendf(count, "%s %d\n", me, i), old)
			if err == nil {
				break
			}
			if !errors.Is(err, bucket.ErrConflict) {
				t.Fatal(err)
			}
		}
	}
	for i := range claims {
		err := b.Create(t.Context(), fmt.Sprintf("v1/claims/%d", i), strings.NewReader(me), int64(len(me)))
		if err == nil {
			fmt.Println("claimed", i)
		} else if !errors.Is(err, bucket.ErrExist) {
			t.Fatal(err)
		}
	}
	for range claims {
		key := "v1/deep/down/below/" + me
		if err := b.Create(t.Context(), key, strings.NewReader("x"), 1); err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.Get(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if err := b.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFolderOfManyProcesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	outputs := make([]strings.Builder, processes)
	children := make([]*exec.Cmd, processes)
	for i := range children {
		children[i] = child(t, "share", dir)
		children[i].Stdout, children[i].Stderr = &outputs[i], &outputs[i]
		if err := children[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	claimed := map[string]int{}
	for i, c := range children {
		if err := c.Wait(); err != nil {
			t.Fatalf("%v\n%s", err, &outputs[i])
		}
		for line := range strings.Lines(outputs[i].String()) {
			if claim, ok := strings.CutPrefix(line, "claimed "); ok {
				claimed[strings.TrimSpace(claim)]++
			}
		}
	}
	b := folder(t, dir)
	count, _, err := b.Get(t.Context(), "v1/register")
	if lines := strings.Count(string(count), "\n"); err != nil || lines != processes*increments {
		t.Errorf("the register counts %d, %v; want %d", lines, err, processes*increments)
	}
	for claim, n := range claimed {
		if n != 1 {
			t.Errorf("%d processes claimed %s", n, claim)
		}
	}
	if len(claimed) != claims {
		t.Errorf("%d of %d were claimed", len(claimed), claims)
	}
	if _, err := os.Stat(filepath.Join(dir, "v1/deep")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an emptied folder is still there: %v", err)
	}
	if left := temporary(t, dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func temporary(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, ".tmp"))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// hang writes half an object and waits to be killed.
func hang(t *testing.T, b bucket.Bucket) {
	half := strings.NewReader(strings.Repeat("x", 1<<20))
	rest := reader(func([]byte) (int, error) {
		fmt.Println("half")
		select {}
	})
	_ = b.Create(t.Context(), "v1/k", io.MultiReader(half, rest), 2<<20)
}

type reader func([]byte) (int, error)

func (f reader) Read(p []byte) (int, error) { return f(p) }

// A process that is killed in the middle of a write leaves no object and no lock, and a
// temporary file that the next process removes, but not while its writer lives.
func TestFolderAfterCrash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := child(t, "hang", dir)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for said := make([]byte, 100); ; {
		n, err := out.Read(said)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(said[:n]), "half") {
			break
		}
	}
	hourAgo := time.Now().Add(-time.Hour)
	for _, name := range temporary(t, dir) {
		if err := os.Chtimes(filepath.Join(dir, ".tmp", name), hourAgo, hourAgo); err != nil {
			t.Fatal(err)
		}
	}
	folder(t, dir)
	if left := temporary(t, dir); len(left) != 1 {
		t.Errorf("of a living writer there is %v, want one file", left)
	}

	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	b := folder(t, dir)
	if left := temporary(t, dir); len(left) != 0 {
		t.Errorf("of a dead writer there is %v", left)
	}
	for o, err := range b.List(t.Context(), "") {
		t.Errorf("listed %v, %v", o, err)
	}
	if err := b.Create(t.Context(), "v1/k", strings.NewReader("x"), 1); err != nil {
		t.Error(err)
	}
}

// A full disk fails a write with its own name and leaves what was there.
func TestFolderOnFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("mount a small file system: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	b := folder(t, dir)
	old, err := b.Replace(t.Context(), "v1/k", []byte("old"), "")
	if err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("x", 1<<20)
	_, replace := b.Replace(t.Context(), "v1/k", []byte(large), old)
	for op, err := range map[string]error{
		"replace": replace,
		"create":  b.Create(t.Context(), "v1/new", strings.NewReader(large), int64(len(large))),
		"put":     b.Put(t.Context(), "v1/k", []byte(large)),
	} {
		if !errors.Is(err, syscall.ENOSPC) || known(err) || !strings.HasPrefix(err.Error(), op+" file://"+dir+"/v1/") {
			t.Errorf("%s: %v", op, err)
		}
	}
	for o, err := range b.List(t.Context(), "") {
		if o.Key != "v1/k" || o.Size != 3 || err != nil {
			t.Errorf("listed %v, %v", o, err)
		}
	}
	if left := temporary(t, dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := b.Replace(t.Context(), "v1/k", []byte("new"), old); err != nil {
		t.Errorf("a small write to the same disk: %v", err)
	}
}

// An object may not lie below another, nor where the folder keeps its own files; what
// is not an object is not shown as one.
func TestFolderKeepsToItself(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := folder(t, dir)
	put := func(key string) error { return b.Put(t.Context(), key, []byte("x")) }
	create := func(key string) error { return b.Create(t.Context(), key, strings.NewReader("x"), 1) }
	if err := put("a/b"); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "a/b/c", ".tmp/x", ".locks/00", strings.Repeat("n", 300)} {
		for op, err := range map[string]error{"put": put(key), "create": create(key)} {
			if err == nil || known(err) {
				t.Errorf("%s %.20s: %v", op, key, err)
			}
		}
	}
	for _, name := range []string{"outside", "inside"} {
		if err := os.Symlink(map[string]string{"outside": "/etc", "inside": "a/b"}[name], filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	for o, err := range b.List(t.Context(), "") {
		if o.Key != "a/b" || err != nil {
			t.Errorf("listed %v, %v", o, err)
		}
	}
	for name, err := range b.ListFolders(t.Context(), "") {
		if name != "a" || err != nil {
			t.Errorf("folder %s, %v", name, err)
		}
	}
}

// Who may not, learns that.
func TestFolderDenied(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := folder(t, dir)
	if err := b.Put(t.Context(), "closed/k", []byte("x")); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]fs.FileMode{"closed/k": 0o000, ".tmp": 0o555, ".locks": 0o555, ".": 0o555} {
		if err := os.Chmod(filepath.Join(dir, path), mode); err != nil {
			t.Fatal(err)
		}
	}
	defer func() { _ = os.Chmod(dir, 0o755) }()
	if os.Geteuid() == 0 {
		// This thread is no longer root where files are concerned, and is not used again.
		runtime.LockOSThread()
		if err := syscall.Setfsuid(65534); err != nil {
			t.Skipf("become nobody: %v", err)
		}
		defer func() { _ = syscall.Setfsuid(0) }()
	}
	_, _, get := b.Get(t.Context(), "closed/k")
	_, replace := b.Replace(t.Context(), "k", nil, "")
	for op, err := range map[string]error{
		"get": get, "replace": replace, "put": b.Put(t.Context(), "k", nil),
		"create": b.Create(t.Context(), "k", strings.NewReader(""), 0), "delete": b.Delete(t.Context(), "closed/k"),
	} {
		if !errors.Is(err, bucket.ErrDenied) {
			t.Errorf("%s: %v", op, err)
		}
	}
}
