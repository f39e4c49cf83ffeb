package lambdaenv

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"strings"
)

// Segment is what X-Ray was told of a span of time: by Lambda itself of each invocation,
// by a function, as subsegments, of what it does.
type Segment struct {
	Name      string  `json:"name"`
	ID        string  `json:"id"`
	TraceID   string  `json:"trace_id"`
	ParentID  string  `json:"parent_id"`
	Type      string  `json:"type"`
	Start     float64 `json:"start_time"` // seconds since 1970
	End       float64 `json:"end_time"`
	Fault     bool    `json:"fault"`
	Namespace string  `json:"namespace"`
}

// daemon is X-Ray's beside a function. It takes a datagram for each segment.
type daemon struct {
	net.PacketConn
}

// listen begins to take segments until the daemon is closed; each is given to take.
func listen(take func(Segment, error)) (*daemon, error) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0") //nolint:noctx // it opens no connection
	if err != nil {
		return nil, err
	}
	go func() {
		datagram := make([]byte, 64<<10)
		for {
			n, _, err := conn.ReadFrom(datagram)
			if err != nil {
				return
			}
			take(parseSegment(datagram[:n]))
		}
	}()
	return &daemon{conn}, nil
}

// parseSegment reads a line that tells the format, and a document.
func parseSegment(datagram []byte) (s Segment, err error) {
	header, document, _ := bytes.Cut(datagram, []byte("\n"))
	var format struct {
		Format  string
		Version int
	}
	if err := json.Unmarshal(header, &format); err != nil || format.Format != "json" || format.Version != 1 {
		return s, fmt.Errorf("a datagram begins with %.100q", header)
	}
	if err := json.Unmarshal(document, &s); err != nil {
		return s, fmt.Errorf("segment: %w: %.300q", err, document)
	}
	if !isHex(s.ID, 16) || !isHex(s.ParentID, 16) || s.Type != "subsegment" || s.Name == "" || len(s.Name) > 200 || s.End < s.Start || s.Start == 0 {
		return s, fmt.Errorf("segment: %.300q", document)
	}
	return s, nil
}

func isHex(s string, digits int) bool {
	return len(s) == digits && strings.Trim(s, "0123456789abcdef") == ""
}

// traced is the trace of an invocation, as its process is told, and a segment of Lambda's own.
func (f *Function) traced(id, header string) string {
	digits := strings.ReplaceAll(id, "-", "")
	s := Segment{Name: "coldframe", ID: digits[:16], TraceID: "1-5bef4de7-" + digits[8:], Type: "segment"}
	for field := range strings.SplitSeq(header, ";") {
		switch name, value, _ := strings.Cut(field, "="); name {
		case "Root":
			s.TraceID = value
		case "Parent":
			s.ParentID = value
		}
	}
	sampled := 0
	if f.cfg.Traced {
		sampled = 1
		f.take(s, nil)
	}
	return fmt.Sprintf("Root=%s;Parent=%s;Sampled=%d", s.TraceID, s.ID, sampled)
}

func (f *Function) take(s Segment, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.badSegments = append(f.badSegments, err)
		return
	}
	f.segments = append(f.segments, s)
}

// Segments are those of which X-Ray was told so far, and what it was told that is none. What a
// process has sent may take a moment to arrive.
func (f *Function) Segments() (segments []Segment, bad []error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append(segments, f.segments...), append(bad, f.badSegments...)
}
