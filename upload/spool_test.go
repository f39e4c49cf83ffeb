package upload_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/upload"
)

// files lists a spool's files, but for the lock.
func files(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != ".lock" {
			names = append(names, e.Name())
		}
	}
	return names
}

// outage spools n blocks, one profile each, under a bucket that answers so, and leaves
// them there after each was tried.
func outage(t *testing.T, dir string, n int, answer any) []try {
	t.Helper()
	l := &log{}
	b := &scripted{Bucket: bucket.Mem(), create: func(n int) (bool, error) { return answers(answer)(0) }}
	u := open(t, b, upload.Config{Agent: "a", SpoolDir: dir, Observer: l.observer()})
	for i := range n {
		add(t, u, numbered(t, i))
		time.Sleep(time.Minute)
	}
	time.Sleep(5 * time.Minute)
	closeNow(t, u)
	if got := len(files(t, dir)); got != n || len(l.spool)+len(l.lost) > 0 {
		t.Fatalf("%d files in the spool, want %d; failures %v, lost %v", got, n, l.spool, l.lost)
	}
	if got := u.Backlog(); got.SpoolBlocks != n || got.SpoolBytes == 0 || got.MemoryBytes != 0 {
		t.Errorf("backlog %+v", got)
	}
	return b.seen()
}

// While the bucket is away blocks go to disk, and from there into the bucket when it is back.
func TestSpoolOutlivesAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		mem := bucket.Mem()
		b, back := away(mem, errDial)
		l := &log{}
		u := open(t, b, upload.Config{Agent: "a", SpoolDir: dir, Observer: l.observer()})
		for i := range 60 {
			add(t, u, numbered(t, i))
			time.Sleep(time.Minute)
		}
		if got := u.Backlog(); got.SpoolBlocks < 59 || got.MemoryBytes > 10<<10 {
			t.Errorf("after an hour: %+v", got)
		}
		back()
		time.Sleep(3 * time.Minute)
		if got := u.Backlog(); got != (upload.Backlog{}) || len(files(t, dir)) > 0 {
			t.Errorf("after the outage: %+v, files %v", got, files(t, dir))
		}
		closeNow(t, u)
		wantNumbers(t, mem, upTo(60))
		if len(l.lost)+len(l.spool) > 0 {
			t.Errorf("lost %v, failures %v", l.lost, l.spool)
		}
	})
}

// Once the bucket is known to be away, a block goes to disk before it is tried, so that
// a crash does not take it.
func TestBlocksOfAnOutageDoNotWaitInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		b := &scripted{Bucket: bucket.Mem(), create: func(int) (bool, error) { return false, errUnknown }}
		u := open(t, b, upload.Config{Agent: "a", SpoolDir: dir, Window: time.Second})
		add(t, u, numbered(t, 0))
		time.Sleep(5 * time.Minute) // the pauses are long now
		tries := len(b.seen())
		for len(b.seen()) == tries {
			time.Sleep(time.Second)
		}
		tries++ // one has just failed
		add(t, u, numbered(t, 1))
		time.Sleep(2 * time.Second)
		if got := u.Backlog(); got.MemoryBytes != 0 || got.SpoolBlocks != 2 || len(b.seen()) != tries {
			t.Errorf("backlog %+v, %d tries", got, len(b.seen())-tries)
		}
		closeNow(t, u)
	})
}

// After a restart the same key and bytes are tried, if a try may have landed: whether
// or not it has, the profiles are there once.
func TestRestartKeepsKeyAndBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		before := outage(t, dir, 1, errUnknown)
		mem := bucket.Mem()
		b := &scripted{Bucket: mem, create: answers(landed{errUnknown})}
		u := open(t, b, upload.Config{Agent: "another", SpoolDir: dir})
		time.Sleep(10 * time.Minute)
		closeNow(t, u)
		wantNumbers(t, mem, upTo(1))
		after := b.seen()
		if len(after) != 2 {
			t.Fatalf("%d tries", len(after))
		}
		for _, try := range after {
			if try.key != before[0].key || try.data != before[0].data {
				t.Errorf("another key or other bytes: %s, before %s", try.key, before[0].key)
			}
		}
	})
}

