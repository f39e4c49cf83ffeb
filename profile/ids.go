package profile

import (
	"math"
	"slices"
)

// idIndex turns the IDs by which messages refer to each other into positions.
//
// Who refers to an ID keeps a key of 32 bits, which is turned into a position when
// all messages have been read. Nearly every profiler numbers from 1 in the order of
// writing; then the key, which is the ID minus 1, is the position, and nothing is
// left to do. Where IDs are in disorder or have gaps a table serves, and where they
// are as wide as addresses a map.
type idIndex struct {
	count int      // messages so far
	keys  []uint32 // by position; empty as long as every key is its position

	top     uint64            // the largest key below firstAlias that was referred to
	none    bool              // ID 0 was referred to
	aliases map[uint64]uint32 // keys of IDs above firstAlias

	table  []uint32          // position plus 1 by key
	sparse map[uint32]uint32 // position by key, of keys beyond the table
}

const (
	firstAlias = 1 << 30        // keys from here on are given to wide IDs as they appear
	noKey      = math.MaxUint32 // of ID 0, which means none
)

func (x *idIndex) reset() {
	x.count, x.keys = 0, x.keys[:0]
	x.top, x.none = 0, false
	clear(x.aliases)
	clear(x.sparse)
}

// refer returns the key of an ID that somebody refers to.
func (x *idIndex) refer(id uint64) (key uint32) {
	key = uint32(id - 1)
	if id-1 > x.top {
		key = x.referAbove(id)
	}
	return
}

// referAbove keeps refer small enough to be inlined.
func (x *idIndex) referAbove(id uint64) uint32 {
	key := x.key(id)
	if key < firstAlias {
		x.top = uint64(key)
	}
	x.none = x.none || key == noKey
	return key
}

func (x *idIndex) key(id uint64) uint32 {
	if id == 0 {
		return noKey
	}
	if id <= firstAlias {
		return uint32(id - 1)
	}
	key, ok := x.aliases[id]
	if !ok {
		if x.aliases == nil {
			x.aliases = make(map[uint64]uint32)
		}
		key = firstAlias + uint32(len(x.aliases))
		x.aliases[id] = key
	}
	return key
}

// id is the reverse of key, for errors.
func (x *idIndex) id(key uint32) uint64 {
	for id, k := range x.aliases {
		if k == key {
			return id
		}
	}
	return uint64(key + 1)
}

// add gives the next position to an ID.
func (x *idIndex) add(id uint64) {
	x.count++
	if id != uint64(x.count) || len(x.keys) > 0 {
		x.addKey(id)
	}
}

func (x *idIndex) addKey(id uint64) {
	for i := len(x.keys); i < x.count-1; i++ {
		x.keys = append(x.keys, uint32(i))
	}
	x.keys = append(x.keys, x.key(id))
}

// build makes position work. It fails when an ID is 0 or is given twice.
func (x *idIndex) build(message string) error {
	if len(x.keys) == 0 {
		return nil
	}
	size := 1 + min(int(slices.Max(x.keys)), 4*x.count)
	x.table = slices.Grow(x.table[:0], size)[:size]
	clear(x.table)
	for i, key := range x.keys {
		if key == noKey {
			return invalidf("pprof %s %d: its ID is 0", message, i)
		}
		if first, ok := x.position(key); ok {
			return invalidf("pprof %s %d: its ID %d is that of %s %d too", message, i, x.id(key), message, first)
		}
		if int(key) < size {
			x.table[key] = uint32(i + 1)
			continue
		}
		if x.sparse == nil {
			x.sparse = make(map[uint32]uint32)
		}
		x.sparse[key] = uint32(i)
	}
	return nil
}

// resolved says that every key that was referred to is a position already.
func (x *idIndex) resolved() bool {
	return len(x.keys) == 0 && len(x.aliases) == 0 && !x.none && x.top < uint64(x.count)
}

// position returns the position of a key.
func (x *idIndex) position(key uint32) (position uint32, ok bool) {
	switch {
	case len(x.keys) == 0:
		return key, int(key) < x.count
	case int(key) < len(x.table):
		return x.table[key] - 1, x.table[key] != 0
	}
	position, ok = x.sparse[key]
	return position, ok
}
