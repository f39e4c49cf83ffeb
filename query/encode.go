package query

import (
	"bufio"
	"encoding/json"
	"io"
	"strconv"

	"github.com/coldframe/coldframe/profile"
)

// What the answers look like as JSON is told by api/openapi.yaml; the tests compare.

// head is what answers of one type have in common.
type head struct {
	Type string `json:"type"`
	Unit string `json:"unit"`
	From string `json:"from"`
	To   string `json:"to"`
}

func newHead(t profile.Type, r profile.TimeRange) head {
	h := head{From: formatTime(r.From), To: formatTime(r.To)}
	if t != (profile.Type{}) {
		h.Type, h.Unit = t.String(), t.Sample.Unit
	}
	return h
}

// baseHead tells of what an answer is compared with.
type baseHead struct {
	From     string `json:"from"`
	To       string `json:"to"`
	Total    int64  `json:"total"`
	Filtered int64  `json:"filtered"`

	Scale     float64 `json:"scale"`
	BaseScale float64 `json:"base_scale"`
}

func newBaseHead(c *Comparison) *baseHead {
	if c == nil {
		return nil
	}
	return &baseHead{formatTime(c.Range.From), formatTime(c.Range.To), c.Total, c.Filtered, c.Scale, c.BaseScale}
}

// frameColumns are a tree's frames as columns.
type frameColumns struct {
	Name    []string `json:"name"`
	File    []string `json:"file"`
	Line    []int64  `json:"line"`
	Binary  []string `json:"binary"`
	BuildID []string `json:"build_id"`
	Kind    []string `json:"kind"`
}

func newFrameColumns(frames []Frame) frameColumns {
	n := len(frames)
	c := frameColumns{make([]string, n), make([]string, n), make([]int64, n), make([]string, n), make([]string, n), make([]string, n)}
	for i := range frames {
		f := &frames[i]
		c.Name[i], c.File[i], c.Line[i], c.Binary[i], c.BuildID[i], c.Kind[i] = f.Name, f.File, f.Line, f.Binary(), f.BuildID, f.Kind.String()
	}
	return c
}

// WriteJSON writes the tree as Flamegraph of openapi.yaml. The columns of nodes are written
// by hand: there are hundreds of thousands of numbers, and encoding/json would take
// ten times as long over them as the tree took to merge.
func (t *Tree) WriteJSON(w io.Writer) error {
	out := bufio.NewWriterSize(w, 32<<10)
	total := int64(0)
	if len(t.Total) > 0 {
		total = t.Total[0]
	}
	start, err := json.Marshal(struct {
		head
		Total    int64        `json:"total"`
		Filtered int64        `json:"filtered"`
		Base     *baseHead    `json:"base,omitempty"`
		Cut      int          `json:"cut"`
		Frames   frameColumns `json:"frames"`
		Stats    Stats        `json:"stats"`
	}{newHead(t.Type, t.Range), total, t.Filtered, newBaseHead(t.Comparison()), t.Cut, newFrameColumns(t.Frames), t.Stats})
	if err != nil {
		return err
	}
	// What a bufio.Writer could not write it tells at Flush.
	_, _ = out.Write(start[:len(start)-1])
	_, _ = out.WriteString(`,"nodes":{"depth":`)
	writeColumn(out, t.Depth)
	_, _ = out.WriteString(`,"frame":`)
	writeColumn(out, t.Frame)
	for i, column := range t.columns() {
		_, _ = out.WriteString(`,"` + valueColumns[i] + `":`)
		writeColumn(out, *column)
	}
	_, _ = out.WriteString("}}\n")
	return out.Flush()
}

// valueColumns are the names of what Tree.columns gives.
var valueColumns = [...]string{"self", "total", "base_self", "base_total"}

func writeColumn[T uint32 | int64](out *bufio.Writer, column []T) {
	const longest = 21 // of a number with its comma
	_ = out.WriteByte('[')
	for i, v := range column {
		if out.Available() < longest {
			_ = out.Flush()
		}
		digits := out.AvailableBuffer()
		if i > 0 {
			digits = append(digits, ',')
		}
		_, _ = out.Write(strconv.AppendInt(digits, int64(v), 10))
	}
	_ = out.WriteByte(']')
}

