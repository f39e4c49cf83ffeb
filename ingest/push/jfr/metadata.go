package jfr

import (
	"fmt"
	"strconv"

	"github.com/coldframe/coldframe/profile"
)

// class is a type of event or constant, as a chunk describes it.
type class struct {
	id     int64
	name   string
	fields []field
}

// field is a field of a class, in the order in which values have them.
type field struct {
	name     string
	class    int64
	constant bool // the value is an ID among the constants of its class
	array    bool
}

const (
	maxElements = 1 << 20 // of the metadata's tree
	maxNesting  = 64      // of that tree, and of values
)

// readMetadata reads the types. They are a tree of elements with attributes, whose
// strings stand before it.
func (c *chunk) readMetadata() error {
	r := &reader{data: c.data, at: c.metadata}
	for range 5 { // size, type, start, duration, ID
		r.long()
	}
	texts := make([]string, 0, 256)
	for range r.count() {
		s, _ := r.text()
		texts = append(texts, s)
		if r.err != nil {
			return r.err
		}
	}
	m := metadataReader{reader: r, texts: texts, left: maxElements, chunk: c}
	m.element(nil, 0)
	if r.err != nil {
		return r.err
	}
	for _, name := range []string{"jdk.types.StackTrace", "jdk.types.StackFrame", "jdk.types.Method", "java.lang.Class"} {
		if c.byName[name] == nil {
			return fmt.Errorf("type %s is missing: %w", name, profile.ErrInvalid)
		}
	}
	return nil
}

type metadataReader struct {
	*reader
	texts []string
	left  int
	chunk *chunk
}

func (m *metadataReader) word() string {
	i := m.long()
	if i < 0 || i >= int64(len(m.texts)) {
		m.fail("string %d of %d", i, len(m.texts))
		return ""
	}
	return m.texts[i]
}

// element reads an element and those within it. in is the class that it belongs to.
func (m *metadataReader) element(in *class, nesting int) {
	if m.left--; m.left < 0 || nesting > maxNesting {
		m.fail("more than %d elements, or deeper than %d", maxElements, maxNesting)
		return
	}
	kind := m.word()
	attributes := map[string]string{}
	for range m.count() {
		key := m.word()
		attributes[key] = m.word()
		if m.err != nil {
			return
		}
	}
	id := func(name string) int64 {
		v, err := strconv.ParseInt(attributes[name], 10, 64)
		if err != nil {
			m.fail("%s has %s %.40q", kind, name, attributes[name])
		}
		return v
	}
	switch kind {
	case "class":
		in = &class{id: id("id"), name: attributes["name"]}
		m.chunk.classes[in.id] = in
		m.chunk.byName[in.name] = in
	case "field":
		if in == nil {
			m.fail("a field of nothing")
			return
		}
		in.fields = append(in.fields, field{
			name: attributes["name"], class: id("class"), constant: attributes["constantPool"] == "true", array: attributes["dimension"] == "1",
		})
	}
	for range m.count() {
		m.element(in, nesting+1)
		if m.err != nil {
			return
		}
	}
}