// What was never tried, or refused for certain, takes a fresh minute after a restart,
// however long that took.
func TestRestartTakesAFreshMinute(t *testing.T) {
	for name, answer := range map[string]error{"dial": errDial, "denied": errDenied} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				before := outage(t, dir, 3, answer)
				time.Sleep(24 * time.Hour)
				mem := bucket.Mem()
				b := &scripted{Bucket: mem, create: answers()}
				u := open(t, b, upload.Config{Agent: "a", SpoolDir: dir})
				synctest.Wait()
				closeNow(t, u)
				wantNumbers(t, mem, upTo(3))
				for _, now := range b.seen() {
					same := func(earlier try) bool { return earlier.data == now.data }
					if !minuteOf(t, now.key).Equal(now.at.Truncate(time.Minute)) || !slices.ContainsFunc(before, same) {
						t.Errorf("%s at %v", now.key, now.at)
					}
				}
			})
		})
	}
}

// A block that may have landed is given up 30 minutes after its minute, restarts or not.
func TestRestartTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		outage(t, dir, 2, errUnknown)
		time.Sleep(31 * time.Minute)
		b := &scripted{Bucket: bucket.Mem(), create: answers()}
		l := &log{}
		u := open(t, b, upload.Config{Agent: "a", SpoolDir: dir, Observer: l.observer()})
		time.Sleep(time.Minute)
		closeNow(t, u)
		l.wantLost(t, upload.Expired, 2)
		if len(b.seen()) > 0 || len(files(t, dir)) > 0 {
			t.Errorf("%d tries, files %v", len(b.seen()), files(t, dir))
		}
	})
}

// Damaged files are set aside and told of; the others go their way.
func TestDamagedSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		outage(t, dir, 6, errUnknown)
		names := files(t, dir)
		path := func(i int) string { return filepath.Join(dir, names[i]) }
		data, err := os.ReadFile(path(0))
		if err != nil {
			t.Fatal(err)
		}
		flipped := append([]byte(nil), data...)
		flipped[len(flipped)/2] ^= 4
		foreign := filepath.Join(dir, "README.txt")
		for _, err := range []error{
			os.WriteFile(path(0), flipped, 0o600),
			os.WriteFile(path(1), []byte("x"), 0o600),
			os.WriteFile(path(2), data[:len(data)-1], 0o600),
			os.WriteFile(path(3), data, 0o600), // the block of another name
			os.WriteFile(foreign, []byte("hello"), 0o600),
			os.WriteFile(filepath.Join(dir, ".tmp-123"), data, 0o600), // of a crash
			os.Mkdir(filepath.Join(dir, strings.Replace(names[5], "tied!", "free!", 1)), 0o700),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		mem := bucket.Mem()
		l := &log{}
		u := open(t, mem, upload.Config{Agent: "a", SpoolDir: dir, Observer: l.observer()})
		time.Sleep(time.Minute)
		wantNumbers(t, mem, map[int]int{4: 1, 5: 1})
		l.wantLost(t, upload.SpoolCorrupt, 4)
		closeNow(t, u)
		if len(l.spool) != 2 {
			t.Errorf("told of what is not ours: %v", l.spool)
		}
		aside := 0
		for _, name := range files(t, dir) {
			if strings.HasPrefix(name, "corrupt!") {
				aside++
			}
		}
		if left := len(files(t, dir)); aside != 4 || left != 6 {
			t.Errorf("%d set aside of %d files, want 4 of 6", aside, left)
		}
	})
}

