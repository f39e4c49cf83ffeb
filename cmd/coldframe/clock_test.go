package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/compactor"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/upload"
)

// past is a folder whose clock tests move. What is written has the clock's time.
type past struct {
	bucket.Bucket
	t    testing.TB
	dir  string
	time time.Time
}

// newPast makes a folder in which it is at.
func newPast(t testing.TB, at time.Time) *past {
	t.Helper()
	p := &past{t: t, dir: t.TempDir(), time: at}
	var err error
	if p.Bucket, err = bucket.Open(t.Context(), []byte(p.config())); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *past) config() string { return "{type: FILESYSTEM, config: {directory: " + p.dir + "}}" }

func (p *past) Now(context.Context) (time.Time, error) { return p.time, nil }

func (p *past) Create(ctx context.Context, key string, r io.Reader, size int64) error {
	return p.dated(key, p.Bucket.Create(ctx, key, r, size))
}

func (p *past) Replace(ctx context.Context, key string, data []byte, old bucket.Version) (bucket.Version, error) {
	v, err := p.Bucket.Replace(ctx, key, data, old)
	return v, p.dated(key, err)
}

func (p *past) Put(ctx context.Context, key string, data []byte) error {
	return p.dated(key, p.Bucket.Put(ctx, key, data))
}

func (p *past) dated(key string, err error) error {
	if err != nil {
		return err
	}
	return os.Chtimes(filepath.Join(p.dir, key), p.time, p.time)
}

// push stores profiles of one minute: one for each service, with values that no other has.
func (p *past) push(services int, sent map[string]int64) {
	p.t.Helper()
	u, err := upload.New(p, upload.Config{Agent: "test", PushDelay: time.Nanosecond})
	if err != nil {
		p.t.Fatal(err)
	}
	var profiles []upload.Profile
	for n := range services {
		service := fmt.Sprintf("service-%02d", n)
		stack := fmt.Sprintf("%s/%s", service, p.time.Format("20060102"))
		value := p.time.Unix()%1000 + int64(n) + 1
		sent[stack] += value
		labels, err := profile.NewLabels(profile.Label{Name: "service_name", Value: service})
		if err != nil {
			p.t.Fatal(err)
		}
		profiles = append(profiles, upload.Profile{Name: "work", Labels: labels, Body: oneStack(p.t, stack, p.time, value)})
	}
	if err := u.Push(p.t.Context(), profile.DefaultTenant, profiles...); err != nil {
		p.t.Fatal(err)
	}
	if err := u.Close(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

// compact does all that is due at the folder's time.
func (p *past) compact(cfg compactor.Config) {
	p.t.Helper()
	if err := compactor.New(catalog.New(p, catalog.Config{}), p, cfg).RunOnce(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

// oneStack is a pprof with one sample, in a function of its own.
func oneStack(t testing.TB, name string, at time.Time, value int64) []byte {
	t.Helper()
	p, err := pprof.ParseData(oneSample(t, name))
	if err != nil {
		t.Fatal(err)
	}
	p.TimeNanos = at.UnixNano()
	p.Sample[0].Value[0] = value
	var body bytes.Buffer
	if err := p.Write(&body); err != nil {
		t.Fatal(err)
	}
	return body.Bytes()
}

// byStack sums an answer's samples by their function.
func byStack(p *pprof.Profile) map[string]int64 {
	sums := map[string]int64{}
	for _, s := range p.Sample {
		sums[s.Location[0].Line[0].Function.Name] += s.Value[0]
	}
	return sums
}
