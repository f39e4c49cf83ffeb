// Package folded reads stacks that are written as text, "main;run;work 12", and the two
// binary forms in which Pyroscope's older clients send the same: trie and tree.
//
// It knows nothing of profiles: it hands out each stack, root first, with its count.
// What is malformed is profile.ErrInvalid, with the place. Nothing is built that could
// be larger than the input, but for the one stack that is handed out.
package folded

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/coldframe/coldframe/profile"
)

// Format is how stacks are written.
type Format string

// The formats. Names that Pyroscope's /ingest takes as format.
const (
	Groups Format = "groups" // a line for each stack, with its count at the end
	Lines  Format = "lines"  // a line for each time that a stack was seen
	Trie   Format = "trie"   // nodes are parts of folded stacks, cut anywhere
	Tree   Format = "tree"   // nodes are frames
)

// maxStack is how long one folded stack may be, in bytes. A trie describes stacks
// whose length adds up to the square of its own; this and the bound on values below
// keep it harmless.
const maxStack = 1 << 20

// maxWork bounds the bytes of all stacks that a trie or tree hands out.
const maxWork = 1 << 30

// Read hands out the stacks in data, root first and separated by ';'. The stack is valid
// until add returns; an error of add ends it.
func Read(format Format, data []byte, add func(stack []byte, value int64) error) error {
	var err error
	switch format {
	case Groups:
		err = readGroups(data, add)
	case Lines:
		err = readLines(data, add)
	case Trie:
		err = readNodes(data, false, add)
	case Tree:
		err = readNodes(data, true, add)
	default:
		return fmt.Errorf("format %q: want groups, lines, trie or tree: %w", format, profile.ErrInvalid)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", format, err)
	}
	return nil
}

// eachLine calls f with the lines that are not blank, and their numbers from 1.
func eachLine(data []byte, f func(number int, line []byte) error) error {
	for number := 1; len(data) > 0; number++ {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		data = rest
		line = bytes.TrimSpace(line)
		if len(line) > maxStack {
			return fmt.Errorf("line %d: %d bytes, at most %d are allowed: %w", number, len(line), maxStack, profile.ErrInvalid)
		}
		if len(line) == 0 {
			continue
		}
		if err := f(number, line); err != nil {
			return err
		}
	}
	return nil
}

func readGroups(data []byte, add func([]byte, int64) error) error {
	return eachLine(data, func(number int, line []byte) error {
		space := bytes.LastIndexByte(line, ' ')
		if space < 0 {
			return fmt.Errorf("line %d, %.80q: want STACK COUNT: %w", number, line, profile.ErrInvalid)
		}
		count, err := strconv.ParseInt(string(line[space+1:]), 10, 64)
		if err != nil || count < 0 {
			return fmt.Errorf("line %d: count %.40q: want a number of 0 or more: %w", number, line[space+1:], profile.ErrInvalid)
		}
		return add(bytes.TrimSpace(line[:space]), count)
	})
}

func readLines(data []byte, add func([]byte, int64) error) error {
	return eachLine(data, func(_ int, line []byte) error { return add(line, 1) })
}

// node is one that has children still to come.
type node struct {
	left   uint64 // children
	prefix int    // length of the stack without this node
}

// readNodes reads a trie or a tree: each node is its name's length, its name, its value
// and the number of its children as varints, followed by the children. The root's name is empty.
func readNodes(data []byte, frames bool, add func([]byte, int64) error) error {
	r := reader{data: data}
	var stack []byte
	var open []node
	work := 0
	for r.at < len(data) {
		began, prefix := r.at, len(stack)
		name := r.name()
		value, children := r.number(), r.number()
		if r.err != nil {
			return r.err
		}
		if len(open) == 0 && began > 0 {
			return fmt.Errorf("byte %d: more follows after the last node: %w", began, profile.ErrInvalid)
		}
		if frames && len(stack) > 0 {
			stack = append(stack, ';')
		}
		if stack = append(stack, name...); len(stack) > maxStack {
			return fmt.Errorf("byte %d: a stack has more than %d bytes: %w", began, maxStack, profile.ErrInvalid)
		}
		if value > 0 && len(stack) > 0 {
			if work += len(stack); work > maxWork {
				return fmt.Errorf("byte %d: the stacks have more than %d bytes together: %w", began, maxWork, profile.ErrInvalid)
			}
			if int64(value) < 0 {
				return fmt.Errorf("byte %d: value %d is too large: %w", began, value, profile.ErrInvalid)
			}
			if err := add(stack, int64(value)); err != nil {
				return err
			}
		}
		if children > uint64(len(data)-r.at) { // each takes 3 bytes at least
			return fmt.Errorf("byte %d: %d children, but %d bytes are left: %w", began, children, len(data)-r.at, profile.ErrInvalid)
		}
		open = append(open, node{left: children, prefix: prefix})
		for len(open) > 0 && open[len(open)-1].left == 0 {
			stack = stack[:open[len(open)-1].prefix]
			open = open[:len(open)-1]
		}
		if len(open) > 0 {
			open[len(open)-1].left--
		}
	}
	if len(open) > 0 {
		return fmt.Errorf("byte %d: ends within a node: %w", r.at, profile.ErrInvalid)
	}
	return nil
}

// reader reads numbers and names; its first error stays.
type reader struct {
	data []byte
	at   int
	err  error
}

func (r *reader) number() uint64 {
	v, n := binary.Uvarint(r.data[r.at:])
	if n <= 0 && r.err == nil {
		r.err = fmt.Errorf("byte %d: want a varint: %w", r.at, profile.ErrInvalid)
	}
	r.at += max(n, 0)
	return v
}

func (r *reader) name() []byte {
	n := r.number()
	if n > uint64(len(r.data)-r.at) && r.err == nil {
		r.err = fmt.Errorf("byte %d: a name of %d bytes, but %d are left: %w", r.at, n, len(r.data)-r.at, profile.ErrInvalid)
	}
	if r.err != nil {
		return nil
	}
	r.at += int(n)
	return r.data[r.at-int(n) : r.at]
}
