package upload_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/internal/corpus"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/upload"
)

// nowhere is a bucket that takes everything and keeps nothing.
type nowhere struct{ bucket.Bucket }

func (nowhere) Create(_ context.Context, _ string, r io.Reader, _ int64) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

// What one core takes in: decoding for the checks is nearly all of it.
func BenchmarkAdd(b *testing.B)  { benchmark(b, (*upload.Uploader).Add) }
func BenchmarkPush(b *testing.B) { benchmark(b, (*upload.Uploader).Push) }

func benchmark(b *testing.B, door func(*upload.Uploader, context.Context, profile.Tenant, ...upload.Profile) error) {
	profiles := corpus.FiveMinutes()
	u, err := upload.New(nowhere{bucket.Mem()}, upload.Config{Agent: "a", Window: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	defer closeNow(b, u)
	b.SetBytes(corpus.Bytes(profiles))
	b.ReportAllocs()
	defer corpus.ReportCPU(b, len(profiles))()
	for b.Loop() {
		for _, p := range profiles {
			if err := door(u, b.Context(), "acme", upload.Profile{Name: p.Name, Labels: p.Labels, Body: p.Body}); err != nil {
				b.Fatal(err)
			}
		}
	}
}
