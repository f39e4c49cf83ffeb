package scrape

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/profile"
)

// keepSampleTypes drops all other sample types of a pprof, and the samples that
// have no value left.
func keepSampleTypes(body []byte, keep []profile.ValueType) ([]byte, error) {
	p, err := pprof.ParseData(body)
	if err != nil {
		return nil, fmt.Errorf("keep_sample_type: %w", err)
	}
	var columns []int
	var types []*pprof.ValueType
	for i, st := range p.SampleType {
		for _, k := range keep {
			if k.Type == st.Type && k.Unit == st.Unit {
				columns, types = append(columns, i), append(types, st)
			}
		}
	}
	if len(columns) == 0 {
		return nil, errors.New("keep_sample_type: the profile has none of the sample types to keep")
	}
	samples := p.Sample[:0]
	for _, sample := range p.Sample {
		values := make([]int64, len(columns))
		some := false
		for i, column := range columns {
			values[i] = sample.Value[column]
			some = some || values[i] != 0
		}
		if some {
			sample.Value = values
			samples = append(samples, sample)
		}
	}
	p.SampleType, p.Sample = types, samples
	if !slices.ContainsFunc(types, func(t *pprof.ValueType) bool { return t.Type == p.DefaultSampleType }) {
		p.DefaultSampleType = ""
	}
	var out bytes.Buffer
	if err := p.Compact().Write(&out); err != nil {
		return nil, fmt.Errorf("keep_sample_type: %w", err)
	}
	return out.Bytes(), nil
}
