package query

import (
	"encoding/json"
	"time"
)

// Stats says how complete an answer is, and what it cost.
type Stats struct {
	Blocks  int       // objects that may hold an answer, after pruning: Arrow and pprof blocks
	OK      int       // how many of them were read without fault
	Missing []Missing // the others, in the order of their keys

	Profiles   int   // that the answer is made of; repeated ones count once
	Requests   int   // made of the bucket
	Bytes      int64 // read from the bucket
	CacheHits  int   // reads that a cache answered instead
	CacheBytes int64 // of them

	CPU     time.Duration // spent computing, summed over goroutines and processes
	Elapsed time.Duration // from the request to the answer
	Dollars float64       // for the requests, the bytes and the CPU, by Config.Prices
}

// Missing is an object that an answer lacks, in whole or in part.
type Missing struct {
	Key    string `json:"key"`
	Reason string `json:"reason"`
}

// addSpent adds what other processes spent on the answer.
func (s *Stats) addSpent(other Stats) {
	s.Requests += other.Requests
	s.Bytes += other.Bytes
	s.CacheHits += other.CacheHits
	s.CPU += other.CPU
}

// Partial says whether the answer lacks something.
func (s Stats) Partial() bool { return len(s.Missing) > 0 }

// Reason says in few words why the answer is partial, and is empty when it is not.
func (s Stats) Reason() string {
	switch len(s.Missing) {
	case 0:
		return ""
	case 1:
		return s.Missing[0].Key + ": " + s.Missing[0].Reason
	}
	return s.Missing[0].Key + " and others cannot be read"
}

// MarshalJSON gives the form that openapi.yaml calls Stats.
func (s Stats) MarshalJSON() ([]byte, error) {
	if s.Missing == nil {
		s.Missing = []Missing{}
	}
	return json.Marshal(struct {
		Blocks     int       `json:"blocks"`
		OK         int       `json:"ok"`
		Missing    []Missing `json:"missing"`
		Reason     string    `json:"reason,omitempty"`
		Profiles   int       `json:"profiles"`
		Requests   int       `json:"requests"`
		Bytes      int64     `json:"bytes"`
		CacheHits  int       `json:"cache_hits"`
		CacheBytes int64     `json:"cache_bytes"`
		CPU        float64   `json:"cpu_ms"`
		Elapsed    float64   `json:"ms"`
		Dollars    float64   `json:"dollars"`
	}{s.Blocks, s.OK, s.Missing, s.Reason(), s.Profiles, s.Requests, s.Bytes, s.CacheHits, s.CacheBytes, millis(s.CPU), millis(s.Elapsed), s.Dollars})
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
