package sim

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cespare/xxhash/v2"
	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/block/pprofblock"
	"github.com/coldframe/coldframe/profile"
)

const profileName = "work"

// sent is a profile that somebody gave to an uploader. No two have the same content.
type sent struct {
	tenant profile.Tenant
	at     time.Time
	labels profile.Labels
	value  int64  // of its one sample
	body   []byte // the pprof, in gzip
	hash   uint64 // of the pprof
	again  bool   // its client has tried more than once
}

// makeProfile makes the nth profile, as small as profiles get.
func makeProfile(zip *gzip.Writer, n int64, tenant profile.Tenant, at time.Time) *sent {
	f := &pprof.Function{ID: 1, Name: "f"}
	l := &pprof.Location{ID: 1, Line: []pprof.Line{{Function: f}}}
	p := &pprof.Profile{
		SampleType:    []*pprof.ValueType{{Type: "work", Unit: "count"}},
		TimeNanos:     at.UnixNano(),
		DurationNanos: int64(time.Second),
		Function:      []*pprof.Function{f},
		Location:      []*pprof.Location{l},
		Sample:        []*pprof.Sample{{Location: []*pprof.Location{l}, Value: []int64{n}}},
	}
	var raw, body bytes.Buffer
	err := p.WriteUncompressed(&raw)
	zip.Reset(&body)
	if err == nil {
		_, err = zip.Write(raw.Bytes())
	}
	if err == nil {
		err = zip.Close()
	}
	labels, labelErr := profile.NewLabels(profile.Label{Name: "service_name", Value: fmt.Sprint("s", n%3)})
	if err != nil || labelErr != nil {
		panic(fmt.Sprintf("sim: make profile %d: %v, %v", n, err, labelErr))
	}
	return &sent{tenant: tenant, at: at, labels: labels, value: n, body: body.Bytes(), hash: xxhash.Sum64(raw.Bytes())}
}

// timeFor is when a profile was taken that is uploaded at now: mostly just before it,
// sometimes hours or days.
func timeFor(rng *rand.Rand, now time.Time) time.Time {
	ago := time.Duration(rng.IntN(90_000)) * time.Millisecond
	switch rng.IntN(20) {
	case 0:
		ago += 24 * time.Hour
	case 1:
		ago += time.Duration(rng.IntN(180)) * time.Minute
	}
	return now.Add(-ago)
}

// content is what is in a block of either kind.
type content struct {
	hashes  []uint64 // of profiles, each as often as it is there
	values  []int64  // of the same; nil for a pprof block
	sources []arrowblock.Source
	id      block.ID // of a pprof block
}

// parseBlock reads an Arrow block.
func parseBlock(data []byte) (*content, error) {
	ctx := context.Background()
	b, err := arrowblock.Open(ctx, block.Bytes(data), arrowblock.Tail{})
	if err != nil {
		return nil, err
	}
	var c content
	if c.sources, err = b.Sources(ctx); err != nil {
		return nil, err
	}
	for group := range b.Groups() {
		totals, err := b.Totals(ctx, group, arrowblock.Span{To: uint64(len(b.Series()))})
		if err != nil {
			return nil, err
		}
		c.hashes = append(c.hashes, totals.Hash...)
		c.values = append(c.values, totals.Values[0]...)
	}
	return &c, nil
}

// parseL0 reads a pprof block. Profiles that are damaged are left out.
func parseL0(d *profile.Decoder, data []byte) (*content, error) {
	r, err := pprofblock.Open(data, pprofblock.Limits{})
	if err != nil {
		return nil, err
	}
	c := content{id: r.Manifest().ID}
	for i := range r.Len() {
		body, err := r.Profile(i)
		if err != nil {
			continue
		}
		raw, err := d.Uncompress(body)
		if err != nil {
			return nil, err
		}
		c.hashes = append(c.hashes, xxhash.Sum64(raw))
	}
	return &c, nil
}
