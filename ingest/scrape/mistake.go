package scrape

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/coldframe/coldframe/profile"
)

// mistake is an error with the keys and positions that lead to what is wrong.
type mistake struct {
	path []any // string: a key; int: a place in a list
	err  error
}

func (m *mistake) Error() string { return keys(m.path) + ": " + m.err.Error() }
func (m *mistake) Unwrap() error { return m.err }

// at says where err is wrong, as seen from the caller's place in the file. nil stays nil.
func at(err error, path ...any) error {
	if err == nil {
		return nil
	}
	if inner, ok := err.(*mistake); ok { //nolint:errorlint // what wraps a mistake has added words that must stay
		return &mistake{append(path, inner.path...), inner.err}
	}
	return &mistake{path, err}
}

// keys writes a path: scrape_configs[0].relabel_configs[1].regex.
func keys(path []any) string {
	var b strings.Builder
	for _, step := range path {
		if i, ok := step.(int); ok {
			fmt.Fprintf(&b, "[%d]", i)
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		fmt.Fprint(&b, step)
	}
	return b.String()
}

// find follows a path as far as it leads, and says whether that is its end.
func find(root *yaml.Node, path []any) (_ *yaml.Node, whole bool) {
	node := content(root)
	for _, step := range path {
		next := child(node, step)
		if next == nil {
			return node, false
		}
		node = content(next)
	}
	return node, true
}

// content is the node itself: not the document around it, not the alias for it.
func content(n *yaml.Node) *yaml.Node {
	for depth := 0; depth < 16; depth++ {
		switch {
		case n.Kind == yaml.DocumentNode && len(n.Content) == 1:
			n = n.Content[0]
		case n.Kind == yaml.AliasNode:
			n = n.Alias
		default:
			return n
		}
	}
	return n
}

func child(n *yaml.Node, step any) *yaml.Node {
	switch step := step.(type) {
	case int:
		if n.Kind == yaml.SequenceNode && step < len(n.Content) {
			return n.Content[step]
		}
	case string:
		for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == step {
				return n.Content[i+1]
			}
		}
	}
	return nil
}

// located turns a mistake into file:line: keys: reason.
func located(file string, root *yaml.Node, err error) error {
	m, ok := err.(*mistake) //nolint:errorlint // as in at
	if !ok {
		return fmt.Errorf("%s: %s: %w", file, oneLine(err), profile.ErrInvalid)
	}
	node, _ := find(root, m.path)
	return fmt.Errorf("%s:%d: %s: %s: %w", file, node.Line, keys(m.path), oneLine(m.err), profile.ErrInvalid)
}

// oneLine is err's text without line breaks, and without a class that is added again.
func oneLine(err error) string {
	s := strings.TrimSuffix(err.Error(), ": "+profile.ErrInvalid.Error())
	return strings.Join(strings.Fields(s), " ")
}

var (
	unknownField = regexp.MustCompile(`(?s)^line (\d+): field (\S+) not found in type .*$`)
	wrongType    = regexp.MustCompile("(?s)^line (\\d+): cannot unmarshal (!!\\w+)( `.*`)? into (.*)$")
	anyLine      = regexp.MustCompile(`(?s)^line (\d+): (.*)$`)
)

// kinds are YAML's tags in words.
var kinds = map[string]string{
	"!!map": "a map", "!!seq": "a list", "!!str": "the string", "!!int": "the number", "!!float": "the number",
	"!!bool": "the word", "!!null": "nothing", "!!timestamp": "the time",
}

