package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// load keeps a server busy for a while:
//
//	record load -for 60s prometheus|nats|s3 HOST:PORT
func load(args []string) error {
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	duration := flags.Duration("for", time.Minute, "how long")
	workers := flags.Int("workers", 4, "how many clients at once")
	if err := flags.Parse(args); err != nil {
		return err
	}
	kinds := map[string]func(ctx context.Context, address string, worker int) error{
		"prometheus": loadPrometheus, "nats": loadNATS, "s3": loadS3,
	}
	client := kinds[flags.Arg(0)]
	if client == nil || flags.NArg() != 2 {
		return errors.New("usage: record load [flags] prometheus|nats|s3 HOST:PORT")
	}
	ctx, cancel := context.WithTimeout(context.Background(), *duration)
	defer cancel()
	failures := make([]error, *workers)
	var running sync.WaitGroup
	for w := range *workers {
		running.Go(func() {
			if err := client(ctx, flags.Arg(1), w); err != nil && ctx.Err() == nil {
				failures[w] = fmt.Errorf("client %d: %w", w, err)
				cancel()
			}
		})
	}
	running.Wait()
	return errors.Join(failures...)
}

// loadPrometheus asks what dashboards and people ask.
func loadPrometheus(ctx context.Context, address string, worker int) error {
	queries := []string{
		`sum by (job) (rate(prometheus_http_requests_total[1m]))`,
		`histogram_quantile(0.99, sum by (le, handler) (rate(prometheus_http_request_duration_seconds_bucket[1m])))`,
		`topk(10, count by (__name__) ({__name__=~".+"}))`,
		`avg_over_time(go_memstats_heap_inuse_bytes[2m]) / on (job) group_left go_goroutines`,
		`label_replace(up, "x", "$1", "job", "(.*)-.*") unless on (job) (up == 0)`,
		`quantile_over_time(0.9, go_gc_duration_seconds[5m]) or vector(1)`,
		`max_over_time(deriv(process_resident_memory_bytes[1m])[3m:10s])`,
		`predict_linear(go_memstats_alloc_bytes_total[5m], 3600) > 0 and changes(go_info[5m]) == 0`,
	}
	r := rand.New(rand.NewPCG(1, uint64(worker)))
	for ctx.Err() == nil {
		now := time.Now()
		from := now.Add(-time.Duration(r.IntN(600)) * time.Second)
		times := url.Values{"start": {stamp(from)}, "end": {stamp(now)}, "step": {"5"}}
		ask := map[string]url.Values{
			"/api/v1/query_range":        merged(times, url.Values{"query": {queries[r.IntN(len(queries))]}}),
			"/api/v1/query":              {"query": {queries[r.IntN(len(queries))]}},
			"/api/v1/series":             merged(times, url.Values{"match[]": {`{job=~"self-1.*"}`}}),
			"/api/v1/label/job/values":   times,
			"/api/v1/metadata":           {},
			"/api/v1/targets":            {},
			"/api/v1/status/tsdb":        {},
			"/api/v1/rules":              {},
			"/federate":                  {"match[]": {`{__name__=~"go_.*"}`}},
			"/api/v1/format_query":       {"query": {queries[r.IntN(len(queries))]}},
			"/api/v1/query_exemplars":    merged(times, url.Values{"query": {queries[0]}}),
			"/api/v1/status/config":      {},
			"/api/v1/status/walreplay":   {},
			"/api/v1/targets/metadata":   {},
			"/api/v1/status/runtimeinfo": {},
		}
		for path, values := range ask {
			if err := get(ctx, "http://"+address+path+"?"+values.Encode()); err != nil {
				return err
			}
		}
	}
	return nil
}

