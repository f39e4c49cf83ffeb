package upload_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/upload"
)

var (
	errDial   = fmt.Errorf("create: %w", &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")})
	errLookup = fmt.Errorf("create: %w", &net.DNSError{Err: "no such host", Name: "bucket.example.com"})
	errReset  = fmt.Errorf("create: %w", &net.OpError{Op: "read", Net: "tcp", Err: errors.New("connection reset by peer")})
	errDenied = fmt.Errorf("create: %w", bucket.ErrDenied)
)

// answers gives each try the next answer, and then the bucket's own, as for nil. A try
// that is answered with an error does not land, except when that is marked.
func answers(list ...any) func(int) (bool, error) {
	return func(n int) (bool, error) {
		if n >= len(list) {
			return true, nil
		}
		switch a := list[n].(type) {
		case nil:
			return true, nil
		case landed:
			return true, a.answer
		case error:
			return false, a
		}
		panic("answers: want errors")
	}
}

// landed marks an answer that is wrong: the object is there.
type landed struct{ answer error }

// upload1 adds a profile to a bucket that answers so, and waits.
func upload1(t *testing.T, b bucket.Bucket, wait time.Duration) *log {
	t.Helper()
	l := &log{}
	u := open(t, b, upload.Config{Agent: "a", Observer: l.observer()})
	add(t, u, numbered(t, 0))
	time.Sleep(wait)
	closeNow(t, u)
	return l
}

func minuteOf(t *testing.T, key string) time.Time {
	t.Helper()
	k, err := block.ParseL0Key(key)
	if err != nil {
		t.Fatal(err)
	}
	return k.Minute
}

// The minute in the key is the bucket's, not ours.
func TestMinuteIsTheServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := bucket.Mem()
		mem.Clock = func() time.Time { return time.Now().Add(3*time.Hour + 30*time.Second) }
		began := time.Now()
		upload1(t, mem, 2*time.Minute)
		all := blocks(t, mem)
		if len(all) != 1 {
			t.Fatalf("%d blocks", len(all))
		}
		minute := all[0].key.Minute
		if ahead := minute.Sub(began); ahead < 3*time.Hour || ahead > 3*time.Hour+2*time.Minute || minute.Second() != 0 {
			t.Errorf("uploaded at %v, minute %v", began, minute)
		}
	})
}

// Nothing is put before the server's clock is known.
func TestNoPutWithoutTheServersClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		b := &scripted{Bucket: bucket.Mem(), create: answers(), noTime: func() error {
			if time.Since(began) < time.Hour {
				return errDial
			}
			return nil
		}}
		l := upload1(t, b, 65*time.Minute)
		l.wantLost(t, "", 0)
		wantNumbers(t, b.Bucket, upTo(1))
		if tries := b.seen(); len(tries) != 1 || tries[0].at.Sub(began) < time.Hour || minuteOf(t, tries[0].key).Before(began.Add(time.Hour)) {
			t.Errorf("tries: %v", tries)
		}
	})
}

// After an answer from which nothing is known the same key and bytes are tried again,
// less and less often, for up to 30 minutes.
func TestUnknownAnswersKeepTheKey(t *testing.T) {
	for name, answer := range map[string]error{"reset": errReset, "unknown": errUnknown, "timeout": context.DeadlineExceeded} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &scripted{Bucket: bucket.Mem(), create: func(int) (bool, error) { return false, answer }}
				l := upload1(t, b, time.Hour)
				l.wantLost(t, upload.Expired, 1)
				tries := b.seen()
				for i, try := range tries {
					if try.key != tries[0].key || try.data != tries[0].data {
						t.Errorf("try %d: another key or other bytes: %s", i, try.key)
					}
					if i > 1 {
						if pause := try.at.Sub(tries[i-1].at); pause > time.Minute {
							t.Errorf("pause of %v", pause)
						}
					}
					if late := try.at.Sub(minuteOf(t, try.key)); late > 30*time.Minute {
						t.Errorf("tried %v after its minute", late)
					}
				}
				last := tries[len(tries)-1]
				if late := last.at.Sub(minuteOf(t, last.key)); late < 28*time.Minute {
					t.Errorf("last tried %v after its minute", late)
				}
				if len(tries) < 30 || len(tries) > 75 {
					t.Errorf("%d tries in 30 minutes", len(tries))
				}
				if len(l.retries) != len(tries) || !errors.Is(l.retries[0], answer) {
					t.Errorf("%d retries told of %d", len(l.retries), len(tries))
				}
			})
		})
	}
}

