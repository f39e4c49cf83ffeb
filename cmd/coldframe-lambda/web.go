package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambdaurl"

	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/serve"
	"github.com/coldframe/coldframe/ui"
)

// newWeb makes what answers requests to the function's URL.
func (f *function) newWeb() (func(context.Context, *events.LambdaFunctionURLRequest) (*events.LambdaFunctionURLStreamingResponse, error), error) {
	server := serve.New(serve.Config{MaxBodyBytes: maxPayload, Logger: f.report.logger()})
	server.SetReady(func() error { return nil })
	if f.query != nil {
		server.Handle("/api/v1/", f.query.Handler())
		page := ui.Handler()
		server.Handle("GET /{$}", page)
		server.Handle("GET /assets/", page)
		server.Handle("GET /licenses.txt", page)
	}
	if f.cfg.has("ingest") {
		if err := f.addIngest(server); err != nil {
			return nil, err
		}
	}
	return lambdaurl.Wrap(f.bear(f.bounded(f.tracer.serve(server.Handler())))), nil
}

func (f *function) queryConfig() query.Config {
	cfg := query.Config{
		MemoryBytes:     f.cfg.MemoryBytes / 2,
		IndexCacheBytes: f.cfg.MemoryBytes / 8,
		RangeCacheBytes: f.cfg.MemoryBytes / 8,
		SumCacheBytes:   f.cfg.MemoryBytes / 16,
		TailCacheBytes:  f.cfg.MemoryBytes / 16,
		ShareBlocks:     f.cfg.ShareBlocks,
		ShareBytes:      f.cfg.ShareBytes,
		Retention:       f.retention,
		Observer:        f.report.observeQuery(),
	}
	if f.cfg.CacheBytes > 0 {
		cfg.CacheDir, cfg.CacheDiskBytes = filepath.Join(os.TempDir(), "coldframe-cache"), f.cfg.CacheBytes
	}
	if f.peers != nil && f.cfg.Workers > 0 {
		cfg.Remote = f.peers
	}
	return cfg
}

// retention is how long a tenant's profiles are kept: those of a deleted one not for an instant.
func (f *function) retention(ctx context.Context, tenant profile.Tenant) (catalog.Retentions, error) {
	s, err := f.cat.Settings(ctx, tenant)
	if err != nil {
		return catalog.Retentions{}, err
	}
	if s.Deleted != nil {
		return catalog.Retentions{Raw: 1}, nil // nanosecond
	}
	return f.cat.Retentions(ctx, tenant)
}

// bear refuses requests without one of the tokens, as a bearer token or as the password
// of any user, when there are tokens.
func (f *function) bear(next http.Handler) http.Handler {
	if len(f.cfg.Tokens) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !bearer {
			_, token, _ = r.BasicAuth()
		}
		sum, known := sha256.Sum256([]byte(token)), 0
		for _, one := range f.cfg.Tokens {
			known |= subtle.ConstantTimeCompare(sum[:], one[:])
		}
		if known == 0 {
			w.Header().Set("WWW-Authenticate", `Basic realm="coldframe"`) // which browsers ask for
			serve.WriteError(w, &serve.Error{Status: http.StatusUnauthorized, Code: "unauthorized", Err: errors.New("a token is wanted: Authorization: Bearer TOKEN, or TOKEN as the password")})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// bounded ends a request's context before Lambda ends the process, so that a slow
// query is answered with what was wrong, and reports when the answer has left.
func (f *function) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := early(r.Context())
		defer cancel()
		sw := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(sw, r.WithContext(ctx))
		f.report.endRequest(r, sw.status, sw.sent)
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
	sent   int64
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.sent += int64(n)
	return n, err
}

// maxPayload is what Lambda takes of an event, and of an answer that is not streamed.
const maxPayload = 6 << 20

// handleRequest answers a request to a function URL, or to an API Gateway of the same
// format. The former streams: it sends what there is, as large as it may be.
func (f *function) handleRequest(ctx context.Context, payload json.RawMessage) (any, error) {
	request := &events.LambdaFunctionURLRequest{}
	if err := json.Unmarshal(payload, request); err != nil {
		return nil, fmt.Errorf("request to the URL: %w", err)
	}
	response, err := f.web(ctx, request)
	if err != nil {
		return nil, err
	}
	if f.streams(request) {
		return response, nil
	}
	return buffered(response)
}

func (f *function) streams(r *events.LambdaFunctionURLRequest) bool {
	switch f.cfg.Response {
	case "stream":
		return true
	case "buffer":
		return false
	}
	return strings.Contains(r.RequestContext.DomainName, ".lambda-url.")
}

// maxBuffered is how many bytes of a body fit into an answer that is not streamed, as
// base64 in JSON and beside its headers.
const maxBuffered = (maxPayload - 64<<10) / 4 * 3

// buffered is the whole of a response in one piece of JSON. One that is too large becomes
// an error that says what to do.
func buffered(r *events.LambdaFunctionURLStreamingResponse) (*events.LambdaFunctionURLResponse, error) {
	defer func() { _ = r.Close() }()
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBuffered+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxBuffered {
		const text = "the answer has more than the %d bytes that may leave here in one piece; ask the function's URL, which streams, or for less: a shorter range, max_nodes, limit"
		fault, err := json.Marshal(map[string]any{"error": map[string]string{"code": "too_large", "message": fmt.Sprintf(text, maxBuffered)}})
		if err != nil {
			return nil, err
		}
		return &events.LambdaFunctionURLResponse{StatusCode: http.StatusRequestEntityTooLarge, Headers: map[string]string{"Content-Type": "application/json"}, Body: string(fault)}, nil
	}
	return &events.LambdaFunctionURLResponse{
		StatusCode: r.StatusCode, Headers: r.Headers, Cookies: r.Cookies,
		Body: base64.StdEncoding.EncodeToString(body), IsBase64Encoded: true,
	}, nil
}
