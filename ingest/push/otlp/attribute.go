package otlp

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"

	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/profile/draft"
)

// labelSet gathers a series' labels; what is said last stands.
type labelSet struct{ values map[string]string }

func newLabelSet() *labelSet { return &labelSet{map[string]string{}} }

func (s *labelSet) set(key string, value *commonv1.AnyValue) {
	s.setText(underscored(key), textOf(value))
}

func (s *labelSet) setText(name, value string) {
	if name != "" && value != "" {
		s.values[name] = value
	}
}

// hasService says whether the labels tell whose the samples are.
func (s *labelSet) hasService() bool {
	for _, name := range profile.ServiceLabels {
		if s.values[name] != "" {
			return true
		}
	}
	return false
}

// with gives the labels, and one more if it has a value.
func (s *labelSet) with(name, value string) (profile.Labels, error) {
	pairs := make([]profile.Label, 0, len(s.values)+1)
	for n, v := range s.values {
		if n != name || value == "" {
			pairs = append(pairs, profile.Label{Name: n, Value: v})
		}
	}
	return profile.NewLabels(append(pairs, profile.Label{Name: name, Value: value})...)
}

// textOf writes an attribute's value as text, those of arrays with commas between.
func textOf(v *commonv1.AnyValue) string {
	switch v := v.GetValue().(type) {
	case *commonv1.AnyValue_StringValue:
		return v.StringValue
	case *commonv1.AnyValue_BoolValue:
		return strconv.FormatBool(v.BoolValue)
	case *commonv1.AnyValue_IntValue:
		return strconv.FormatInt(v.IntValue, 10)
	case *commonv1.AnyValue_DoubleValue:
		return strconv.FormatFloat(v.DoubleValue, 'g', -1, 64)
	case *commonv1.AnyValue_BytesValue:
		return base64.StdEncoding.EncodeToString(v.BytesValue)
	case *commonv1.AnyValue_ArrayValue:
		var words []string
		for _, e := range v.ArrayValue.GetValues() {
			words = append(words, textOf(e))
		}
		return strings.Join(words, ",")
	case *commonv1.AnyValue_KvlistValue:
		var words []string
		for _, e := range v.KvlistValue.GetValues() {
			words = append(words, e.GetKey()+"="+textOf(e.GetValue()))
		}
		slices.Sort(words)
		return strings.Join(words, ",")
	}
	return ""
}

// appendLabel adds an attribute of a sample: whole numbers as such, with their unit, all
// else as text.
func appendLabel(labels []draft.Label, key string, value *commonv1.AnyValue, unit string) []draft.Label {
	if v, ok := value.GetValue().(*commonv1.AnyValue_IntValue); ok {
		return append(labels, draft.Label{Key: key, Num: v.IntValue, Unit: unit})
	}
	if text := textOf(value); text != "" {
		return append(labels, draft.Label{Key: key, Str: text})
	}
	return labels
}
