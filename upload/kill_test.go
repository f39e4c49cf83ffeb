package upload_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coldframe/coldframe/block/pprofblock"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/upload"
)

// childEnv makes the test binary an uploader: its value is a folder, and the number
// from which its profiles count.
const childEnv = "COLDFRAME_TEST_UPLOADER"

func TestMain(m *testing.M) {
	if s := os.Getenv(childEnv); s != "" {
		if err := uploadUntilKilled(s); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func folder(dir string) (bucket.Bucket, error) {
	config := fmt.Sprintf("type: FILESYSTEM\nconfig:\n  directory: %s\n", filepath.Join(dir, "bucket"))
	return bucket.Open(context.Background(), []byte(config))
}

// shaky is a bucket that fails half of the time, in every way.
type shaky struct{ bucket.Bucket }

func (s shaky) Create(ctx context.Context, key string, r io.Reader, size int64) error {
	time.Sleep(rand.N(10 * time.Millisecond))
	switch rand.N(10) {
	case 0, 1:
		return errDial
	case 2:
		return errDenied
	case 3, 4:
		return errUnknown
	case 5:
		if err := s.Bucket.Create(ctx, key, r, size); err != nil && !errors.Is(err, bucket.ErrExist) {
			return err
		}
		time.Sleep(rand.N(10 * time.Millisecond))
		return errReset
	}
	return s.Bucket.Create(ctx, key, r, size)
}

// uploadUntilKilled pushes and adds profiles and says which pushes are acknowledged.
func uploadUntilKilled(env string) error {
	dir, first, _ := strings.Cut(env, "?")
	n, err := strconv.Atoi(first)
	if err != nil {
		return err
	}
	b, err := folder(dir)
	if err != nil {
		return err
	}
	u, err := upload.New(shaky{b}, upload.Config{
		Agent: "child", SpoolDir: filepath.Join(dir, "spool"),
		Window: 20 * time.Millisecond, PushDelay: 5 * time.Millisecond, PushTimeout: 300 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	var t testing.T // for numbered, which does not fail
	var mu sync.Mutex
	next := func() int {
		mu.Lock()
		defer mu.Unlock()
		n++
		return n
	}
	for range 4 {
		go func() {
			for {
				if i := next(); u.Push(context.Background(), "acme", numbered(&t, i)) == nil {
					fmt.Println(i)
				}
			}
		}()
	}
	for {
		if err := u.Add(context.Background(), "acme", numbered(&t, next())); err != nil {
			return err
		}
		time.Sleep(rand.N(5 * time.Millisecond))
	}
}

// Killed at any moment, over and over: what was acknowledged is in the bucket, and so
// is in the end what had reached the spool; nothing is there twice.
func TestKilled(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	dir := t.TempDir()
	b, err := folder(dir)
	if err != nil {
		t.Fatal(err)
	}
	var acknowledged []int
	for round := range rounds {
		acknowledged = append(acknowledged, killedUploader(t, dir, round*1_000_000)...)
	}
	spooled := inSpool(t, filepath.Join(dir, "spool"))

	u := open(t, b, upload.Config{Agent: "last", SpoolDir: filepath.Join(dir, "spool")})
	for deadline := time.Now().Add(time.Minute); u.Backlog().SpoolBlocks > 0 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	closeNow(t, u)

	counts := numbers(t, b)
	for n, count := range counts {
		if count != 1 {
			t.Errorf("profile %d is there %d times", n, count)
		}
	}
	for _, n := range acknowledged {
		if counts[n] == 0 {
			t.Errorf("profile %d was acknowledged and is not there", n)
		}
	}
	for _, n := range spooled {
		if counts[n] == 0 {
			t.Errorf("profile %d was in the spool and is not there", n)
		}
	}
	t.Logf("%d profiles are there, %d of them acknowledged, %d out of the spool at the end", len(counts), len(acknowledged), len(spooled))
	if len(acknowledged) < rounds || len(spooled) == 0 {
		t.Errorf("%d acknowledged and %d spooled say little", len(acknowledged), len(spooled))
	}
}

// killedUploader runs an uploader for a while, kills it, and returns what it acknowledged.
func killedUploader(t *testing.T, dir string, first int) (acknowledged []int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s?%d", childEnv, dir, first))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		if acknowledged = append(acknowledged, n); len(acknowledged) == 1 {
			time.AfterFunc(rand.N(200*time.Millisecond), func() { _ = cmd.Process.Kill() })
		}
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Exited() {
		t.Fatalf("the uploader ended by itself: %v", err)
	}
	return acknowledged
}

// inSpool lists the profiles in a spool's files.
func inSpool(t *testing.T, dir string) (found []int) {
	t.Helper()
	for _, name := range files(t, dir) {
		if strings.HasPrefix(name, ".tmp-") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		r, err := pprofblock.Open(data, pprofblock.Limits{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, e := range r.Manifest().Profiles {
			n, err := strconv.Atoi(e.Labels.Get("n"))
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, n)
		}
	}
	return found
}
