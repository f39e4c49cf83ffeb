package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/query"
)

// peers are further invocations of this very version of the function. They compute
// parts of queries, and shards.
type peers struct {
	url         string // to post an event to
	region      string
	credentials aws.Credentials
	signer      *v4.Signer
	client      *http.Client
	bkt         bucket.Bucket
	tracer      *tracer
	workers     int
}

// newPeers talks to Lambda's API in plain HTTP: of AWS's SDK nothing is needed but the
// signature. Credentials are those of the function's role, which Lambda puts into the
// environment for as long as the environment lives.
func newPeers(cfg config, bkt bucket.Bucket, traces *tracer, getenv func(string) string) *peers {
	endpoint := cmp.Or(cfg.Endpoint, "https://lambda."+cfg.Region+".amazonaws.com")
	return &peers{
		url: strings.TrimSuffix(endpoint, "/") + "/2015-03-31/functions/" + url.PathEscape(cfg.Function) +
			"/invocations?Qualifier=" + url.QueryEscape(cfg.Qualifier),
		region: cfg.Region,
		credentials: aws.Credentials{
			AccessKeyID: getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: getenv("AWS_SECRET_ACCESS_KEY"), SessionToken: getenv("AWS_SESSION_TOKEN"),
		},
		signer:  v4.NewSigner(),
		client:  &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: max(1, cfg.Workers), ForceAttemptHTTP2: true, Proxy: http.ProxyFromEnvironment}},
		bkt:     bkt,
		tracer:  traces,
		workers: cfg.Workers,
	}
}

// send has an event handled by an invocation that is not waited for.
func (p *peers) send(ctx context.Context, e event) error {
	_, err := p.invoke(ctx, e, "Event")
	return err
}

// maxAnswer is how much of an answer is read; Lambda sends 6 MiB.
const maxAnswer = maxPayload + 1<<20

func (p *peers) invoke(ctx context.Context, e event, how string) (answer []byte, err error) {
	ctx, span := p.tracer.begin(ctx, "invoke")
	defer func() { span.end(err) }()
	payload, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Amz-Invocation-Type", how)
	if span != nil {
		req.Header.Set("X-Amzn-Trace-Id", span.header())
	}
	sum := sha256.Sum256(payload)
	if err := p.signer.SignHTTP(ctx, p.credentials, req, hex.EncodeToString(sum[:]), "lambda", p.region, time.Now()); err != nil {
		return nil, fmt.Errorf("invoke: %w", err)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("invoke: %w", err)
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		return nil, fmt.Errorf("invoke: %w", err)
	case resp.StatusCode/100 != 2:
		return nil, fmt.Errorf("invoke: %s: %.500s", resp.Status, answer)
	case resp.Header.Get("X-Amz-Function-Error") != "":
		return nil, fmt.Errorf("invoke: the function failed: %.500s", answer)
	}
	return answer, nil
}

// blocksEach is how many blocks make an invocation worth while.
const blocksEach = 4

// Assign implements [query.Remote]. Which environment gets an invocation is Lambda's
// choice, so that no cache can be aimed at; this process takes a share as well.
func (p *peers) Assign(keys []string) []string {
	n := min(p.workers, len(keys)/blocksEach)
	names := make([]string, len(keys))
	for i := range keys {
		if worker := i % (n + 1); worker < n {
			names[i] = strconv.Itoa(worker)
		}
	}
	return names
}

// partAnswer is the answer to a part of a query. What is too large for an answer lies in
// the bucket for a while.
type partAnswer struct {
	query.Partial
	Spilled string `json:"spilled,omitempty"` // the key of Partial.Block
}

// Compute implements [query.Remote].
func (p *peers) Compute(ctx context.Context, _ string, part query.Part) (*query.Partial, error) {
	text, err := p.invoke(ctx, event{Part: &part}, "RequestResponse")
	if err != nil {
		return nil, err
	}
	var answer partAnswer
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, fmt.Errorf("answer to a part of a query: %w", err)
	}
	if answer.Spilled == "" {
		return &answer.Partial, nil
	}
	if !strings.HasPrefix(answer.Spilled, block.ClassTmp.TenantPrefix(part.Tenant)) {
		return nil, fmt.Errorf("answer to a part of a query: spilled to %q, which is no place for that", answer.Spilled)
	}
	answer.Block, _, err = p.bkt.Get(ctx, answer.Spilled)
	return &answer.Partial, err
}

// maxInline is how many bytes of a block fit into an answer as base64.
const maxInline = (maxPayload - 1<<20) / 4 * 3

// computePart answers a peer.
func (f *function) computePart(ctx context.Context, part query.Part) (*partAnswer, error) {
	partial, err := f.query.Compute(ctx, part)
	if err != nil {
		return nil, err
	}
	answer := &partAnswer{Partial: *partial}
	if len(partial.Block) > maxInline {
		answer.Spilled = block.ClassTmp.TenantPrefix(part.Tenant) + "partial/" + rand.Text()
		if err := f.bkt.Create(ctx, answer.Spilled, bytes.NewReader(partial.Block), int64(len(partial.Block))); err != nil {
			return nil, err
		}
		answer.Block = nil
	}
	return answer, nil
}
