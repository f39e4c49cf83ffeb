package push

import (
	"fmt"
	"strings"
	"time"

	"github.com/coldframe/coldframe/ingest/push/jfr"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
	"github.com/coldframe/coldframe/upload"
)

// fromJFR takes a recording, alone or in a form with the labels of its contexts, as
// Pyroscope's agent for Java sends it.
func (q ingestQuery) fromJFR(body []byte, contentType string) ([]upload.Profile, error) {
	var o jfr.Options
	if q.rateGiven && q.rate > 0 {
		o.Period = time.Second / time.Duration(q.rate)
	}
	if strings.HasPrefix(contentType, "multipart/form-data") {
		parts, err := parseForm(body, contentType)
		if err != nil {
			return nil, err
		}
		if body = parts["jfr"]; len(body) == 0 {
			return nil, serve.Field("jfr", fmt.Errorf("the form has no such part, or it is empty: %w", profile.ErrInvalid))
		}
		var d profile.Decoder
		text, err := d.Uncompress(parts["labels"])
		if err == nil {
			o.Contexts, err = jfr.ParseContexts(text)
		}
		if err != nil {
			return nil, serve.Field("labels", err)
		}
	}
	made, err := jfr.Decode(body, o)
	if err != nil {
		return nil, serve.Field("body", err)
	}
	labels, err := q.series(q.app)
	if err != nil {
		return nil, serve.Field("name", err)
	}
	for i := range made {
		made[i].Labels = labels
	}
	return uploads(made), nil
}
