package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.40.0"
	api "go.opentelemetry.io/otel/trace"

	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/compactor"
)

// tracing sends spans to an OpenTelemetry collector. The nil *tracing sends none.
type tracing struct {
	spans  *trace.TracerProvider
	tracer api.Tracer
}

// startTracing sends spans by OTLP over HTTP if the environment names a collector, as
// OpenTelemetry's own variables say.
func startTracing(ctx context.Context, log *slog.Logger) (*tracing, error) {
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" || os.Getenv("OTEL_SDK_DISABLED") == "true" {
		return nil, nil //nolint:nilnil // the nil *tracing is one
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	self, err := resource.New(ctx,
		resource.WithAttributes(semconv.ServiceName("coldframe"), semconv.ServiceVersion(version)),
		resource.WithHost(), resource.WithFromEnv())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("traces: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces could not be sent", "err", err) }))
	spans := trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(self))
	return &tracing{spans, spans.Tracer("github.com/coldframe/coldframe")}, nil
}

// close sends what is left.
func (t *tracing) close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	if err := t.spans.Shutdown(ctx); err != nil {
		return fmt.Errorf("the last traces are lost: %w", err)
	}
	return nil
}

// bucket makes a span of every operation on b that belongs to a request or a job.
func (t *tracing) bucket(b bucket.Bucket) bucket.Bucket {
	if t == nil {
		return b
	}
	return bucket.Traced(b, func(ctx context.Context, operation, key string) (context.Context, func(error)) {
		if !api.SpanContextFromContext(ctx).IsValid() {
			return ctx, func(error) {}
		}
		ctx, span := t.tracer.Start(ctx, "bucket "+operation, api.WithSpanKind(api.SpanKindClient), api.WithAttributes(attribute.String("object.key", key)))
		return ctx, func(err error) { end(span, err) }
	})
}

// end ends a span. What is not there, or was there first, is no failure of the bucket.
func end(span api.Span, err error) {
	switch {
	case err == nil:
	case errors.Is(err, bucket.ErrNotExist), errors.Is(err, bucket.ErrExist), errors.Is(err, bucket.ErrConflict), errors.Is(err, catalog.ErrConflict):
		span.SetAttributes(attribute.String("outcome", err.Error()))
	default:
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// serve makes a span of every request that clients make of the API, below theirs if they say so.
func (t *tracing) serve(next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/-/") || strings.HasPrefix(r.URL.Path, "/debug/") || r.URL.Path == "/metrics" {
			next.ServeHTTP(w, r)
			return
		}
		ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := t.tracer.Start(ctx, r.Method+" "+r.URL.Path, api.WithSpanKind(api.SpanKindServer), api.WithAttributes(
			semconv.HTTPRequestMethodKey.String(r.Method), semconv.URLPath(r.URL.Path)))
		defer span.End()
		answered := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(answered, r.WithContext(ctx))
		span.SetAttributes(semconv.HTTPResponseStatusCode(answered.status))
		if answered.status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(answered.status))
		}
	})
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for [http.ResponseController].
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush implements [http.Flusher], for streams.
func (w *statusWriter) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// job makes a span of a compactor's job.
func (t *tracing) job(ctx context.Context, j compactor.Job) (context.Context, func(compactor.Job, error)) {
	ctx, span := t.tracer.Start(ctx, "compact "+kindOf(j), api.WithAttributes(
		attribute.String("tenant", string(j.Tenant)), attribute.String("shard", j.Shard.String())))
	return ctx, func(j compactor.Job, err error) {
		span.SetAttributes(
			attribute.Int("pprof_blocks", j.L0s), attribute.Int("merged", j.Merged), attribute.Int("profiles", j.Profiles),
			attribute.Int64("bytes_in", j.BytesIn), attribute.Int64("bytes_out", j.BytesOut))
		end(span, err)
	}
}
