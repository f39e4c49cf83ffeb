package query

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
)

// MaxFilters is how many filters a request may have.
const MaxFilters = 64

// Filter leaves out stacks, or frames of the stacks that stay.
//
// A stack filter keeps a stack when some frame of it meets all its positive conditions
// and every frame meets each negative one. So a stack without frames meets the
// negative ones only. The values of the stacks left out are told as filtered.
//
// A frame filter keeps the frames that meet all its conditions. What a stack that
// loses its last frame was worth stays with its callers. Frame filters come after all stack filters.
type Filter struct {
	Frames bool // a frame filter; else it is one of stacks
	Where  []Condition

	// Path, instead of conditions, keeps the stacks that begin with these frames, callers first, by
	// their names as a [Tree] of functions shows them. Unlike texts of conditions they are compared exactly.
	Path []string
}

// Condition is about one frame: a function, one that was inlined, or an address
// without a function.
type Condition struct {
	Field  Field
	Op     Op
	Text   string // of the text fields; letters of ASCII are the same in either case
	Number uint64 // of Address and LineNumber
}

// Field is what of a frame a Condition looks at. What a frame has not, as a function
// that was not found, is met by negative conditions and by no positive one.
type Field uint8

// The fields. Address is relative to where its mapping starts; absolute without one.
const (
	FunctionName Field = iota
	SystemName         // as the linker knows it, perhaps mangled
	Binary             // last element of the mapped file's path
	Filename           // of the source
	Address
	LineNumber
)

// Op compares a field with a Condition's value. Numbers know Equal and NotEqual only.
type Op uint8

// The comparisons; the odd ones are the negations.
const (
	Equal Op = iota
	NotEqual
	Contains
	NotContains
	StartsWith
	NotStartsWith
)

func (o Op) negative() bool { return o&1 == 1 }

var fieldWords = [...]string{FunctionName: "function", SystemName: "system", Binary: "binary", Filename: "file", Address: "address", LineNumber: "line"}

// opSigns are written as CSS writes them.
var opSigns = [...]string{Equal: "=", NotEqual: "!=", Contains: "*=", NotContains: "!*=", StartsWith: "^=", NotStartsWith: "!^="}

// String writes the condition as ParseFilter reads it.
func (c Condition) String() string {
	value := c.Text
	switch c.Field {
	case Address:
		value = fmt.Sprintf("%#x", c.Number)
	case LineNumber:
		value = strconv.FormatUint(c.Number, 10)
	}
	return fieldWords[c.Field] + opSigns[c.Op] + value
}

// conditionSeparator stands between the conditions of a filter. No name has it.
const conditionSeparator = " && "

// String writes the filter as ParseFilter reads it.
func (f Filter) String() string {
	if len(f.Path) > 0 {
		return writePath(f.Path)
	}
	words := make([]string, len(f.Where))
	for i, c := range f.Where {
		words[i] = c.String()
	}
	return strings.Join(words, conditionSeparator)
}

// ParseFilter reads "FIELD OP VALUE" without the spaces, or several such joined by " && ":
// "function*=malloc && binary!=libc.so.6". FIELD is function, system, binary, file, address
// or line; OP is = (equals), *= (contains), ^= (starts with), or one of these after a !.
// Addresses may be hexadecimal, with 0x. "path=main.main;main.serve" is a filter with a Path; a semicolon in a
// name is written with a backslash before it.
func ParseFilter(text string, frames bool) (Filter, error) {
	f := Filter{Frames: frames}
	if path, ok := strings.CutPrefix(text, pathWord); ok {
		f.Path = parsePath(path)
		return f, f.validate()
	}
	for word := range strings.SplitSeq(text, conditionSeparator) {
		c, err := parseCondition(word)
		if err != nil {
			return Filter{}, fmt.Errorf("filter %q: %w", text, err)
		}
		f.Where = append(f.Where, c)
	}
	return f, f.validate()
}