func stamp(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

func merged(a, b url.Values) url.Values {
	all := url.Values{}
	for _, values := range []url.Values{a, b} {
		for k, v := range values {
			all[k] = v
		}
	}
	return all
}

func get(ctx context.Context, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// loadNATS speaks NATS' protocol itself: subscriptions with wildcards and queue
// groups, publishing, and a stream with a consumer that is asked for messages.
func loadNATS(ctx context.Context, address string, worker int) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	hangUp := sync.OnceValue(conn.Close)
	stop := context.AfterFunc(ctx, func() { _ = hangUp() })
	defer stop()
	c := &natsClient{conn: conn}
	answered := make(chan error, 1)
	go func() { answered <- c.answerPings() }()

	stream := fmt.Sprintf("S%d", worker)
	c.send("CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB _R.%d.> 1\r\nSUB load.*.a 2\r\nSUB load.> q 3\r\n", worker)
	c.request(worker, "$JS.API.STREAM.CREATE."+stream, fmt.Sprintf(`{"name":%q,"subjects":["js.%d.>"],"storage":"file","max_msgs":20000}`, stream, worker))
	c.request(worker, "$JS.API.CONSUMER.DURABLE.CREATE."+stream+".d", fmt.Sprintf(`{"stream_name":%q,"config":{"durable_name":"d","ack_policy":"none"}}`, stream))
	r := rand.New(rand.NewPCG(2, uint64(worker)))
	for n := 0; ctx.Err() == nil && c.err == nil; n++ {
		payload := strings.Repeat("x", 1+r.IntN(2000))
		c.send("PUB load.%d.%c %d\r\n%s\r\n", r.IntN(50), "abc"[r.IntN(3)], len(payload), payload)
		c.request(worker, fmt.Sprintf("js.%d.%d", worker, r.IntN(100)), payload)
		switch n % 50 {
		case 10:
			c.request(worker, "$JS.API.CONSUMER.MSG.NEXT."+stream+".d", `{"batch":40,"no_wait":true}`)
		case 20:
			c.request(worker, "$JS.API.STREAM.INFO."+stream, `{"subjects_filter":">"}`)
		case 30:
			c.send("SUB churn.%d.* %d\r\nUNSUB %d\r\n", n, n+10, n+10)
		case 40:
			c.request(worker, "$JS.API.STREAM.MSG.GET."+stream, fmt.Sprintf(`{"last_by_subj":"js.%d.%d"}`, worker, r.IntN(100)))
		}
		if n%200 == 0 {
			time.Sleep(5 * time.Millisecond)
		}
	}
	return errors.Join(c.err, hangUp(), <-answered)
}

// natsClient writes the protocol and keeps the first error.
type natsClient struct {
	conn net.Conn
	err  error
}

func (c *natsClient) send(format string, args ...any) {
	if c.err == nil {
		_, c.err = fmt.Fprintf(c.conn, format, args...)
	}
}

func (c *natsClient) request(worker int, subject, payload string) {
	c.send("PUB %s _R.%d.x %d\r\n%s\r\n", subject, worker, len(payload), payload)
}

func (c *natsClient) answerPings() error {
	lines := bufio.NewReaderSize(c.conn, 1<<20)
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return err
		}
		if bytes.HasPrefix(line, []byte("PING")) {
			if _, err := io.WriteString(c.conn, "PONG\r\n"); err != nil {
				return err
			}
		}
	}
}

// loadS3 stores, reads, lists, copies and deletes objects, small ones and some
// that need several parts. The server's keys are test and testsecret.
func loadS3(ctx context.Context, address string, worker int) error {
	client, err := minio.New(address, &minio.Options{Creds: credentials.NewStaticV4("test", "testsecret", ""), Region: "us-east-1"})
	if err != nil {
		return err
	}
	bucket := fmt.Sprintf("load-%d", worker)
	if err := client.MakeBucket(ctx, bucket, minio.MakeBucketOptions{}); err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(3, uint64(worker)))
	for n := 0; ctx.Err() == nil; n++ {
		key := fmt.Sprintf("a/%d/%d", n%7, n)
		size := 1 + r.IntN(100_000)
		if n%40 == 0 {
			size = 12 << 20
		}
		put := minio.PutObjectOptions{UserTags: map[string]string{"n": strconv.Itoa(n)}, PartSize: 5 << 20, UserMetadata: map[string]string{"k": key}}
		if _, err := client.PutObject(ctx, bucket, key, bytes.NewReader(make([]byte, size)), int64(size), put); err != nil {
			return err
		}
		if err := useS3(ctx, client, bucket, key, n); err != nil {
			return err
		}
	}
	return nil
}

func useS3(ctx context.Context, client *minio.Client, bucket, key string, n int) error {
	object, err := client.GetObject(ctx, bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, object)
	if err := errors.Join(err, object.Close()); err != nil {
		return err
	}
	if _, err := client.StatObject(ctx, bucket, key, minio.StatObjectOptions{}); err != nil {
		return err
	}
	if _, err := client.GetObjectTagging(ctx, bucket, key, minio.GetObjectTaggingOptions{}); err != nil {
		return err
	}
	if n%5 == 0 {
		for o := range client.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: "a/", Recursive: n%10 == 0}) {
			if o.Err != nil {
				return o.Err
			}
		}
	}
	if n%3 == 0 {
		from := minio.CopySrcOptions{Bucket: bucket, Object: key}
		if _, err := client.CopyObject(ctx, minio.CopyDestOptions{Bucket: bucket, Object: key + ".copy"}, from); err != nil {
			return err
		}
		return client.RemoveObject(ctx, bucket, key, minio.RemoveObjectOptions{})
	}
	return nil
}