// An earlier try that landed after all is met by the next, which is then done.
func TestOwnObjectIsSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &scripted{Bucket: bucket.Mem(), create: answers(landed{errReset})}
		l := upload1(t, b, 5*time.Minute)
		l.wantLost(t, "", 0)
		wantNumbers(t, b.Bucket, upTo(1))
		if tries := b.seen(); len(tries) != 2 || len(l.written) != 1 || l.written[0].String() != tries[0].key {
			t.Errorf("%d tries, written %v", len(tries), l.written)
		}
	})
}

// What was refused, or never left, is put under the minute of the next try, and for
// however long it takes.
func TestCertainAnswersTakeAFreshMinute(t *testing.T) {
	for name, answer := range map[string]error{"dial": errDial, "lookup": errLookup, "denied": errDenied} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				b := &scripted{Bucket: bucket.Mem(), create: func(int) (bool, error) {
					if time.Since(began) < 5*time.Hour {
						return false, answer
					}
					return true, nil
				}}
				l := upload1(t, b, 6*time.Hour)
				l.wantLost(t, "", 0)
				wantNumbers(t, b.Bucket, upTo(1))
				tries := b.seen()
				for _, try := range tries {
					if got := minuteOf(t, try.key); !got.Equal(try.at.Truncate(time.Minute)) {
						t.Errorf("at %v: minute %v", try.at, got)
					}
					if try.data != tries[0].data {
						t.Error("other bytes")
					}
				}
			})
		})
	}
}

// One unknown answer ties the block to its key, whatever the answers before and after.
func TestOneUnknownAnswerTies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &scripted{Bucket: bucket.Mem(), create: answers(
			errDial, errDial, errDial, errDial, errDial, errDial, errDial, errDial, errDenied, errDial,
			landed{errReset}, errDial, errDial, errDenied, errDial, errLookup)}
		l := upload1(t, b, 40*time.Minute)
		l.wantLost(t, "", 0)
		wantNumbers(t, b.Bucket, upTo(1))
		tries := b.seen()
		if len(tries) != 17 {
			t.Fatalf("%d tries", len(tries))
		}
		if tries[0].key == tries[10].key {
			t.Error("the minute was not fresh while it could be")
		}
		for _, try := range tries[11:] {
			if try.key != tries[10].key {
				t.Errorf("key %s, want %s", try.key, tries[10].key)
			}
		}
	})
}

// A PUT that is never answered ends, and is tried again.
func TestPutWithoutAnswerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := bucket.Mem()
		b := &scripted{Bucket: stuckFor(mem, 1), create: answers()}
		l := upload1(t, b, 10*time.Minute)
		l.wantLost(t, "", 0)
		wantNumbers(t, mem, upTo(1))
		if tries := b.seen(); len(tries) != 2 || tries[0].key != tries[1].key {
			t.Errorf("tries: %v", tries)
		}
	})
}

// Pauses grow while the bucket is away, and begin anew once it has been there.
func TestPausesBeginAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &scripted{Bucket: bucket.Mem(), create: answers(errDial, errDial, errDial, errDial, errDial, errDial, nil, errDial)}
		u := open(t, b, upload.Config{Window: time.Second})
		add(t, u, numbered(t, 0))
		time.Sleep(10 * time.Minute)
		add(t, u, numbered(t, 1))
		time.Sleep(10 * time.Minute)
		closeNow(t, u)
		wantNumbers(t, b.Bucket, upTo(2))
		tries := b.seen()
		if len(tries) != 9 {
			t.Fatalf("%d tries", len(tries))
		}
		for i, longest := range []time.Duration{1: 1, 2, 4, 8, 16, 32, 8: 1} {
			pause := tries[i].at.Sub(tries[max(i-1, 0)].at)
			if longest > 0 && (pause < longest*time.Second/2 || pause > longest*time.Second) {
				t.Errorf("try %d after a pause of %v, want at most %d s", i, pause, longest)
			}
		}
	})
}
