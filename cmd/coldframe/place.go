package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/coldframe/coldframe/bucket"
)

// bucketFlag names the bucket.
type bucketFlag struct {
	BucketConfig string `placeholder:"FILE" help:"The bucket: a file with Thanos's objstore YAML (type, config, prefix). The variable may also hold the YAML itself."`
}

// read gives the YAML that the flag names or holds, and what to call it in errors.
func (f bucketFlag) read() (yaml []byte, name string, err error) {
	if f.BucketConfig == "" {
		return nil, "", usage(errors.New("--bucket-config is missing: which bucket?"))
	}
	if strings.Contains(f.BucketConfig, "type:") {
		return []byte(f.BucketConfig), "--bucket-config", nil
	}
	yaml, err = os.ReadFile(f.BucketConfig)
	if err != nil {
		return nil, "", usage(fmt.Errorf("--bucket-config: %w", err))
	}
	return yaml, f.BucketConfig, nil
}

// open opens the bucket for reading: no condition is probed.
func (f bucketFlag) open(ctx context.Context, _ *globals) (bucket.Bucket, error) {
	yaml, name, err := f.read()
	if err != nil {
		return nil, err
	}
	return openBucket(ctx, yaml, name)
}

func openBucket(ctx context.Context, yaml []byte, name string) (bucket.Bucket, error) {
	bkt, err := bucket.Open(ctx, yaml)
	if err != nil {
		return nil, usage(fmt.Errorf("%s: %w", name, err))
	}
	return bkt, nil
}

// openProbed opens the bucket for a role that changes it by conditional writes, and
// proves that the bucket enforces them.
func (f bucketFlag) openProbed(ctx context.Context, g *globals) (bucket.Bucket, error) {
	bkt, err := f.open(ctx, g)
	if err != nil {
		return nil, err
	}
	return bkt, probe(ctx, g, bkt)
}

func probe(ctx context.Context, g *globals, bkt bucket.Bucket) error {
	warning, err := bucket.Probe(ctx, bkt)
	if err != nil {
		return err
	}
	if warning != "" {
		g.log.Warn("the bucket has no conditional writes: run one compactor a shard, delete by lifecycle rules only", "bucket", bkt.Name(), "found", warning)
	}
	return nil
}

// place is where profiles are: behind a server, or in a bucket.
type place struct {
	bucketFlag
	Server string `placeholder:"URL" help:"Ask this coldframe server instead of the bucket."`
	tokenFlag
}

// Validate is called by kong.
func (p place) Validate() error {
	switch {
	case p.Server == "" && p.BucketConfig == "":
		return errors.New("where? give --bucket-config FILE or --server URL")
	case p.Server != "" && !strings.HasPrefix(p.Server, "http://") && !strings.HasPrefix(p.Server, "https://"):
		return fmt.Errorf("--server %q: want http://HOST:PORT", p.Server)
	}
	return nil
}

// inProcess answers requests by a handler of this process, so that a command asks
// a bucket in the same words as a server.
type inProcess struct{ handler http.Handler }

const inProcessHost = "in-process"

// RoundTrip implements [http.RoundTripper].
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	w := &recorder{header: http.Header{}, status: http.StatusOK}
	t.handler.ServeHTTP(w, r)
	return &http.Response{
		Status:     fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)),
		StatusCode: w.status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        w.header,
		Body:          io.NopCloser(&w.body),
		ContentLength: int64(w.body.Len()),
		Request:       r,
	}, nil
}

type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header         { return w.header }
func (w *recorder) WriteHeader(status int)      { w.status = status }
func (w *recorder) Write(p []byte) (int, error) { return w.body.Write(p) }
