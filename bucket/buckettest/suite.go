package buckettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/coldframe/coldframe/bucket"
)

// Suite tests that a bucket keeps what [bucket.Bucket] promises. Every call of open
// returns a handle on the same storage, which is empty at first.
func Suite(t *testing.T, open func(t testing.TB) bucket.Bucket) {
	tests := []struct {
		name string
		test func(t *testing.T, b *handle)
	}{
		{"create", testCreate},
		{"create is whole or not at all", testTornCreate},
		{"replace", testReplace},
		{"put", testPut},
		{"get", testGet},
		{"ranges", testRanges},
		{"stat", testStat},
		{"list", testList},
		{"list pages", testListPages},
		{"folders", testFolders},
		{"delete", testDelete},
		{"odd keys", testOddKeys},
		{"refused keys", testRefusedKeys},
		{"large objects", testLarge},
		{"one of many creates wins", testCreateRace},
		{"one of many replaces wins", testReplaceRace},
		{"no update is lost", testCounter},
		{"readers see whole objects", testReadDuringWrite},
		{"ended context", testEnded},
		{"clock", testClock},
		{"account", testAccount},
		{"probe", testProbe},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.test(t, &handle{Bucket: open(t), t: t, below: fmt.Sprintf("v1/t%02d/", i)})
		})
	}
	t.Run("two handles", func(t *testing.T) {
		const below = "v1/handles/"
		testTwoHandles(t, &handle{open(t), t, below}, &handle{open(t), t, below})
	})
}

// A handle is a bucket in a test, which fails when what should succeed does not.
type handle struct {
	bucket.Bucket
	t     testing.TB
	below string // the test's own prefix of keys
}

func (b *handle) create(key, content string) {
	b.t.Helper()
	if err := b.Create(b.t.Context(), b.below+key, strings.NewReader(content), int64(len(content))); err != nil {
		b.t.Fatal(err)
	}
}

func (b *handle) get(key string) (string, bucket.Version) {
	b.t.Helper()
	data, v, err := b.Get(b.t.Context(), b.below+key)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(data), v
}

func (b *handle) holds(key, want string) {
	b.t.Helper()
	if got, _ := b.get(key); got != want {
		b.t.Errorf("%s holds %.100q, want %.100q", key, got, want)
	}
}

func (b *handle) absent(key string) {
	b.t.Helper()
	if data, _, err := b.Get(b.t.Context(), b.below+key); !errors.Is(err, bucket.ErrNotExist) {
		b.t.Errorf("get %s = %.100q, %v; want ErrNotExist", key, data, err)
	}
}

// list returns the keys below the test's prefix and prefix, without the former.
func (b *handle) list(prefix string) []string {
	b.t.Helper()
	keys := []string{}
	for o, err := range b.List(b.t.Context(), b.below+prefix) {
		if err != nil {
			b.t.Fatal(err)
		}
		keys = append(keys, strings.TrimPrefix(o.Key, b.below))
	}
	return keys
}

