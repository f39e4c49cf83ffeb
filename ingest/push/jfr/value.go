package jfr

import (
	"fmt"

	"github.com/coldframe/coldframe/profile"
)

// value is an event or a constant: its fields by name, in the form that they have.
type value struct {
	numbers map[string]int64  // whole numbers, and IDs of constants
	texts   map[string]string // strings
	frames  []frame           // of a stack trace
}

// frame is a place in a method.
type frame struct{ method, line int64 }

func (v *value) number(name string) int64 { return v.numbers[name] }

func (v *value) text(name string) string { return v.texts[name] }

// wanted are the fields that anybody asks for; others are passed over.
var wanted = map[string]bool{
	"frames": true, "truncated": true, "method": true, "lineNumber": true, "type": true, "name": true, "string": true,
	"stackTrace": true, "state": true, "contextId": true, "spanId": true, "spanName": true, "traceIdHi": true, "traceIdLo": true,
	"tlabSize": true, "allocationSize": true, "weight": true, "duration": true, "samples": true, "size": true, "id": true, "value": true,
}

// read reads a structure of a class.
func (c *chunk) read(r *reader, of *class, nesting int) (v value) {
	if nesting > maxNesting {
		r.fail("values nested deeper than %d", maxNesting)
	}
	for i := range of.fields {
		f := &of.fields[i]
		if r.err != nil {
			return v
		}
		keep := wanted[f.name]
		if f.array {
			n := r.count()
			for range n {
				element, _, _ := c.single(r, f, nesting, keep)
				if r.err != nil {
					return v
				}
				if f.name == "frames" {
					v.frames = append(v.frames, frame{element.number("method"), element.number("lineNumber")})
				}
			}
			continue
		}
		switch _, number, text := c.single(r, f, nesting, keep); {
		case !keep:
		case text != "":
			if v.texts == nil {
				v.texts = map[string]string{}
			}
			v.texts[f.name] = text
		default:
			if v.numbers == nil {
				v.numbers = map[string]int64{}
			}
			v.numbers[f.name] = number
		}
	}
	return v
}

// single reads one value of a field: a structure, a number or a text.
func (c *chunk) single(r *reader, f *field, nesting int, keep bool) (part value, number int64, text string) {
	if f.constant {
		return part, r.long(), ""
	}
	of := c.classes[f.class]
	if of == nil {
		r.fail("field %q is of type %d, which is not known", f.name, f.class)
		return part, 0, ""
	}
	switch of.name {
	case "boolean", "byte":
		if b := r.bytes(1); b != nil {
			number = int64(b[0])
		}
	case "char", "short", "int", "long":
		number = r.long()
	case "float":
		r.bytes(4)
	case "double":
		r.bytes(8)
	case "java.lang.String":
		s, constant := r.text()
		if constant != 0 {
			entry := c.pools[f.class][constant]
			s = entry.text("string")
		}
		if keep {
			text = s
		}
	default:
		if len(of.fields) == 0 {
			r.fail("field %q is of type %s, which has no fields", f.name, of.name)
		}
		part = c.read(r, of, nesting+1)
	}
	return part, number, text
}

// maxCheckpoints bounds a chunk's checkpoints, so that offsets that lead in a circle end.
const maxCheckpoints = 1 << 16

// readPools reads the constants. The last checkpoint tells how far before it the one before is.
func (c *chunk) readPools() error {
	at := c.checkpoint
	for range maxCheckpoints {
		r := &reader{data: c.data, at: at}
		r.long() // size
		r.long() // type
		r.long() // start
		r.long() // duration
		before := r.long()
		r.bytes(1) // flush
		for range r.count() {
			c.readPool(r)
			if r.err != nil {
				return r.err
			}
		}
		if before == 0 || r.err != nil {
			return r.err
		}
		if before > 0 || int64(at)+before < headerSize {
			return fmt.Errorf("a checkpoint at byte %d is followed by one %d bytes on: %w", at, before, profile.ErrInvalid)
		}
		at += int(before)
	}
	return fmt.Errorf("more than %d checkpoints: %w", maxCheckpoints, profile.ErrInvalid)
}

// kept are the types of constants that anybody asks for; others are passed over.
var kept = map[string]bool{
	"jdk.types.StackTrace": true, "jdk.types.Method": true, "java.lang.Class": true, "jdk.types.Symbol": true,
	"jdk.types.ThreadState": true, "java.lang.String": true,
}

// maxConstants bounds the constants of a chunk that are kept.
const maxConstants = 1 << 20

// readPool reads the constants of one type.
func (c *chunk) readPool(r *reader) {
	id := r.long()
	of := c.classes[id]
	if of == nil {
		if r.err == nil {
			r.fail("constants of type %d, which is not known", id)
		}
		return
	}
	pool := c.pools[id]
	if pool == nil && kept[of.name] {
		pool = map[int64]value{}
		c.pools[id] = pool
	}
	for range r.count() {
		key := r.long()
		var v value
		if of.name == "java.lang.String" {
			s, _ := r.text()
			v.texts = map[string]string{"string": s}
		} else {
			v = c.read(r, of, 0)
		}
		if r.err != nil {
			return
		}
		if pool == nil {
			continue
		}
		if c.constants++; c.constants > maxConstants {
			r.fail("more than %d constants", maxConstants)
			return
		}
		if _, known := pool[key]; !known { // checkpoints are read from the last on
			pool[key] = v
		}
	}
}

// constant finds a constant of a class by its name.
func (c *chunk) constant(class string, id int64) (value, bool) {
	of := c.byName[class]
	if of == nil {
		return value{}, false
	}
	v, ok := c.pools[of.id][id]
	return v, ok
}
