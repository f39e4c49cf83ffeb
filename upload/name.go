package upload

import (
	"strings"

	"github.com/coldframe/coldframe/profile"
)

// nameOf names a profile that came without a name by what it measures: process_cpu,
// memory and goroutine as Parca calls them, wall, contention for Go's block and mutex profiles,
// which look alike, else the type of its period, else of its last sample type.
func nameOf(sampleTypes []profile.ValueType, period profile.ValueType) string {
	for _, t := range sampleTypes {
		switch t.Type {
		case "cpu":
			return "process_cpu"
		case "wall", "off_cpu":
			return t.Type
		case "alloc_objects", "alloc_space", "inuse_objects", "inuse_space":
			return "memory"
		case "goroutine", "goroutines":
			return "goroutine"
		case "contentions":
			return "contention"
		}
	}
	words := []string{period.Type}
	if n := len(sampleTypes); n > 0 {
		words = append(words, sampleTypes[n-1].Type)
	}
	for _, word := range words {
		if word != "" {
			return strings.ReplaceAll(word, ":", "_")
		}
	}
	return "profile"
}