func parseCondition(text string) (Condition, error) {
	var c Condition
	at := strings.IndexAny(text, "=!*^")
	if at < 0 {
		return c, fmt.Errorf("%q: want FIELD=VALUE, as function=main.main, file*=net/http or binary!^=lib: %w", text, profile.ErrInvalid)
	}
	field := indexOf(fieldWords[:], text[:at])
	if field < 0 {
		return c, fmt.Errorf("%q is not one of %s: %w", text[:at], strings.Join(fieldWords[:], ", "), profile.ErrInvalid)
	}
	c.Field = Field(field)
	sign, value, ok := strings.Cut(text[at:], "=")
	op := indexOf(opSigns[:], sign+"=")
	if !ok || op < 0 {
		return c, fmt.Errorf("%q: want one of %s after the field: %w", text, strings.Join(opSigns[:], " "), profile.ErrInvalid)
	}
	c.Op = Op(op)
	if !c.isNumber() {
		c.Text = value
		return c, nil
	}
	var err error
	if c.Number, err = strconv.ParseUint(value, 0, 64); err != nil {
		return c, fmt.Errorf("%q: want a number: %w", text, profile.ErrInvalid)
	}
	return c, nil
}

func indexOf(words []string, word string) int {
	for i, w := range words {
		if w == word {
			return i
		}
	}
	return -1
}

func (c Condition) isNumber() bool { return c.Field == Address || c.Field == LineNumber }

func (f Filter) validate() error {
	if len(f.Path) > 0 {
		return f.validatePath()
	}
	if len(f.Where) == 0 {
		return fmt.Errorf("a filter without conditions: %w", profile.ErrInvalid)
	}
	for _, c := range f.Where {
		switch {
		case int(c.Field) >= len(fieldWords) || int(c.Op) >= len(opSigns):
			return fmt.Errorf("a condition of field %d and comparison %d: %w", c.Field, c.Op, profile.ErrInvalid)
		case c.isNumber() && c.Op > NotEqual:
			return fmt.Errorf("%s: a number can be compared with = and != only: %w", c, profile.ErrInvalid)
		}
	}
	return nil
}

// noFilters refuses filters where no stack is read.
func noFilters(filters []Filter) error {
	if len(filters) == 0 {
		return nil
	}
	return serve.Field("filter", fmt.Errorf("filters choose among stacks, of which this answer has none; trees, tables, pprofs and series take them: %w", profile.ErrInvalid))
}

func validateFilters(filters []Filter) error {
	if len(filters) > MaxFilters {
		return fmt.Errorf("%d filters, at most %d are allowed: %w", len(filters), MaxFilters, profile.ErrInvalid)
	}
	for _, f := range filters {
		if err := f.validate(); err != nil {
			return err
		}
	}
	return nil
}

// place is a frame as conditions see it.
type place struct {
	function *arrowblock.Function // nil: not known
	line     int64
	binary   string
	address  uint64
}

// meets says whether a frame meets the condition.
func (c Condition) meets(p *place) bool {
	found := false
	switch c.Field {
	case Address:
		found = p.address == c.Number
	case LineNumber:
		found = p.function != nil && uint64(p.line) == c.Number
	case Binary:
		found = c.finds(p.binary)
	default:
		found = p.function != nil && c.finds(c.textOf(p.function))
	}
	return found != c.Op.negative()
}

func (c Condition) textOf(f *arrowblock.Function) string {
	switch c.Field {
	case SystemName:
		return f.SystemName
	case Filename:
		return f.Filename
	}
	return f.Name
}

// finds compares as the Op without its negation does. A text that is not there is not
// found, whatever is looked for.
func (c Condition) finds(text string) bool {
	if text == "" {
		return false
	}
	switch c.Op &^ 1 {
	case Contains:
		return strings.Contains(lower(text), lower(c.Text))
	case StartsWith:
		return len(text) >= len(c.Text) && lower(text[:len(c.Text)]) == lower(c.Text)
	}
	return len(text) == len(c.Text) && lower(text) == lower(c.Text)
}

