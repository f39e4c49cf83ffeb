package query

import (
	"encoding/json"
	"io"
)

// speedscopeUnits are the units that speedscope knows.
var speedscopeUnits = map[string]bool{"nanoseconds": true, "microseconds": true, "milliseconds": true, "seconds": true, "bytes": true}

// WriteSpeedscope writes the tree in the file format of speedscope.app, as one sampled
// profile, or one for each group of labels. It wants a tree that was not pruned; negative values
// are left out, as the format has no place for them.
func (t *Tree) WriteSpeedscope(w io.Writer) error {
	type frame struct {
		Name string `json:"name"`
		File string `json:"file,omitempty"`
		Line int64  `json:"line,omitempty"`
	}
	type sampled struct {
		Type       string     `json:"type"`
		Name       string     `json:"name"`
		Unit       string     `json:"unit"`
		StartValue int64      `json:"startValue"`
		EndValue   int64      `json:"endValue"`
		Samples    [][]uint32 `json:"samples"`
		Weights    []int64    `json:"weights"`
	}
	unit := t.Type.Sample.Unit
	if !speedscopeUnits[unit] {
		unit = "none"
	}
	frames := make([]frame, len(t.Frames))
	for i, f := range t.Frames {
		frames[i] = frame{f.Name, f.File, f.Line}
	}
	begin := func(name string) sampled {
		return sampled{Type: "sampled", Name: name, Unit: unit, Samples: [][]uint32{}, Weights: []int64{}}
	}
	profiles := []sampled{begin(t.Type.String())}
	var path []uint32
	for i, depth := range t.Depth {
		path = append(path[:depth], t.Frame[i])
		stack := path[min(1, depth):]
		if depth > 0 && t.Frames[path[1]].Kind == LabelFrame {
			if depth == 1 {
				profiles = append(profiles, begin(t.Frames[path[1]].Name))
			}
			stack = stack[1:]
		}
		if t.Self[i] <= 0 {
			continue
		}
		p := &profiles[len(profiles)-1]
		p.Samples = append(p.Samples, append([]uint32{}, stack...))
		p.Weights = append(p.Weights, t.Self[i])
		p.EndValue += t.Self[i]
	}
	if len(profiles) > 1 && len(profiles[0].Samples) == 0 {
		profiles = profiles[1:]
	}
	return json.NewEncoder(w).Encode(struct {
		Schema   string         `json:"$schema"`
		Shared   map[string]any `json:"shared"`
		Profiles []sampled      `json:"profiles"`
		Name     string         `json:"name"`
		Exporter string         `json:"exporter"`
	}{
		"https://www.speedscope.app/file-format-schema.json",
		map[string]any{"frames": frames},
		profiles,
		t.Type.String() + " " + formatTime(t.Range.From) + " – " + formatTime(t.Range.To), "coldframe",
	})
}
