package pprofblock

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/profile"
)

const (
	manifestFile    = "manifest.json"
	manifestVersion = 1
)

// wireManifest is a Manifest in JSON.
type wireManifest struct {
	Version  int         `json:"v"`
	ID       string      `json:"id"`
	Agent    string      `json:"agent"`
	Created  int64       `json:"created"` // nanoseconds since 1970, as all times here
	Profiles []wireEntry `json:"profiles"`
}

// wireEntry is an Entry in JSON.
type wireEntry struct {
	File    string            `json:"file"` // first: see lineStart
	Name    string            `json:"name"`
	Labels  map[string]string `json:"labels"`
	Types   []string          `json:"types"`
	Period  string            `json:"period"`
	Min     int64             `json:"min"`
	Max     int64             `json:"max"`
	Samples int64             `json:"samples"`
	Size    int64             `json:"size"`
	CRC     uint32            `json:"crc"`
}

// lineStart begins an entry's line of the manifest. Behind it stands the file's
// name, which is known last, and then what encodeEntry gives.
const lineStart = "\n{\"file\":\""

// encodeEntry gives an entry's line from behind the file's name on, without the line's end.
func encodeEntry(e *Entry) []byte {
	w := wireEntry{
		Name: e.Name, Labels: e.Labels.Map(), Period: e.PeriodType.String(),
		Min: e.MinTime.UnixNano(), Max: e.MaxTime.UnixNano(), Samples: e.Samples, Size: e.Size, CRC: e.CRC,
	}
	for _, t := range e.SampleTypes {
		w.Types = append(w.Types, t.String())
	}
	return encodeJSON(w)[len(lineStart)-len("\n"):]
}

// encodeHead gives the manifest up to its first entry.
func encodeHead(m *Manifest) []byte {
	return fmt.Appendf(nil, `{"v":%d,"id":%q,"agent":%s,"created":%d,"profiles":[`,
		manifestVersion, m.ID, encodeJSON(m.Agent), m.Created.UnixNano())
}

const manifestTail = "\n]}\n"

// encodeJSON is for what always has a JSON.
func encodeJSON(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("pprofblock: encode %T: %v", v, err))
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// decodeManifest reads a manifest and checks all it says, but for the checksums.
func decodeManifest(data []byte, maxProfiles int) (*Manifest, error) {
	var w wireManifest
	if err := json.Unmarshal(data, &w); err != nil {
		return nil, err
	}
	switch {
	case w.Version != manifestVersion:
		return nil, fmt.Errorf("version %d, want %d", w.Version, manifestVersion)
	case len(w.Profiles) > maxProfiles:
		return nil, fmt.Errorf("%d profiles, at most %d are allowed", len(w.Profiles), maxProfiles)
	case w.Created < 0 || w.Created >= maxNanos:
		return nil, fmt.Errorf("created %d ns since 1970", w.Created)
	}
	if err := checkWord(w.Agent); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	id, err := block.ParseID(w.ID)
	if err != nil {
		return nil, err
	}
	m := &Manifest{ID: id, Agent: w.Agent, Created: fromNanos(w.Created), Profiles: make([]Entry, len(w.Profiles))}
	for i := range w.Profiles {
		e, err := w.Profiles[i].entry()
		if err == nil && e.File != fileName(i) {
			err = fmt.Errorf("file is called %.40q, want %q", e.File, fileName(i))
		}
		if err != nil {
			return nil, fmt.Errorf("profile %d: %w", i, err)
		}
		m.Profiles[i] = e
	}
	return m, nil
}

func (w *wireEntry) entry() (e Entry, err error) {
	e = Entry{
		Name: w.Name, MinTime: fromNanos(w.Min), MaxTime: fromNanos(w.Max), Samples: w.Samples,
		File: w.File, Size: w.Size, CRC: w.CRC,
	}
	if e.Labels, err = profile.LabelsFromMap(w.Labels); err != nil {
		return e, err
	}
	e.SampleTypes = make([]profile.ValueType, len(w.Types))
	for i, s := range w.Types {
		if e.SampleTypes[i], err = parseValueType(s); err != nil {
			return e, err
		}
	}
	if e.PeriodType, err = parseValueType(w.Period); err != nil {
		return e, err
	}
	if e.Size < 1 || e.Size > MaxSize {
		return e, fmt.Errorf("%d bytes", e.Size)
	}
	return e, e.check()
}

func parseValueType(s string) (profile.ValueType, error) {
	typ, unit, ok := strings.Cut(s, ":")
	if !ok {
		return profile.ValueType{}, fmt.Errorf("sample or period type %.100q: want TYPE:UNIT", s)
	}
	return profile.ValueType{Type: typ, Unit: unit}, nil
}

func fromNanos(ns int64) time.Time { return time.Unix(0, ns).UTC() }
