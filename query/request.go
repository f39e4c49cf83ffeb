package query

import (
	"fmt"
	"strings"
	"time"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
)

// Request says which profiles are meant, and which of their stacks.
type Request struct {
	Tenant   profile.Tenant
	Selector profile.Selector
	Range    profile.TimeRange
	Filters  []Filter // all apply; at most MaxFilters
	Strict   bool     // ErrPartial instead of a partial answer
	Fresh    bool     // what is live is asked of the bucket, not remembered
}

// TreeRequest asks for a call tree. Its zero View is the flame graph by function.
type TreeRequest struct {
	Request
	View

	// Aggregate says which of a series' profiles are added up, and how.
	Aggregate Aggregate

	// Base, when there is one, is what the answer is compared with: the tree has
	// the nodes of both, and columns of the base's values. Tenant, Strict and Fresh are the
	// Request's, and both see the same snapshot of the bucket.
	Base *Request
	// Absolute compares values as they are. Else both sides are scaled to one whole first:
	// Comparison tells the factors.
	Absolute bool
}

// View says how samples become a tree. First the frames are made and the groups, then
// Sandwich cuts the stacks, then Invert turns them.
type View struct {
	// Frames is what makes two frames one. 0 means FrameByFunction.
	Frames FrameKey
	// Labels are names of labels to group by: the root's children are then one frame of
	// Kind LabelFrame for each distinct set of their values, above the stacks of those samples.
	Labels []string
	// Step, when it is not 0, groups by time as well: a group's labels have one more, [StepLabel],
	// that says in which step the profiles began. Steps are as those of a SeriesRequest. Not for
	// comparisons, nor differences.
	Step time.Duration
	// Sandwich is the name of a frame. Stacks without it are left out and count as
	// filtered. Of the others its callers are cut off at the last time it is on the stack: the
	// tree is what it called. With Invert its callees are cut off instead, and the tree is who
	// called it.
	Sandwich string
	// Invert puts what a stack ends in at the top, callers below callees. A node's self value
	// is then that of the stacks that begin in it.
	Invert bool
}

// StepLabel is the label of groups that are of one step of time: when it began, as
// 2006-01-02T15:04:05.000Z.
const StepLabel = "__time__"

// FrameKey is a set of what must agree for two frames to be one. Without FrameByFunction
// frames are files, binaries, addresses or lines instead of functions, and
// a run of equal ones on a stack is one.
type FrameKey uint8

// The parts of a FrameKey.
const (
	FrameByFunction FrameKey = 1 << iota // its name, or binary and address where it has none
	FrameByFile                          // its source file
	FrameByBinary                        // the mapped file and its build ID
	FrameByAddress                       // with the binary
	FrameByLine                          // with the source file
)

// frameKeys are the words for the parts of a FrameKey.
var frameKeys = []struct {
	word string
	key  FrameKey
}{
	{"function", FrameByFunction},
	{"file", FrameByFile},
	{"binary", FrameByBinary},
	{"address", FrameByAddress},
	{"line", FrameByLine},
}

// maxGroupLabels is how many labels a View may group by.
const maxGroupLabels = 16

// ParseGroupBy reads words that a tree may be grouped by into a View: function, file,
// binary, address and line are of the FrameKey, all others names of labels. labels.NAME
// is the label that is called like one of these words.
func ParseGroupBy(v *View, words []string) error {
next:
	for _, word := range words {
		for _, k := range frameKeys {
			if word == k.word {
				v.Frames |= k.key
				continue next
			}
		}
		name := strings.TrimPrefix(word, "labels.")
		if name == "" {
			return fmt.Errorf("group by %q: want function, file, binary, address, line or the name of a label: %w", word, profile.ErrInvalid)
		}
		v.Labels = append(v.Labels, name)
	}
	return v.validate()
}

func (req *TreeRequest) validate() error {
	if err := validateFilters(req.Filters); err != nil {
		return err
	}
	if req.Base != nil {
		if err := validateFilters(req.Base.Filters); err != nil {
			return err
		}
	}
	switch {
	case req.Step == 0:
	case req.Base != nil:
		return serve.Field("step", fmt.Errorf("a comparison has no steps of time: %w", profile.ErrInvalid))
	case req.Aggregate == Difference:
		return serve.Field("step", fmt.Errorf("differences have no steps of time: %w", profile.ErrInvalid))
	default:
		if err := checkStep(req.Step, req.Range); err != nil {
			return serve.Field("step", err)
		}
	}
	return req.View.validate()
}

// grouped says whether the frames below the root are groups.
func (v *View) grouped() bool { return len(v.Labels) > 0 || v.Step > 0 }

func (v *View) validate() error {
	if len(v.Labels) > maxGroupLabels {
		return fmt.Errorf("group by %d labels: at most %d are allowed: %w", len(v.Labels), maxGroupLabels, profile.ErrInvalid)
	}
	return nil
}
