package push

import (
	"context"
	"fmt"
	"strings"

	pushv1 "github.com/grafana/pyroscope/api/gen/proto/go/push/v1"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/upload"
)

// pyroscopePush is what Grafana Alloy and Pyroscope's newer SDKs call.
const pyroscopePush = "/push.v1.PusherService/Push"

// nameLabel is the label in which clients of this field put a profile's name.
const nameLabel = "__name__"

func (rc *Receiver) pushPyroscope(ctx context.Context, req *pushv1.PushRequest) (*pushv1.PushResponse, error) {
	var profiles []upload.Profile
	for i, s := range req.GetSeries() {
		pairs := make([]profile.Label, 0, len(s.GetLabels()))
		for _, l := range s.GetLabels() {
			pairs = append(pairs, profile.Label{Name: l.GetName(), Value: l.GetValue()})
		}
		name, labels, err := seriesOf(pairs)
		if err != nil {
			return nil, fmt.Errorf("series %d of %d: %w", i+1, len(req.GetSeries()), err)
		}
		for _, sample := range s.GetSamples() {
			profiles = append(profiles, upload.Profile{Name: name, Labels: labels, Body: sample.GetRawProfile()})
		}
	}
	return &pushv1.PushResponse{}, rc.store(ctx, profiles)
}

// seriesOf takes the profile's name out of a series' labels. Other names that begin with
// two underscores are between a client and its server, as in Prometheus, and are dropped.
func seriesOf(pairs []profile.Label) (name string, labels profile.Labels, err error) {
	kept := pairs[:0]
	for _, l := range pairs {
		switch {
		case l.Name == nameLabel:
			if name != "" && name != l.Value {
				return "", nil, fmt.Errorf("label %s is given twice: %w", nameLabel, profile.ErrInvalid)
			}
			name = l.Value
		case !strings.HasPrefix(l.Name, "__"):
			kept = append(kept, l)
		}
	}
	if usual, ok := usualNames[name]; ok {
		kept = append(kept, profile.Label{Name: originalName, Value: name})
		name = usual
	}
	labels, err = profile.NewLabels(kept...)
	return name, labels, err
}

// originalName is the label that keeps what a client called a profile whose name was
// changed to the usual one.
const originalName = "original_name"

// usualNames are the names of clients for what others call something else: the rows of
// the table in docs/push.md. A name that is not here stays as it is.
var usualNames = map[string]string{
	"godeltaprof_memory": "memory",
	"godeltaprof_mutex":  "mutex",
	"godeltaprof_block":  "block",
	"goroutines":         "goroutine",
	"lock":               "mutex",
}
