package perf

import (
	"bytes"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/profile/draft"
)

// A sample of perf script begins with a line such as
//
//	shop 26957/26959 [001] 17035.536694:    5025125 cpu-clock:ppp:
//
// of which the thread, the CPU and the time may be missing, and goes on with a line for
// each place, leaf first, until an empty line:
//
//	11ae leaf+0x35 (/usr/bin/shop)
var (
	sampleLine = regexp.MustCompile(`^\s*(\S.*?)\s+(-?\d+)(?:/(-?\d+))?\s+(?:\[(\d+)\]\s+)?(?:(\d+)\.(\d+):\s+)?(?:(\d+)\s+)?([A-Za-z_][\w.:/=,\-]*?):(?:\s(.*))?$`)
	placeLine  = regexp.MustCompile(`^\s+([0-9a-f]+)\s+(.*?)(?:\s+\(([^()]*)\))?\s*$`)
	offsetTail = regexp.MustCompile(`\+0x[0-9a-f]+$`)
)

// maxLine bounds one line of a script.
const maxLine = 1 << 20

// IsScript says whether data begins as the text of perf script does.
func IsScript(data []byte) bool {
	for range 100 {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		if data = rest; len(line) > maxLine {
			return false
		}
		if skippable(line) {
			if len(data) == 0 {
				return false
			}
			continue
		}
		return sampleLine.Match(bytes.TrimRight(line, "\r"))
	}
	return false
}

// skippable says whether a line is empty or a comment.
func skippable(line []byte) bool {
	line = bytes.TrimSpace(line)
	return len(line) == 0 || line[0] == '#'
}

// scriptSample is a sample of a script.
type scriptSample struct {
	comm, event string
	pid         int64
	period      int64
	time        time.Duration // of the samples' clock, -1 when it is not said
	stack       []scriptPlace
}

type scriptPlace struct {
	address    uint64
	name, file string
	inlined    bool
}

// DecodeScript turns the text of perf script into profiles, which have the label comm.
// A sample without a period counts one. ended is when the last sample was taken; zero is not known.
func DecodeScript(data []byte, ended time.Time) ([]draft.Profile, error) {
	s := scriptMaker{drafts: map[scriptSeries]*draft.Draft{}, first: -1}
	var sample *scriptSample
	finish := func() error {
		if sample == nil {
			return nil
		}
		err := s.add(sample)
		sample = nil
		return err
	}
	for number := 1; len(data) > 0; number++ {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		data = rest
		line = bytes.TrimRight(line, "\r")
		var err error
		switch {
		case len(line) > maxLine:
			err = invalidf("%d bytes, at most %d are allowed", len(line), maxLine)
		case skippable(line):
			if len(bytes.TrimSpace(line)) == 0 {
				err = finish()
			}
		case sample == nil:
			if sample, err = parseSample(string(line)); err == nil && len(sample.stack) > 0 {
				err = finish() // without stacks a line is all of a sample
			}
		default:
			err = sample.addPlace(string(line))
		}
		if err != nil {
			return nil, invalidf("perf script: line %d, %.100q: %v", number, line, err)
		}
	}
	if err := finish(); err != nil {
		return nil, err
	}
	if len(s.order) == 0 {
		return nil, invalidf("perf script: no samples")
	}
	return s.finish(ended)
}

func parseSample(line string) (*scriptSample, error) {
	w := sampleLine.FindStringSubmatch(line)
	if w == nil {
		return nil, invalidf("want COMM PID [CPU] TIME: PERIOD EVENT:")
	}
	s := &scriptSample{comm: strings.ToValidUTF8(w[1], "�"), event: w[8], period: 1, time: -1}
	s.pid, _ = strconv.ParseInt(w[2], 10, 64)
	if w[5] != "" {
		seconds, err := strconv.ParseInt(w[5], 10, 32)
		if err != nil {
			return nil, invalidf("time %.40q", w[5])
		}
		fraction, _ := strconv.ParseFloat("0."+w[6], 64)
		s.time = time.Duration(seconds)*time.Second + time.Duration(fraction*1e9)
	}
	if w[7] != "" {
		var err error
		if s.period, err = strconv.ParseInt(w[7], 10, 64); err != nil {
			return nil, invalidf("period %.40q", w[7])
		}
	}
	if w[9] != "" && placeLine.MatchString(" "+w[9]) { // without stacks the place stands here
		return s, s.addPlace(" " + w[9])
	}
	return s, nil
}