func (b *handle) folders(prefix string) []string {
	b.t.Helper()
	names := []string{}
	for name, err := range b.ListFolders(b.t.Context(), b.below+prefix) {
		if err != nil {
			b.t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

// want fails the test if err is not, or if want is nil is an error.
func (b *handle) want(err, want error, format string, args ...any) {
	b.t.Helper()
	if !errors.Is(err, want) {
		b.t.Errorf("%s: got error %v, want %v", fmt.Sprintf(format, args...), err, want)
	}
}

func testCreate(t *testing.T, b *handle) {
	b.create("new", "first")
	b.want(b.Create(t.Context(), b.below+"new", strings.NewReader("second"), 6), bucket.ErrExist, "create again")
	b.holds("new", "first")

	b.create("empty", "")
	b.holds("empty", "")
	b.want(b.Create(t.Context(), b.below+"empty", strings.NewReader(""), 0), bucket.ErrExist, "create empty again")

	b.want(b.Create(t.Context(), b.below+"stream", io.MultiReader(strings.NewReader("str"), strings.NewReader("eam")), 6), nil, "create from a stream")
	b.holds("stream", "stream")

	middle := strings.NewReader("0123456789")
	if _, err := middle.Seek(3, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	b.want(b.Create(t.Context(), b.below+"middle", middle, 4), nil, "create from the middle")
	b.holds("middle", "3456")
}

func testTornCreate(t *testing.T, b *handle) {
	broken := errors.New("broken")
	half := strings.Repeat("half", 64<<10)
	size := int64(2 * len(half))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	tests := []struct {
		name string
		ctx  context.Context
		r    io.Reader
		size int64
		want error
	}{
		{"reader fails", t.Context(), io.MultiReader(strings.NewReader(half), iotest.ErrReader(broken)), size, broken},
		{"stream ends early", t.Context(), io.MultiReader(strings.NewReader(half)), size, io.ErrUnexpectedEOF},
		{"file ends early", t.Context(), strings.NewReader(half), size, io.ErrUnexpectedEOF},
		{"context ends", ctx, io.MultiReader(strings.NewReader(half), readerFunc(func(p []byte) (int, error) {
			cancel()
			return len(p), nil
		})), size, context.Canceled},
	}
	for _, tt := range tests {
		b.want(b.Create(tt.ctx, b.below+"torn", tt.r, tt.size), tt.want, "%s", tt.name)
		b.absent("torn")
	}
	if err := b.Create(t.Context(), b.below+"torn", strings.NewReader(""), -1); err == nil {
		t.Error("create of -1 bytes succeeded")
	}
	if got := b.list(""); len(got) != 0 {
		t.Errorf("left behind: %q", got)
	}
	b.create("torn", "whole")
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func testReplace(t *testing.T, b *handle) {
	replace := func(content string, old bucket.Version) (bucket.Version, error) {
		return b.Replace(t.Context(), b.below+"register", []byte(content), old)
	}
	_, err := replace("never", "")
	b.want(err, nil, "replace nothing")
	_, err = replace("never", "")
	b.want(err, bucket.ErrConflict, "replace nothing where there is something")
	_, first := b.get("register")

	second, err := replace("2", first)
	b.want(err, nil, "replace")
	if _, now := b.get("register"); now != second || second == first || second == "" {
		t.Errorf("Get says version %q, Replace said %q after %q", now, second, first)
	}
	third, err := replace("3", second)
	b.want(err, nil, "replace without a Get between")
	for _, stale := range []bucket.Version{first, second, ""} {
		v, err := replace("stale", stale)
		b.want(err, bucket.ErrConflict, "replace version %q", stale)
		if v != "" {
			t.Errorf("refused Replace returns version %q", v)
		}
	}
	b.holds("register", "3")

	b.want(b.Delete(t.Context(), b.below+"register"), nil, "delete")
	_, err = replace("ghost", third)
	b.want(err, bucket.ErrConflict, "replace what was deleted")
	b.absent("register")
}

func testPut(t *testing.T, b *handle) {
	b.want(b.Put(t.Context(), b.below+"k", []byte("1")), nil, "put")
	b.holds("k", "1")
	_, v := b.get("k")
	b.want(b.Put(t.Context(), b.below+"k", []byte("22")), nil, "put over")
	b.holds("k", "22")
	_, err := b.Replace(t.Context(), b.below+"k", []byte("3"), v)
	b.want(err, bucket.ErrConflict, "replace what was put over")
	b.want(b.Put(t.Context(), b.below+"k", nil), nil, "put nothing")
	b.holds("k", "")
	b.want(b.Create(t.Context(), b.below+"k", strings.NewReader(""), 0), bucket.ErrExist, "create what was put")
}

func testGet(t *testing.T, b *handle) {
	b.absent("nothing")
	b.absent("deep/below/nothing")
	b.create("a/b", "x")
	b.absent("a")
	b.absent("a/b/c")
	data, _ := b.get("a/b")
	same, _ := b.get("a/b")
	if data != "x" || same != "x" {
		t.Errorf("got %q, then %q", data, same)
	}
}

func testRanges(t *testing.T, b *handle) {
	const content = "0123456789"
	b.create("ten", content)
	b.create("empty", "")
	tests := []struct {
		key    string
		off, n int64
		want   string
		fails  bool
	}{
		{"ten", 0, 10, content, false},
		{"ten", 0, 1, "0", false},
		{"ten", 3, 4, "3456", false},
		{"ten", 9, 1, "9", false},
		{"ten", 0, 0, "", false},
		{"ten", 10, 0, "", false},
		{"ten", -1, 1, "9", false},
		{"ten", -4, 4, "6789", false},
		{"ten", -10, 10, content, false},
		{"ten", -4, 2, "67", false},
		{"ten", -11, 11, content, false},
		{"ten", -1 << 40, 1 << 40, content, false},
		{"empty", -5, 5, "", false},
		{"empty", 0, 0, "", false},
		{"ten", 0, 11, "", true},
		{"ten", 9, 2, "", true},
		{"ten", 10, 1, "", true},
		{"ten", 11, 0, "", true},
		{"ten", 1 << 40, 1, "", true},
		{"ten", 1<<63 - 1, 1, "", true},
		{"ten", 0, 1<<63 - 1, "", true},
		{"ten", -4, 5, "", true},
		{"ten", -11, 3, "", true},
		{"ten", 0, -1, "", true},
		{"empty", 0, 1, "", true},
	}
	for _, tt := range tests {
		got, err := b.GetRange(t.Context(), b.below+tt.key, tt.off, tt.n)
		if string(got) != tt.want || (err != nil) != tt.fails {
			t.Errorf("GetRange(%s, %d, %d) = %q, %v; want %q", tt.key, tt.off, tt.n, got, err, tt.want)
		}
	}
	for _, s := range [][2]int64{{0, 1}, {0, 0}, {-3, 3}} {
		_, err := b.GetRange(t.Context(), b.below+"nothing", s[0], s[1])
		b.want(err, bucket.ErrNotExist, "range %v of nothing", s)
	}
}

func testStat(t *testing.T, b *handle) {
	before, err := b.Now(t.Context())
	b.want(err, nil, "now")
	b.create("k", "12345")
	o, err := b.Stat(t.Context(), b.below+"k")
	b.want(err, nil, "stat")
	if o.Key != b.below+"k" || o.Size != 5 {
		t.Errorf("stat = %+v", o)
	}
	// Servers tell whole seconds, of different clocks for dates and for objects.
	if age := o.Modified.Sub(before); age < -3*time.Second || age > time.Minute {
		t.Errorf("modified %v, which is %v after the time before", o.Modified, age)
	}
	_, err = b.Stat(t.Context(), b.below+"nothing")
	b.want(err, bucket.ErrNotExist, "stat nothing")
	_, err = b.Stat(t.Context(), strings.TrimSuffix(b.below, "/"))
	b.want(err, bucket.ErrNotExist, "stat a folder")
}

func testList(t *testing.T, b *handle) {
	// '-' and '.' sort before '/', and '0' behind it: a folder's objects are not next to
	// the folder's name.
	keys := []string{"a-b/1", "a-b/2", "a.b", "a/1", "a/b/1", "a/b/2", "a/b0", "a0", "b", "ä/1", "日"}
	for _, i := range rand.Perm(len(keys)) {
		b.create(keys[i], strings.Repeat("x", i))
	}
	tests := []struct {
		prefix string
		want   []string
	}{
		{"", keys},
		{"a", keys[:8]},
		{"a/", keys[3:7]},
		{"a/b", keys[4:7]},
		{"a/b/", keys[4:6]},
		{"a-", keys[:2]},
		{"a/b/2", keys[5:6]},
		{"ä/", keys[9:10]},
		{"c", []string{}},
		{"b/", []string{}},
		{"no/such/folder/", []string{}},
	}
	for _, tt := range tests {
		if got := b.list(tt.prefix); !slices.Equal(got, tt.want) {
			t.Errorf("list %q:\n got %q\nwant %q", tt.prefix, got, tt.want)
		}
	}
	i := 0
	for o, err := range b.List(t.Context(), b.below) {
		b.want(err, nil, "list")
		if o.Size != int64(i) || time.Since(o.Modified).Abs() > time.Hour {
			t.Errorf("listed as %+v, want size %d", o, i)
		}
		if i++; i == 3 {
			break
		}
	}
}

// A listing of more keys than fit into one answer, and one as large as an answer.
func testListPages(t *testing.T, b *handle) {
	var want []string
	for i := range 1003 {
		want = append(want, fmt.Sprintf("%02d/%03d", i/25, i))
	}
	concurrently(16, func(worker int) {
		for i := worker; i < len(want); i += 16 {
			if err := b.Put(t.Context(), b.below+want[i], nil); err != nil {
				t.Error(err)
			}
		}
	})
	if got := b.list(""); !slices.Equal(got, want) {
		t.Errorf("got %d keys, want %d", len(got), len(want))
	}
	for i := range 3 {
		b.want(b.Delete(t.Context(), b.below+want[1000+i]), nil, "delete")
	}
	if got := b.list(""); !slices.Equal(got, want[:1000]) {
		t.Errorf("got %d keys, want 1000", len(got))
	}
	if got := b.folders(""); len(got) != 40 || !slices.IsSorted(got) {
		t.Errorf("got folders %q, want 40", got)
	}
}

func testFolders(t *testing.T, b *handle) {
	for _, key := range []string{"object", "a/1", "a/2", "a-b/1", "c/d/e/f", "ä/1"} {
		b.create(key, "x")
	}
	tests := []struct {
		prefix string
		want   []string
	}{
		{"", []string{"a-b", "a", "c", "ä"}},
		{"a/", []string{}},
		{"c/", []string{"d"}},
		{"c/d/", []string{"e"}},
		{"object/", []string{}},
		{"nothing/", []string{}},
	}
	for _, tt := range tests {
		if got := b.folders(tt.prefix); !slices.Equal(got, tt.want) {
			t.Errorf("folders of %q = %q, want %q", tt.prefix, got, tt.want)
		}
	}
	for name, err := range b.ListFolders(t.Context(), b.below) {
		if name != "a-b" || err != nil {
			t.Errorf("the first folder is %q, %v", name, err)
		}
		break
	}
	b.want(b.Delete(t.Context(), b.below+"c/d/e/f"), nil, "delete")
	if got := b.folders(""); !slices.Equal(got, []string{"a-b", "a", "ä"}) {
		t.Errorf("folders after their last object went = %q", got)
	}
	for _, err := range b.ListFolders(t.Context(), b.below+"a") {
		if err == nil {
			t.Error("ListFolders of a prefix without '/' succeeds")
		}
	}
}

func testDelete(t *testing.T, b *handle) {
	b.create("a/b/1", "1")
	b.create("a/2", "2")
	b.want(b.Delete(t.Context(), b.below+"a/b/1"), nil, "delete")
	b.absent("a/b/1")
	b.holds("a/2", "2")
	b.want(b.Delete(t.Context(), b.below+"a/b/1"), nil, "delete again")
	b.want(b.Delete(t.Context(), b.below+"never/was"), nil, "delete what never was")
	b.want(b.Delete(t.Context(), b.below+"a"), nil, "delete a folder")
	b.holds("a/2", "2")
	b.create("a/b/1", "again")
	b.holds("a/b/1", "again")
}

func testOddKeys(t *testing.T, b *handle) {
	keys := []string{
		"sp ace", "plus+plus", "per%cent", "per%2Fcent", "per%20cent", "question?mark=1", "ha#sh", "amp&er=sand",
		"ünï/日本/😀", "e\u0301", "\u00e9", "til~de", `quo"te'`, "semi;colon", "a..b", ".hidden", "..x", "at@co:lon",
		"com,ma(paren)[brack]{brace}", "car^et|pipe`", "st*ar", "<less>", "-dash", "UPPER", "upper", "$dollar!",
	}
	for _, key := range keys {
		b.create("odd/"+key, key)
	}
	for _, key := range keys {
		b.holds("odd/"+key, key)
		if o, err := b.Stat(t.Context(), b.below+"odd/"+key); err != nil || o.Size != int64(len(key)) {
			t.Errorf("stat %q = %+v, %v", key, o, err)
		}
		if got := b.list("odd/" + key); !slices.Contains(got, "odd/"+key) {
			t.Errorf("list %q = %q", key, got)
		}
	}
	slices.Sort(keys)
	got := b.list("odd/")
	for i := range got {
		got[i] = strings.TrimPrefix(got[i], "odd/")
	}
	if !slices.Equal(got, keys) {
		t.Errorf("listed\n %q, want\n %q", got, keys)
	}
	for _, key := range keys {
		b.want(b.Delete(t.Context(), b.below+"odd/"+key), nil, "delete %q", key)
	}
	if got := b.list("odd/"); len(got) != 0 {
		t.Errorf("left after deletion: %q", got)
	}
}

func testRefusedKeys(t *testing.T, b *handle) {
	for _, key := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "./a", "a/.", "a/../b", "../escape", "nul\x00", "line\n", `back\slash`,
		"invalid\xff", strings.Repeat("x/", 600) + "x",
	} {
		_, _, get := b.Get(t.Context(), key)
		_, replace := b.Replace(t.Context(), key, nil, "")
		_, getRange := b.GetRange(t.Context(), key, 0, 1)
		_, stat := b.Stat(t.Context(), key)
		for op, err := range map[string]error{
			"create":    b.Create(t.Context(), key, strings.NewReader(""), 0),
			"replace":   replace,
			"put":       b.Put(t.Context(), key, nil),
			"get":       get,
			"get range": getRange,
			"stat":      stat,
			"delete":    b.Delete(t.Context(), key),
		} {
			if err == nil || known(err) {
				t.Errorf("%s %q: %v", op, key, err)
			}
		}
	}
	for _, prefix := range []string{"/", "../", "a/../", "a//", "/etc/pass", "\x00"} {
		refused := false
		for _, err := range b.List(t.Context(), prefix) {
			refused = err != nil
		}
		if !refused {
			t.Errorf("list %q succeeds", prefix)
		}
	}
}

// known reports that a caller may branch on err.
func known(err error) bool {
	return slices.ContainsFunc([]error{bucket.ErrNotExist, bucket.ErrExist, bucket.ErrConflict, bucket.ErrDenied},
		func(sentinel error) bool { return errors.Is(err, sentinel) })
}

func testLarge(t *testing.T, b *handle) {
	data := make([]byte, 20<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	b.want(b.Create(t.Context(), b.below+"large", bytes.NewReader(data), int64(len(data))), nil, "create")
	got, v, err := b.Get(t.Context(), b.below+"large")
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("get = %d bytes, %v; want %d", len(got), err, len(data))
	}
	part, err := b.GetRange(t.Context(), b.below+"large", 10<<20-1, 1<<20)
	if err != nil || !bytes.Equal(part, data[10<<20-1:][:1<<20]) {
		t.Errorf("range = %d bytes, %v", len(part), err)
	}
	tail, err := b.GetRange(t.Context(), b.below+"large", -1<<20, 1<<20)
	if err != nil || !bytes.Equal(tail, data[19<<20:]) {
		t.Errorf("tail = %d bytes, %v", len(tail), err)
	}
	_, err = b.Replace(t.Context(), b.below+"large", data[1:], v)
	b.want(err, nil, "replace")
	b.want(b.Put(t.Context(), b.below+"large", data[2:]), nil, "put")
	if o, err := b.Stat(t.Context(), b.below+"large"); err != nil || o.Size != int64(len(data)-2) {
		t.Errorf("stat = %+v, %v", o, err)
	}
}

const writers = 20

func testCreateRace(t *testing.T, b *handle) {
	for round := range 4 {
		// Small bodies race to the server; large ones are still under way when another ends.
		size := []int{10, 300 << 10}[round%2]
		key := fmt.Sprintf("race%d", round)
		b.exactlyOne(key, size, bucket.ErrExist, func(content string) error {
			return b.Create(t.Context(), b.below+key, strings.NewReader(content), int64(len(content)))
		})
	}
}

func testReplaceRace(t *testing.T, b *handle) {
	b.create("race", "start")
	for range 4 {
		_, old := b.get("race")
		b.exactlyOne("race", 10, bucket.ErrConflict, func(content string) error {
			_, err := b.Replace(t.Context(), b.below+"race", []byte(content), old)
			return err
		})
	}
	b.exactlyOne("first", 10, bucket.ErrConflict, func(content string) error {
		_, err := b.Replace(t.Context(), b.below+"first", []byte(content), "")
		return err
	})
}

// exactlyOne runs many writers of different contents. One wins, the others are
// refused, and what is stored is the winner's.
func (b *handle) exactlyOne(key string, size int, refused error, write func(content string) error) {
	b.t.Helper()
	content := func(i int) string { return strings.Repeat(fmt.Sprintf("%010d", i), size/10) }
	errs := make([]error, writers)
	salt := rand.IntN(1e6) * writers
	concurrently(writers, func(i int) { errs[i] = write(content(salt + i)) })
	var winners []int
	for i, err := range errs {
		if err == nil {
			winners = append(winners, i)
		} else {
			b.want(err, refused, "writer %d of %s", i, key)
		}
	}
	if len(winners) != 1 {
		b.t.Fatalf("%s: writers %v won", key, winners)
	}
	b.holds(key, content(salt+winners[0]))
}

func concurrently(n int, do func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { do(i) })
	}
	wg.Wait()
}

func testCounter(t *testing.T, b *handle) {
	const counters, increments = 4, 5
	b.create("counter", "")
	concurrently(counters, func(int) {
		for range increments {
			for {
				count, old, err := b.Get(t.Context(), b.below+"counter")
				if err != nil {
					t.Error(err)
					return
				}
				_, err = b.Replace(t.Context(), b.below+"counter", append(count, 'I'), old)
				if err == nil {
					break
				}
				if !errors.Is(err, bucket.ErrConflict) {
					t.Error(err)
					return
				}
			}
		}
	})
	b.holds("counter", strings.Repeat("I", counters*increments))
}

func testReadDuringWrite(t *testing.T, b *handle) {
	content := func(i int) []byte { return bytes.Repeat([]byte{'a' + byte(i%26)}, 100<<10+i*7919) }
	b.want(b.Put(t.Context(), b.below+"k", content(0)), nil, "put")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 30 {
			if err := b.Put(t.Context(), b.below+"k", content(i)); err != nil {
				t.Error(err)
			}
		}
	}()
	var mu sync.Mutex
	seen := map[bucket.Version]byte{}
	concurrently(3, func(int) {
		for {
			select {
			case <-done:
				return
			default:
			}
			data, v, err := b.Get(t.Context(), b.below+"k")
			if err != nil || len(data) < 100<<10 || !bytes.Equal(data, content((len(data)-100<<10)/7919)) {
				t.Errorf("torn: %d bytes, %v", len(data), err)
				return
			}
			mu.Lock()
			if had, ok := seen[v]; ok && had != data[0] {
				t.Errorf("version %s is of %c and of %c", v, had, data[0])
			}
			seen[v] = data[0]
			mu.Unlock()
			tail, err := b.GetRange(t.Context(), b.below+"k", -1000, 1000)
			if err != nil || len(bytes.Trim(tail, string(tail[:1]))) != 0 {
				t.Errorf("torn tail: %.100q, %v", tail, err)
				return
			}
		}
	})
	t.Logf("readers saw %d versions", len(slices.Collect(maps.Keys(seen))))
}

func testEnded(t *testing.T, b *handle) {
	b.create("k", "x")
	_, v := b.get("k")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, get := b.Get(ctx, b.below+"k")
	_, getRange := b.GetRange(ctx, b.below+"k", 0, 1)
	_, stat := b.Stat(ctx, b.below+"k")
	_, replace := b.Replace(ctx, b.below+"k", []byte("y"), v)
	var list, folders error
	for _, err := range b.List(ctx, b.below) {
		list = err
	}
	for _, err := range b.ListFolders(ctx, b.below) {
		folders = err
	}
	for op, err := range map[string]error{
		"create": b.Create(ctx, b.below+"new", strings.NewReader("x"), 1), "replace": replace,
		"put": b.Put(ctx, b.below+"new", nil), "get": get, "get range": getRange, "stat": stat,
		"list": list, "list folders": folders, "delete": b.Delete(ctx, b.below+"k"),
	} {
		b.want(err, context.Canceled, "%s", op)
	}
	if got := b.list(""); !slices.Equal(got, []string{"k"}) {
		t.Errorf("the bucket holds %q", got)
	}
	b.holds("k", "x")
}

func testClock(t *testing.T, b *handle) {
	for range 3 {
		now, err := b.Now(t.Context())
		b.want(err, nil, "now")
		// The server is on this machine. Its Date has whole seconds.
		if ahead := time.Until(now); ahead.Abs() > 2*time.Second {
			t.Errorf("the server's clock is ahead by %v", ahead)
		}
	}
}

func testAccount(t *testing.T, b *handle) {
	_, err := b.Now(t.Context())
	b.want(err, nil, "now")
	var all, one bucket.Account
	ctx := bucket.WithAccount(t.Context(), &all)
	counted := bucket.Counting(b.Bucket, &one)
	var total bucket.Usage
	step := func(op string, want bucket.Usage, do func() error) {
		t.Helper()
		before := all.Usage()
		b.want(do(), nil, "%s", op)
		got := all.Usage().Sub(before)
		// Bodies may be framed, and signed in parts.
		framing := int64(1000)
		fits := func(got, want int64) bool { return want < 0 || got >= want && got <= want+framing }
		in, out := fits(got.BytesIn, want.BytesIn), fits(got.BytesOut, want.BytesOut)
		want.BytesIn, want.BytesOut = got.BytesIn, got.BytesOut
		if got != want || !in || !out {
			t.Errorf("%s used %+v, want %+v", op, got, want)
		}
		total = all.Usage()
	}
	data := bytes.Repeat([]byte("x"), 100<<10)
	step("create", bucket.Usage{Puts: 1, BytesIn: -1, BytesOut: 100 << 10}, func() error {
		return counted.Create(ctx, b.below+"a/k", bytes.NewReader(data), 100<<10)
	})
	step("put", bucket.Usage{Puts: 1, BytesIn: -1, BytesOut: 10}, func() error {
		return counted.Put(ctx, b.below+"b", data[:10])
	})
	step("get", bucket.Usage{Gets: 1, BytesIn: 100 << 10}, func() error {
		_, _, err := counted.Get(ctx, b.below+"a/k")
		return err
	})
	step("range", bucket.Usage{Gets: 1, BytesIn: 1000}, func() error {
		_, err := counted.GetRange(ctx, b.below+"a/k", 5, 1000)
		return err
	})
	step("stat", bucket.Usage{Gets: 1}, func() error {
		_, err := counted.Stat(ctx, b.below+"a/k")
		return err
	})
	step("list", bucket.Usage{Lists: 1, BytesIn: -1}, func() (err error) {
		for _, err = range counted.List(ctx, b.below) {
		}
		return err
	})
	step("list folders", bucket.Usage{Lists: 1, BytesIn: -1}, func() (err error) {
		for _, err = range counted.ListFolders(ctx, b.below) {
		}
		return err
	})
	step("replace", bucket.Usage{Puts: 1, BytesIn: -1, BytesOut: 20}, func() error {
		_, err := counted.Replace(ctx, b.below+"c", data[:20], "")
		return err
	})
	step("delete", bucket.Usage{Deletes: 1, BytesIn: -1}, func() error {
		return counted.Delete(ctx, b.below+"b")
	})
	if got := one.Usage(); got != total || got.Requests() != 9 {
		t.Errorf("the bucket's account is %+v, the context's %+v", got, total)
	}
}

func testProbe(t *testing.T, b *handle) {
	warning, err := bucket.Probe(t.Context(), b.Bucket)
	if warning != "" || err != nil || b.CAS() != bucket.CASEnforced {
		t.Errorf("probe: %q, %v; CAS is %v", warning, err, b.CAS())
	}
	for o, err := range b.List(t.Context(), "v1/tmp/") {
		t.Errorf("left behind: %s, %v", o.Key, err)
	}
	if b.Name() == "" {
		t.Error("no name")
	}
}

func testTwoHandles(t *testing.T, one, two *handle) {
	one.create("k", "1")
	two.holds("k", "1")
	if got := two.list(""); !slices.Equal(got, []string{"k"}) {
		t.Errorf("list = %q", got)
	}
	_, old := two.get("k")
	_, err := one.Replace(t.Context(), one.below+"k", []byte("2"), old)
	one.want(err, nil, "replace a version that another handle read")
	_, err = two.Replace(t.Context(), two.below+"k", []byte("3"), old)
	two.want(err, bucket.ErrConflict, "replace what another handle has replaced")
	two.want(two.Delete(t.Context(), two.below+"k"), nil, "delete")
	one.absent("k")
	both := []*handle{one, two}
	next := make(chan *handle, writers)
	for i := range writers {
		next <- both[i%2]
	}
	one.exactlyOne("race", 10, bucket.ErrExist, func(content string) error {
		return (<-next).Create(t.Context(), one.below+"race", strings.NewReader(content), int64(len(content)))
	})
}