// WriteJSON writes the table as Top of openapi.yaml.
func (t *Top) WriteJSON(w io.Writer) error {
	type function struct {
		Name   string `json:"name"`
		File   string `json:"file"`
		Binary string `json:"binary"`
		Kind   string `json:"kind"`
		Self   int64  `json:"self"`
		Total  int64  `json:"total"`

		BaseSelf  *int64 `json:"base_self,omitempty"`
		BaseTotal *int64 `json:"base_total,omitempty"`
	}
	functions := make([]function, len(t.Functions))
	for i := range t.Functions {
		f := &t.Functions[i]
		functions[i] = function{Name: f.Name, File: f.File, Binary: f.Binary(), Kind: f.Kind.String(), Self: f.Self, Total: f.Total}
		if t.Base != nil {
			functions[i].BaseSelf, functions[i].BaseTotal = &f.BaseSelf, &f.BaseTotal
		}
	}
	return json.NewEncoder(w).Encode(struct {
		head
		Total     int64      `json:"total"`
		Filtered  int64      `json:"filtered"`
		Base      *baseHead  `json:"base,omitempty"`
		Count     int        `json:"count"`
		Functions []function `json:"functions"`
		Stats     Stats      `json:"stats"`
	}{newHead(t.Type, t.Range), t.Total, t.Filtered, newBaseHead(t.Base), t.Count, functions, t.Stats})
}

// WriteJSON writes the series as SeriesList of openapi.yaml.
func (l *SeriesList) WriteJSON(w io.Writer) error {
	type series struct {
		Labels map[string]string `json:"labels"`
		Points [][2]int64        `json:"points"`
	}
	all := make([]series, len(l.Series))
	for i, s := range l.Series {
		all[i] = series{s.Labels.Map(), make([][2]int64, len(s.Points))}
		for j, p := range s.Points {
			all[i].Points[j] = [2]int64{p.Time, p.Value}
		}
	}
	return json.NewEncoder(w).Encode(struct {
		head
		StepMillis int64    `json:"step_ms"`
		Series     []series `json:"series"`
		Stats      Stats    `json:"stats"`
	}{newHead(l.Type, l.Range), l.Step.Milliseconds(), all, l.Stats})
}

// WriteJSON writes the types as TypeList of openapi.yaml.
func (l *TypeList) WriteJSON(w io.Writer) error {
	type typ struct {
		Type       string `json:"type"`
		Name       string `json:"name"`
		SampleType string `json:"sample_type"`
		SampleUnit string `json:"sample_unit"`
		PeriodType string `json:"period_type"`
		PeriodUnit string `json:"period_unit"`
		Delta      bool   `json:"delta"`
	}
	types := make([]typ, len(l.Types))
	for i, t := range l.Types {
		types[i] = typ{t.String(), t.Name, t.Sample.Type, t.Sample.Unit, t.Period.Type, t.Period.Unit, t.Delta}
	}
	return json.NewEncoder(w).Encode(struct {
		Types []typ `json:"types"`
		Stats Stats `json:"stats"`
	}{types, l.Stats})
}

// WriteJSON writes the names as LabelNames, or as LabelValues when they are the
// values of one, of openapi.yaml.
func (l *WordList) WriteJSON(w io.Writer) error {
	words := l.Words
	if words == nil {
		words = []string{}
	}
	if l.Label == "" {
		return json.NewEncoder(w).Encode(struct {
			Names     []string `json:"names"`
			OfSamples []string `json:"of_samples,omitempty"`
			Stats     Stats    `json:"stats"`
		}{words, l.OfSamples, l.Stats})
	}
	return json.NewEncoder(w).Encode(struct {
		Name      string   `json:"name"`
		Values    []string `json:"values"`
		OfSamples []string `json:"of_samples,omitempty"`
		Stats     Stats    `json:"stats"`
	}{l.Label, words, l.OfSamples, l.Stats})
}
