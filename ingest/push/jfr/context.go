package jfr

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/profile/draft"
)

// Contexts are the labels that Pyroscope's Java agent sends beside a recording: events
// have the number of a set of labels.
type Contexts struct {
	sets    map[int64][]draft.Label
	strings map[int64]string
}

// ParseContexts reads a LabelsSnapshot: contexts = 1 and strings = 2, both maps by number,
// where a context has a map labels = 1 from the number of a name to that of a value.
func ParseContexts(data []byte) (Contexts, error) {
	c := Contexts{sets: map[int64][]draft.Label{}, strings: map[int64]string{}}
	sets := map[int64][][2]int64{}
	err := fields(data, func(field protowire.Number, entry []byte, _ uint64) error {
		var id int64
		var set []byte
		err := fields(entry, func(n protowire.Number, b []byte, v uint64) error {
			if n == 1 {
				id = int64(v)
			} else if n == 2 {
				set = b
			}
			return nil
		})
		if err != nil || field != 1 {
			if field == 2 {
				c.strings[id] = string(set)
			}
			return err
		}
		return fields(set, func(n protowire.Number, b []byte, _ uint64) error {
			if n != 1 {
				return nil
			}
			var pair [2]int64
			err := fields(b, func(n protowire.Number, _ []byte, v uint64) error {
				if n == 1 || n == 2 {
					pair[n-1] = int64(v)
				}
				return nil
			})
			sets[id] = append(sets[id], pair)
			return err
		})
	})
	for id, pairs := range sets {
		for _, p := range pairs {
			if c.strings[p[0]] != "" && c.strings[p[1]] != "" {
				c.sets[id] = append(c.sets[id], draft.Label{Key: c.strings[p[0]], Str: c.strings[p[1]]})
			}
		}
		slices.SortFunc(c.sets[id], func(a, b draft.Label) int {
			if a.Key < b.Key {
				return -1
			}
			return 1
		})
	}
	return c, err
}

// fields calls f with the fields of a message: bytes or a number.
func fields(b []byte, f func(field protowire.Number, bytes []byte, number uint64) error) error {
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("labels: %w: %w", protowire.ParseError(n), profile.ErrInvalid)
		}
		b = b[n:]
		var bytes []byte
		var number uint64
		switch kind {
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(field, kind, b)
		}
		if n < 0 {
			return fmt.Errorf("labels: %w: %w", protowire.ParseError(n), profile.ErrInvalid)
		}
		b = b[n:]
		if err := f(field, bytes, number); err != nil {
			return err
		}
	}
	return nil
}

// append adds the labels of an event's context, and the trace and span it names.
func (c Contexts) append(labels []draft.Label, e value) []draft.Label {
	labels = append(labels, c.sets[e.number("contextId")]...)
	if id := uint64(e.number("spanId")); id != 0 {
		labels = append(labels, draft.Label{Key: "profile_id", Str: fmt.Sprintf("%016x", id)})
	}
	if name := c.strings[e.number("spanName")]; name != "" {
		labels = append(labels, draft.Label{Key: "span_name", Str: name})
	}
	if hi, lo := uint64(e.number("traceIdHi")), uint64(e.number("traceIdLo")); hi != 0 || lo != 0 {
		labels = append(labels, draft.Label{Key: "trace_id", Str: fmt.Sprintf("%016x%016x", hi, lo)})
	}
	return labels
}
