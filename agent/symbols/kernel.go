package symbols

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Kernel names kernel addresses by a copy of kallsyms.
type Kernel struct {
	addrs []uint64
	names []uint32 // end of each in text
	text  []byte
}

// ReadKernel reads /proc/kallsyms. Without the right to see addresses they are all zero,
// and the answer knows no name.
func ReadKernel(r io.Reader) (*Kernel, error) {
	type entry struct {
		addr uint64
		name string
	}
	var entries []entry
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		addr, rest, ok := strings.Cut(lines.Text(), " ")
		if !ok || len(rest) < 3 || !strings.ContainsRune("tTwW", rune(rest[0])) {
			continue
		}
		a, err := strconv.ParseUint(addr, 16, 64)
		if err != nil || a == 0 {
			continue
		}
		entries = append(entries, entry{a, strings.ReplaceAll(rest[2:], "\t", " ")})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read kernel symbols: %w", err)
	}
	slices.SortStableFunc(entries, func(a, b entry) int {
		switch {
		case a.addr < b.addr:
			return -1
		case a.addr > b.addr:
			return 1
		}
		return 0
	})
	k := &Kernel{addrs: make([]uint64, 0, len(entries)), names: make([]uint32, 0, len(entries))}
	for _, e := range entries {
		if n := len(k.addrs); n > 0 && k.addrs[n-1] == e.addr {
			continue // an alias
		}
		k.text = append(k.text, e.name...)
		k.addrs = append(k.addrs, e.addr)
		k.names = append(k.names, uint32(len(k.text)))
	}
	k.text = bytes.Clone(k.text)
	return k, nil
}

// Resolve names an address, or answers nil.
func (k *Kernel) Resolve(addr uint64) []Frame {
	i, exact := slices.BinarySearch(k.addrs, addr)
	if !exact {
		i--
	}
	if i < 0 {
		return nil
	}
	from := uint32(0)
	if i > 0 {
		from = k.names[i-1]
	}
	name := string(k.text[from:k.names[i]])
	return []Frame{{Function: name, System: name}}
}

// Len is how many functions are known.
func (k *Kernel) Len() int { return len(k.addrs) }
