package push

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strings"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
	"github.com/coldframe/coldframe/upload"
)

// sampleTypeConfig is what an SDK says of a sample type in a form.
type sampleTypeConfig struct {
	DisplayName string `json:"display-name"`
	Cumulative  bool   `json:"cumulative"`
}

// parseForm gives the parts of a multipart form by their names. Of a name that comes
// twice the first counts.
func parseForm(body []byte, contentType string) (map[string][]byte, error) {
	_, params, err := mime.ParseMediaType(contentType)
	if err == nil && params["boundary"] == "" {
		err = errors.New("it has no boundary")
	}
	if err != nil {
		return nil, serve.Field("Content-Type", fmt.Errorf("%.100q: %w: %w", contentType, err, profile.ErrInvalid))
	}
	parts := map[string][]byte{}
	for r := multipart.NewReader(bytes.NewReader(body), params["boundary"]); ; {
		part, err := r.NextPart()
		if errors.Is(err, io.EOF) {
			return parts, nil
		}
		var data []byte
		if err == nil {
			data, err = io.ReadAll(part) // no larger than the body
		}
		if err != nil {
			return nil, serve.Field("body", fmt.Errorf("form: %w: %w", err, profile.ErrInvalid))
		}
		if _, again := parts[part.FormName()]; !again {
			parts[part.FormName()] = data
		}
	}
}

// fromPprof takes a pprof, alone or in a form with what the SDK says of it.
func (q ingestQuery) fromPprof(body []byte, contentType string) ([]upload.Profile, error) {
	var config map[string]sampleTypeConfig
	if strings.HasPrefix(contentType, "multipart/form-data") {
		parts, err := parseForm(body, contentType)
		if err != nil {
			return nil, err
		}
		if body = parts["profile"]; len(body) == 0 {
			return nil, serve.Field("profile", fmt.Errorf("the form has no such part, or it is empty: %w", profile.ErrInvalid))
		}
		if text := parts["sample_type_config"]; len(text) > 0 {
			if err := json.Unmarshal(text, &config); err != nil {
				return nil, serve.Field("sample_type_config", fmt.Errorf("%w: %w", err, profile.ErrInvalid))
			}
		}
		if previous := parts["prev_profile"]; len(previous) > 0 {
			if body, err = difference(body, previous, config); err != nil {
				return nil, err
			}
		}
	}
	labels, err := q.series(q.app)
	if err != nil {
		return nil, serve.Field("name", err)
	}
	apart, err := unmix(body, config)
	if err != nil {
		return nil, err
	}
	profiles := make([]upload.Profile, len(apart))
	for i, p := range apart {
		profiles[i] = upload.Profile{Name: p.name, Labels: labels, Body: p.body, Time: q.from}
	}
	return profiles, nil
}

// difference is what was added to cumulative profiles between two of them. The values of
// other types stay. What has become less, because the program began anew, is 0.
func difference(body, previous []byte, config map[string]sampleTypeConfig) ([]byte, error) {
	now, err := parsePprof(body)
	if err != nil {
		return nil, serve.Field("profile", err)
	}
	before, err := parsePprof(previous)
	if err != nil {
		return nil, serve.Field("prev_profile", err)
	}
	ratios := make([]float64, len(before.SampleType))
	for i, t := range before.SampleType {
		if config[t.Type].Cumulative {
			ratios[i] = -1
		}
	}
	if err := before.ScaleN(ratios); err != nil {
		return nil, serve.Field("prev_profile", fmt.Errorf("%w: %w", err, profile.ErrInvalid))
	}
	at, length := now.TimeNanos, now.DurationNanos
	merged, err := pprof.Merge([]*pprof.Profile{now, before})
	if err != nil {
		return nil, serve.Field("prev_profile", fmt.Errorf("%w: %w", err, profile.ErrInvalid))
	}
	merged.TimeNanos, merged.DurationNanos = at, length
	for _, s := range merged.Sample {
		for i, v := range s.Value {
			s.Value[i] = max(v, 0)
		}
	}
	var out bytes.Buffer
	err = merged.Write(&out)
	return out.Bytes(), err
}

// parsePprof reads a pprof for changing it. The decoder of the house looks first, because
// it keeps to limits.
func parsePprof(body []byte) (*pprof.Profile, error) {
	var d profile.Decoder
	if _, err := d.Decode(body); err != nil {
		return nil, err
	}
	p, err := pprof.ParseData(body)
	if err == nil {
		err = p.CheckValid()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, profile.ErrInvalid)
	}
	return p, nil
}
