//go:build !lambda

package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"cloud.google.com/go/storage"
	"github.com/go-kit/log"
	"github.com/thanos-io/objstore/providers/gcs"
	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"
)

// gcsCloud is Google Cloud Storage, by the client that objstore makes. A version is a
// generation.
//
// An upload is one request, however large, because the client would else hold 16 MiB for
// each; chunk_size_bytes means nothing. Nor does max_retries: what may be tried again is
// decided in [operation.judge]. One object takes about one write a second.
type gcsCloud struct {
	bucket *storage.BucketHandle
}

func parseGCS(document []byte) (opener, error) {
	config := gcs.DefaultConfig
	prefix, err := decode(document, &config)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (Bucket, error) { return openGCS(ctx, config, prefix) }, nil
}

func openGCS(ctx context.Context, config gcs.Config, prefix string) (Bucket, error) {
	switch {
	case config.Bucket == "":
		return nil, errors.New("bucket: missing")
	case config.UseGRPC:
		return nil, errors.New("use_grpc: not supported")
	}
	clock := &serverClock{}
	wire, err := newWire(config.HTTPConfig, clock)
	if err != nil {
		return nil, fmt.Errorf("http_config: %w", err)
	}
	config.HTTPConfig.Transport = wire
	config.HTTPConfig.IdleConnTimeout = 0 // objstore also bounds each whole request by it
	ctx = context.WithoutCancel(ctx)      // it would end the renewal of tokens, too
	b, err := gcs.NewBucketWithConfig(ctx, log.NewNopLogger(), config, "coldframe", nil)
	if err != nil {
		return nil, err
	}
	c := &gcsCloud{b.Handle().Retryer(storage.WithPolicy(storage.RetryNever))}
	return newRemote(c, "gs", config.Bucket, prefix, clock), nil
}

func (c *gcsCloud) put(ctx context.Context, key string, b *body, sum []byte, cond condition) (Version, error) {
	o := c.bucket.Object(key)
	switch {
	case cond.absent:
		o = o.If(storage.Conditions{DoesNotExist: true})
	case cond.match != "":
		generation, err := strconv.ParseInt(string(cond.match), 10, 64)
		if err != nil {
			return "", final{fmt.Errorf("version %q is no generation", cond.match)}
		}
		o = o.If(storage.Conditions{GenerationMatch: generation})
	}
	// Closing the writer stores what it was given; ending its context does not.
	ctx, abort := context.WithCancel(ctx)
	defer abort()
	w := o.NewWriter(ctx)
	w.ChunkSize = 0
	w.MD5 = sum
	w.ContentType = "application/octet-stream"
	if _, err := io.Copy(w, b); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return generation(w.Attrs().Generation), nil
}

func generation(g int64) Version { return Version(strconv.FormatInt(g, 10)) }

func (c *gcsCloud) get(ctx context.Context, key string, s *span) (*content, error) {
	off, n := int64(0), int64(-1)
	if s != nil {
		off, n = s.off, s.n
		if off < 0 {
			n = -1
		}
	}
	r, err := c.bucket.Object(key).ReadCompressed(true).NewRangeReader(ctx, off, n)
	if err != nil {
		return nil, err
	}
	return &content{
		body:    r,
		off:     r.Attrs.StartOffset,
		size:    r.Remain(),
		total:   r.Attrs.Size,
		version: generation(r.Attrs.Generation),
	}, nil
}

func (c *gcsCloud) stat(ctx context.Context, key string) (Object, error) {
	attrs, err := c.bucket.Object(key).Attrs(ctx)
	if err != nil {
		return Object{}, err
	}
	return Object{Size: attrs.Size, Modified: attrs.Updated}, nil
}

func (c *gcsCloud) list(ctx context.Context, prefix, after string, folders bool, yield func(Object) bool) error {
	query := &storage.Query{Prefix: prefix, Projection: storage.ProjectionNoACL}
	if folders {
		query.Delimiter = "/"
	} else {
		query.StartOffset = after // which is yielded once more
	}
	if err := query.SetAttrSelection([]string{"Name", "Size", "Updated"}); err != nil {
		return err
	}
	for objects := c.bucket.Objects(ctx, query); ; {
		o, err := objects.Next()
		switch {
		case errors.Is(err, iterator.Done):
			return nil
		case err != nil:
			return err
		case folders && o.Prefix == "":
			continue
		}
		if !yield(Object{Key: o.Prefix + o.Name, Size: o.Size, Modified: o.Updated}) {
			return nil
		}
	}
}

func (c *gcsCloud) delete(ctx context.Context, key string) error {
	return c.bucket.Object(key).Delete(ctx)
}

func (c *gcsCloud) refusal(err error) refusal {
	var api *googleapi.Error
	var token *oauth2.RetrieveError
	switch {
	case errors.Is(err, storage.ErrObjectNotExist):
		return refusal{http.StatusNotFound, "notFound", "no such object"}
	case errors.Is(err, storage.ErrBucketNotExist):
		return refusal{http.StatusNotFound, "NoSuchBucket", "no such bucket"}
	case errors.As(err, &api):
		r := refusal{status: api.Code, text: api.Message}
		if r.text == "" {
			r.text = api.Body
		}
		if len(api.Errors) > 0 {
			r.code = api.Errors[0].Reason
		}
		return r
	case errors.As(err, &token) && token.Response != nil && token.Response.StatusCode < 500:
		return refusal{http.StatusUnauthorized, "token", string(token.Body)}
	}
	return refusal{}
}

// setLifecycle implements [lifecycled]. Rules have no names here: ours are those that delete
// below root, and the one that gives uploads up.
func (c *gcsCloud) setLifecycle(ctx context.Context, l Lifecycle, root string) error {
	attrs, err := c.bucket.Attrs(ctx)
	if err != nil {
		return err
	}
	ours := []storage.LifecycleRule{{
		Action:    storage.LifecycleAction{Type: storage.AbortIncompleteMPUAction},
		Condition: storage.LifecycleCondition{AgeInDays: int64(daysOf(l.AbortUploadsAfter))},
	}}
	for _, r := range l.Rules {
		ours = append(ours, storage.LifecycleRule{
			Action:    storage.LifecycleAction{Type: storage.DeleteAction},
			Condition: storage.LifecycleCondition{AgeInDays: int64(r.Days()), MatchesPrefix: []string{r.Prefix}},
		})
	}
	others := slices.DeleteFunc(attrs.Lifecycle.Rules, func(r storage.LifecycleRule) bool {
		if r.Action.Type == storage.AbortIncompleteMPUAction {
			return len(r.Condition.MatchesPrefix) == 0
		}
		prefixes := r.Condition.MatchesPrefix
		return r.Action.Type == storage.DeleteAction && len(prefixes) == 1 && strings.HasPrefix(prefixes[0], root)
	})
	_, err = c.bucket.Update(ctx, storage.BucketAttrsToUpdate{Lifecycle: &storage.Lifecycle{Rules: append(others, ours...)}})
	return err
}