// addPlace adds a line of a stack.
func (s *scriptSample) addPlace(line string) error {
	w := placeLine.FindStringSubmatch(line)
	if w == nil {
		return invalidf("want ADDRESS SYMBOL (FILE)")
	}
	p := scriptPlace{name: offsetTail.ReplaceAllString(w[2], ""), file: w[3]}
	var err error
	if p.address, err = strconv.ParseUint(w[1], 16, 64); err != nil {
		return invalidf("address %.40q", w[1])
	}
	if p.file == "inlined" || strings.HasSuffix(p.name, " (inlined)") {
		p.name, p.inlined = strings.TrimSuffix(p.name, " (inlined)"), true
		p.file = ""
	}
	if p.name == "[unknown]" {
		p.name = ""
	}
	if p.file == "[unknown]" {
		p.file = ""
	}
	p.name, p.file = strings.ToValidUTF8(p.name, "�"), strings.ToValidUTF8(p.file, "�")
	s.stack = append(s.stack, p)
	return nil
}

type scriptSeries struct{ event, comm string }

type scriptMaker struct {
	drafts      map[scriptSeries]*draft.Draft
	order       []scriptSeries
	first, last time.Duration
	stack       []draft.LocationRef
	lines       []draft.Line
}

// add adds a sample. Lines that are inlined belong to the location of the line after them.
func (m *scriptMaker) add(s *scriptSample) error {
	if s.time >= 0 && (m.first < 0 || s.time < m.first) {
		m.first = s.time
	}
	m.last = max(m.last, s.time)
	key := scriptSeries{eventWord(s.event), s.comm}
	d := m.drafts[key]
	if d == nil {
		d = draft.New(key.types()...)
		m.drafts[key] = d
		m.order = append(m.order, key)
	}
	m.stack, m.lines = m.stack[:0], m.lines[:0]
	for _, p := range s.stack {
		if p.name != "" {
			m.lines = append(m.lines, draft.Line{Function: d.Function(draft.Function{Name: p.name})})
		}
		if p.inlined {
			continue
		}
		mapping := draft.MappingRef(0)
		if p.file != "" {
			mapping = d.Mapping(draft.Mapping{File: p.file, HasFunctions: true})
		}
		m.stack = append(m.stack, d.Location(mapping, p.address, m.lines...))
		m.lines = m.lines[:0]
	}
	if len(m.lines) > 0 {
		m.stack = append(m.stack, d.Location(0, 0, m.lines...))
	}
	return d.Add(m.stack, []draft.Label{{Key: "pid", Num: s.pid}}, 1, s.period)
}

func (k scriptSeries) types() []profile.ValueType {
	event := profile.ValueType{Type: k.event, Unit: "count"}
	if k.isClock() {
		event = profile.ValueType{Type: "cpu", Unit: "nanoseconds"}
	}
	return []profile.ValueType{{Type: "samples", Unit: "count"}, event}
}

func (k scriptSeries) isClock() bool { return k.event == "cpu_clock" || k.event == "task_clock" }

func (m *scriptMaker) finish(ended time.Time) ([]draft.Profile, error) {
	slices.SortStableFunc(m.order, func(a, b scriptSeries) int { return strings.Compare(a.event+"\x00"+a.comm, b.event+"\x00"+b.comm) })
	var made []draft.Profile
	for _, key := range m.order {
		d := m.drafts[key]
		d.PeriodType = key.types()[1]
		d.Duration = max(m.last-max(m.first, 0), 0)
		if !ended.IsZero() {
			d.Time = ended.Add(-d.Duration).UTC()
		}
		labels, err := profile.NewLabels(profile.Label{Name: "comm", Value: key.comm})
		if err != nil {
			return nil, err
		}
		name := key.event
		if key.isClock() {
			name = "process_cpu"
		}
		made = append(made, draft.Profile{Name: name, Labels: labels, Body: d.Encode(), Time: d.Time})
	}
	return made, nil
}