// lower changes the letters of ASCII only.
func lower(s string) string {
	for i := range len(s) {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for j := i; j < len(b); j++ {
				if 'A' <= b[j] && b[j] <= 'Z' {
					b[j] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// sieve is a request's filters, at work on the frames of one Symbols.
type sieve struct {
	stacks, frames []Filter
	sym            *arrowblock.Symbols
}

func newSieve(filters []Filter, sym *arrowblock.Symbols) *sieve {
	s := &sieve{sym: sym}
	for _, f := range filters {
		if f.Frames {
			s.frames = append(s.frames, f)
		} else {
			s.stacks = append(s.stacks, f)
		}
	}
	return s
}

// binaryName is the last path element of a mapping's file; "" when there is none.
func binaryName(sym *arrowblock.Symbols, mapping int) string {
	if mapping < 0 || sym.Mappings()[mapping].File == "" {
		return ""
	}
	return path.Base(sym.Mappings()[mapping].File)
}

// eachPlace calls f with the frames of a location, the innermost first, and the number of the line.
func (s *sieve) eachPlace(location *arrowblock.Frame, f func(line int, p *place)) {
	p := place{binary: binaryName(s.sym, location.Mapping), address: location.Address}
	if len(location.Lines) == 0 {
		f(0, &p)
		return
	}
	for i, line := range location.Lines {
		function := s.sym.Function(line.Function)
		p.function, p.line = &function, line.Line
		f(i, &p)
	}
}

// filterBits are of stack filters, by their position.
type filterBits struct {
	found    uint64 // a frame met all positive conditions
	violated uint64 // a frame did not meet a negative one
}

func (b filterBits) and(o filterBits) filterBits {
	return filterBits{b.found | o.found, b.violated | o.violated}
}

func (s *sieve) bitsOf(location arrowblock.Frame) (bits filterBits) {
	s.eachPlace(&location, func(_ int, p *place) {
		for i, f := range s.stacks {
			found := true
			for _, c := range f.Where {
				switch met := c.meets(p); {
				case met:
				case c.Op.negative():
					bits.violated |= 1 << i
				default:
					found = false
				}
			}
			if found {
				bits.found |= 1 << i
			}
		}
	})
	return bits
}

func (f Filter) hasPositive() bool {
	for _, c := range f.Where {
		if !c.Op.negative() {
			return true
		}
	}
	return false
}

// passing says of each node whether a stack that ends in it passes the stack filters; nil
// when all do. It looks at each frame once and at each node once.
func (s *sieve) passing(stacks *arrowblock.Stacks) []bool {
	if len(s.stacks) == 0 {
		return nil
	}
	var needed uint64 // an empty stack meets none of them
	for i, f := range s.stacks {
		if f.hasPositive() {
			needed |= 1 << i
		}
	}
	ofFrame := make([]filterBits, s.sym.Len())
	known := make([]bool, s.sym.Len())
	pass := make([]bool, stacks.Len())
	var path []filterBits // by depth
	begun := begun{paths: pathsOf(s.stacks)}
	for i, depth := range stacks.Depth {
		var bits filterBits
		if depth > 0 {
			id := stacks.Frame[i]
			if !known[id] {
				ofFrame[id], known[id] = s.bitsOf(s.sym.Frame(id)), true
			}
			bits = path[depth-1].and(ofFrame[id])
		}
		path = append(path[:depth], bits)
		pass[i] = begun.enter(s.sym, int(depth), stacks.Frame[i]) && bits.found&needed == needed && bits.violated == 0
	}
	return pass
}

// strain takes the values of the stacks that do not pass out of a tree, and tells what
// they were worth. The nodes stay.
func (s *sieve) strain(t *arrowblock.Tree) (filtered []int64) {
	filtered = make([]int64, len(t.Self))
	for i, pass := range s.passing(&t.Stacks) {
		if pass {
			continue
		}
		for k, self := range t.Self {
			filtered[k] += self[i]
			self[i] = 0
		}
	}
	return filtered
}

// linesOf are the numbers of a location's lines that frame filters keep, the innermost
// first. A location without lines has one, number 0, as long as it is kept.
func (s *sieve) linesOf(location arrowblock.Frame) (kept []int) {
	s.eachPlace(&location, func(line int, p *place) {
		for _, f := range s.frames {
			for _, c := range f.Where {
				if !c.meets(p) {
					return
				}
			}
		}
		kept = append(kept, line)
	})
	return kept
}