// The oldest blocks make room for new ones; damaged files go first.
func TestFullSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		outage(t, dir, 4, errDial)
		names := files(t, dir)
		info, err := os.Stat(filepath.Join(dir, names[0]))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, names[0]), make([]byte, info.Size()), 0o600); err != nil {
			t.Fatal(err)
		}
		limit := 5*info.Size() + 100
		mem := bucket.Mem()
		b, back := away(mem, errDial)
		l := &log{}
		u := open(t, b, upload.Config{Agent: "a", SpoolDir: dir, SpoolBytes: limit, Observer: l.observer()})
		for i := 4; i < 20; i++ {
			add(t, u, numbered(t, i))
			time.Sleep(time.Minute)
			var bytes int64
			for _, name := range files(t, dir) {
				if info, err := os.Stat(filepath.Join(dir, name)); err == nil {
					bytes += info.Size()
				}
			}
			if got := u.Backlog(); got.SpoolBytes > limit || bytes != got.SpoolBytes {
				t.Fatalf("%d bytes in the spool, %d accounted, %d allowed", bytes, got.SpoolBytes, limit)
			}
		}
		back()
		time.Sleep(5 * time.Minute)
		closeNow(t, u)
		if len(files(t, dir)) > 0 {
			t.Errorf("left: %v", files(t, dir))
		}
		got := numbers(t, mem)
		for i := range 20 {
			want := 0
			if i >= 15 {
				want = 1
			}
			if got[i] != want {
				t.Errorf("profile %d is there %d times, want %d", i, got[i], want)
			}
		}
		full := 0
		for _, loss := range l.lost {
			if loss.Reason == upload.SpoolFull {
				full++
			} else if loss.Reason != upload.SpoolCorrupt {
				t.Errorf("lost: %+v", loss)
			}
		}
		if full != 14 {
			t.Errorf("%d lost to make room", full)
		}
	})
}

// When the disk is full blocks wait in memory.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("coldframe-test", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("mount of a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		mem := bucket.Mem()
		b, back := away(mem, errDial)
		l := &log{}
		u := open(t, b, upload.Config{Agent: "a", SpoolDir: dir, Observer: l.observer()})
		for i := range 100 {
			add(t, u, numbered(t, i))
			time.Sleep(time.Minute)
		}
		if got := u.Backlog(); got.SpoolBlocks == 0 || got.MemoryBytes == 0 {
			t.Errorf("backlog %+v", got)
		}
		back()
		time.Sleep(5 * time.Minute)
		closeNow(t, u)
		if len(l.spool) == 0 || !errors.Is(l.spool[0], syscall.ENOSPC) {
			t.Errorf("told of the disk: %v", l.spool)
		}
		l.wantLost(t, "", 0)
		wantNumbers(t, mem, upTo(100))
		if left := files(t, dir); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
}

// Close does not wait for a bucket that is away: the spool has it all.
func TestCloseIntoTheSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		u := open(t, stuckFor(bucket.Mem(), 100), upload.Config{Agent: "a", SpoolDir: dir})
		add(t, u, numbered(t, 0))
		if err := u.Add(t.Context(), "other", numbered(t, 1)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := u.Close(ctx); err != nil {
			t.Error(err)
		}
		if names := files(t, dir); len(names) != 2 {
			t.Errorf("files %v", names)
		}
		mem := bucket.Mem()
		u = open(t, mem, upload.Config{Agent: "a", SpoolDir: dir})
		synctest.Wait()
		closeNow(t, u)
		wantNumbers(t, mem, upTo(2))
	})
}

// A spool belongs to one process, whose end sets it free.
func TestSpoolIsOfOneProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		u := open(t, bucket.Mem(), upload.Config{SpoolDir: dir})
		if _, err := upload.New(bucket.Mem(), upload.Config{SpoolDir: dir}); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("a second: %v", err)
		}
		closeNow(t, u)
		closeNow(t, open(t, bucket.Mem(), upload.Config{SpoolDir: dir}))
	})
	if _, err := upload.New(bucket.Mem(), upload.Config{SpoolDir: "/proc/nowhere"}); err == nil {
		t.Error("a folder that cannot be made")
	}
}

// A spooled block is a block: people can open the file.
func TestSpooledFileIsABlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		tries := outage(t, dir, 1, errUnknown)
		name := files(t, dir)[0]
		if want := "tied!1!" + strings.ReplaceAll(tries[0].key, "/", "!"); name != want {
			t.Errorf("got %s, want %s", name, want)
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(data) != tries[0].data {
			t.Errorf("%d bytes, %v", len(data), err)
		}
		if _, err := block.ParseL0Key(tries[0].key); err != nil {
			t.Error(err)
		}
	})
}