// decodeError turns what yaml.v3 and Prometheus' types say of a text into file:line:
// key: reason, without the names of Go's types. root is nil when the text is not YAML.
func decodeError(file string, root *yaml.Node, err error) error {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	e, ofYAML := errors.AsType[*yaml.TypeError](err)
	if ofYAML && len(e.Errors) > 0 {
		message = e.Errors[0]
	}
	if m := unknownField.FindStringSubmatch(message); m != nil {
		return onLine(file, m[1], fmt.Sprintf("unknown key %q", m[2]))
	}
	if m := wrongType.FindStringSubmatch(message); m != nil {
		return onLine(file, m[1], keyOf(root, m[1], m[2])+"got "+kinds[m[2]]+m[3]+wanted(m[4]))
	}
	if m := anyLine.FindStringSubmatch(message); m != nil {
		return onLine(file, m[1], m[2])
	}
	if root != nil {
		if m := alone(root, err); m != nil {
			return located(file, root, m)
		}
	}
	return fmt.Errorf("%s: %s: %w", file, oneLine(errors.New(message)), profile.ErrInvalid)
}

func onLine(file, line, reason string) error {
	return fmt.Errorf("%s:%s: %s: %w", file, line, oneLine(errors.New(reason)), profile.ErrInvalid)
}

// wanted says what a value should have been, as far as a Go type's name tells people.
func wanted(goType string) string {
	switch {
	case goType == "string" || goType == "bool" || goType == "int" || goType == "float64":
		return ", want a " + goType
	case goType == "[]string":
		return ", want a list of strings"
	case goType == "url.Values":
		return ", want a map of lists: {name: [value]}"
	case strings.HasPrefix(goType, "[]"):
		return ", want a list"
	}
	return ", which does not fit here"
}

// keyOf is the path of the only value of a kind on a line, with ": " behind it; "" if
// there are several, one not within the other.
func keyOf(root *yaml.Node, line, tag string) string {
	n, err := strconv.Atoi(line)
	if root == nil || err != nil {
		return ""
	}
	var found [][]any
	walk(root, nil, func(node *yaml.Node, path []any) {
		if node.Line != n || node.ShortTag() != tag {
			return
		}
		if last := len(found) - 1; last >= 0 && len(found[last]) < len(path) && slices.Equal(found[last], path[:len(found[last])]) {
			found[last] = slices.Clone(path) // the inner one is more often meant
			return
		}
		found = append(found, slices.Clone(path))
	})
	if len(found) != 1 || len(found[0]) == 0 {
		return ""
	}
	return keys(found[0]) + ": "
}

// walk visits a node and what is in it, outer before inner. Aliases are not followed.
func walk(n *yaml.Node, path []any, visit func(*yaml.Node, []any)) {
	switch n.Kind {
	case yaml.DocumentNode:
		for _, c := range n.Content {
			walk(c, path, visit)
		}
		return
	case yaml.SequenceNode:
		visit(n, path)
		for i, c := range n.Content {
			walk(c, append(path, i), visit)
		}
	case yaml.MappingNode:
		visit(n, path)
		for i := 0; i+1 < len(n.Content); i += 2 {
			walk(n.Content[i+1], append(path, n.Content[i].Value), visit)
		}
	default:
		visit(n, path)
	}
}

// alone finds what some of Prometheus' types refuse without a line: the first element
// that is refused in the same words when it stands alone. nil if there is none.
func alone(root *yaml.Node, err error) error {
	jobs, ok := find(root, []any{"scrape_configs"})
	if !ok || jobs.Kind != yaml.SequenceNode {
		return nil
	}
	for i := range jobs.Content {
		if path := refused(content(jobs.Content[i]), err); path != nil {
			return at(at(err, path...), "scrape_configs", i)
		}
	}
	return nil
}

// refused finds the key of a job, and the place in its list, that is refused by err.
func refused(job *yaml.Node, err error) []any {
	for k := 0; job.Kind == yaml.MappingNode && k+1 < len(job.Content); k += 2 {
		key, value := job.Content[k], content(job.Content[k+1])
		if !refuses(key, value, err) {
			continue
		}
		for i := 0; value.Kind == yaml.SequenceNode && i < len(value.Content); i++ {
			one := &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{content(value.Content[i])}}
			if refuses(key, one, err) {
				return []any{key.Value, i}
			}
		}
		return []any{key.Value}
	}
	return nil
}

func refuses(key, value *yaml.Node, err error) bool {
	job := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{key, value}}
	alone := job.Decode(new(jobYAML))
	return alone != nil && alone.Error() == err.Error()
}
