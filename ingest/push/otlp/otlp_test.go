package otlp_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	pprof "github.com/google/pprof/profile"
	collector "go.opentelemetry.io/proto/otlp/collector/profiles/v1development"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	profilesv1 "go.opentelemetry.io/proto/otlp/profiles/v1development"
	resourcev1 "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/coldframe/coldframe/ingest/push/otlp"
	"github.com/coldframe/coldframe/profile"
)

func str(s string) *commonv1.AnyValue {
	return &commonv1.AnyValue{Value: &commonv1.AnyValue_StringValue{StringValue: s}}
}

func num(n int64) *commonv1.AnyValue {
	return &commonv1.AnyValue{Value: &commonv1.AnyValue_IntValue{IntValue: n}}
}

const at = 1_767_607_200_000_000_000

// hostProfile is what OpenTelemetry's profiler sends of a host: samples of two programs.
func hostProfile() *collector.ExportProfilesServiceRequest {
	return &collector.ExportProfilesServiceRequest{
		Dictionary: &profilesv1.ProfilesDictionary{
			StringTable: []string{
				"", "samples", "count", "cpu", "nanoseconds", "work", "main", "shop.go", "/usr/bin/shop", "process.executable.name",
				"process.executable.build_id.gnu", "thread.id", "process.executable.build_id.htlhash", "_work",
			},
			FunctionTable: []*profilesv1.Function{{}, {NameStrindex: 5, SystemNameStrindex: 13, FilenameStrindex: 7, StartLine: 3}, {NameStrindex: 6}},
			MappingTable:  []*profilesv1.Mapping{{}, {MemoryStart: 0x1000, MemoryLimit: 0x2000, FileOffset: 0x10, FilenameStrindex: 8, AttributeIndices: []int32{3, 2}}},
			LocationTable: []*profilesv1.Location{
				{},
				{MappingIndex: 1, Address: 0x1234, Lines: []*profilesv1.Line{{FunctionIndex: 1, Line: 7, Column: 2}}},
				{Lines: []*profilesv1.Line{{FunctionIndex: 2}}},
				{MappingIndex: 1, Address: 0x1500},
			},
			StackTable: []*profilesv1.Stack{{}, {LocationIndices: []int32{1, 2}}, {LocationIndices: []int32{3, 2}}},
			LinkTable:  []*profilesv1.Link{{}, {TraceId: bytes.Repeat([]byte{0xab}, 16), SpanId: bytes.Repeat([]byte{0xcd}, 8)}},
			AttributeTable: []*profilesv1.KeyValueAndUnit{
				{},
				{KeyStrindex: 9, Value: str("shop")},
				{KeyStrindex: 10, Value: str("feed")},
				{KeyStrindex: 12, Value: str("hash")},
				{KeyStrindex: 11, Value: num(77)},
				{KeyStrindex: 9, Value: str("cart")},
			},
		},
		ResourceProfiles: []*profilesv1.ResourceProfiles{{
			Resource: &resourcev1.Resource{Attributes: []*commonv1.KeyValue{{Key: "host.name", Value: str("n1")}, {Key: "host.cpus", Value: num(4)}}},
			ScopeProfiles: []*profilesv1.ScopeProfiles{{
				Scope: &commonv1.InstrumentationScope{Name: "ebpf", Attributes: []*commonv1.KeyValue{{Key: "x", Value: str("y")}}},
				Profiles: []*profilesv1.Profile{{
					SampleType: &profilesv1.ValueType{TypeStrindex: 1, UnitStrindex: 2}, PeriodType: &profilesv1.ValueType{TypeStrindex: 3, UnitStrindex: 4},
					Period: 50_000_000, TimeUnixNano: at, DurationNano: 5e9,
					Samples: []*profilesv1.Sample{
						{StackIndex: 1, AttributeIndices: []int32{1, 4}, LinkIndex: 1, Values: []int64{2}},
						{StackIndex: 1, AttributeIndices: []int32{1}, TimestampsUnixNano: []uint64{at + 1, at + 2, at + 3}},
						{StackIndex: 2, AttributeIndices: []int32{5}, Values: []int64{1, 1}, TimestampsUnixNano: []uint64{at + 1, at + 2}},
					},
				}},
			}},
		}},
	}
}

// describe tells what a request became.
func describe(t *testing.T, req *collector.ExportProfilesServiceRequest) string {
	t.Helper()
	made, refused := otlp.Decode(req)
	var lines []string
	for _, m := range made {
		p, err := pprof.ParseData(m.Body)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.CheckValid(); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%s%s %d %d %d %q", m.Name, m.Labels, m.Time.UnixNano()-at, p.TimeNanos-at, p.DurationNanos, p.Comments))
		for i, st := range p.SampleType {
			lines = append(lines, fmt.Sprintf("  %s:%s", st.Type, st.Unit))
			for _, s := range p.Sample {
				line := fmt.Sprintf("    %d", s.Value[i])
				for _, l := range s.Location {
					line += fmt.Sprintf(" %#x", l.Address)
					if l.Mapping != nil {
						line += fmt.Sprintf(" %s@%x", l.Mapping.BuildID, l.Mapping.Offset)
					}
					for _, at := range l.Line {
						line += fmt.Sprintf(" %s %s %s:%d:%d", at.Function.Name, at.Function.SystemName, at.Function.Filename, at.Line, at.Column)
					}
				}
				lines = append(lines, line+fmt.Sprint(s.Label, s.NumLabel))
			}
		}
	}
	for _, err := range refused {
		if !errors.Is(err, profile.ErrInvalid) {
			t.Errorf("%v is not ErrInvalid", err)
		}
		lines = append(lines, "refused: "+err.Error())
	}
	return strings.Join(lines, "\n")
}

// Of a host's profile each program becomes a series, with all that was said of it.
func TestHostProfile(t *testing.T) {
	want := `process_cpu{comm="shop", host_cpus="4", host_name="n1", otel_scope_name="ebpf", x="y"} 0 0 5000000000 ["cpu:nanoseconds is samples:count times the period"]
  samples:count
    2 0x1234 feed@10 work _work shop.go:7:2 0x0 main main :0:0map[process.executable.name:[shop] span_id:[cdcdcdcdcdcdcdcd] trace_id:[abababababababababababababababab]] map[thread.id:[77]]
    3 0x1234 feed@10 work _work shop.go:7:2 0x0 main main :0:0map[process.executable.name:[shop]] map[]
  cpu:nanoseconds
    100000000 0x1234 feed@10 work _work shop.go:7:2 0x0 main main :0:0map[process.executable.name:[shop] span_id:[cdcdcdcdcdcdcdcd] trace_id:[abababababababababababababababab]] map[thread.id:[77]]
    150000000 0x1234 feed@10 work _work shop.go:7:2 0x0 main main :0:0map[process.executable.name:[shop]] map[]
process_cpu{comm="cart", host_cpus="4", host_name="n1", otel_scope_name="ebpf", x="y"} 0 0 5000000000 ["cpu:nanoseconds is samples:count times the period"]
  samples:count
    2 0x1500 feed@10 0x0 main main :0:0map[process.executable.name:[cart]] map[]
  cpu:nanoseconds
    100000000 0x1500 feed@10 0x0 main main :0:0map[process.executable.name:[cart]] map[]`
	if got := describe(t, hostProfile()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// A resource that names its service is one series, whatever ran in it.
func TestServiceProfile(t *testing.T) {
	req := hostProfile()
	rp := req.ResourceProfiles[0]
	rp.Resource.Attributes = append(rp.Resource.Attributes, &commonv1.KeyValue{Key: "service.name", Value: str("all")})
	p := rp.ScopeProfiles[0].Profiles[0]
	p.TimeUnixNano = 0
	p.SampleType = &profilesv1.ValueType{TypeStrindex: 3, UnitStrindex: 4}
	made, refused := otlp.Decode(req)
	if len(made) != 1 || len(refused) != 0 || made[0].Labels.Service() != "all" || made[0].Time.UnixNano() != at+1 {
		t.Errorf("%v %v", made, refused)
	}
}

// Every index is checked, and what is broken is refused alone.
func TestBrokenProfilesAreRefusedAlone(t *testing.T) {
	for name, breakIt := range map[string]func(*profilesv1.Profile, *profilesv1.ProfilesDictionary){
		"sample type":       func(p *profilesv1.Profile, _ *profilesv1.ProfilesDictionary) { p.SampleType.TypeStrindex = 99 },
		"no sample type":    func(p *profilesv1.Profile, _ *profilesv1.ProfilesDictionary) { p.SampleType = nil },
		"period type":       func(p *profilesv1.Profile, _ *profilesv1.ProfilesDictionary) { p.PeriodType.UnitStrindex = -1 },
		"stack":             func(p *profilesv1.Profile, _ *profilesv1.ProfilesDictionary) { p.Samples[0].StackIndex = 3 },
		"sample attribute":  func(p *profilesv1.Profile, _ *profilesv1.ProfilesDictionary) { p.Samples[0].AttributeIndices[0] = 9 },
		"link":              func(p *profilesv1.Profile, _ *profilesv1.ProfilesDictionary) { p.Samples[0].LinkIndex = 2 },
		"profile attribute": func(p *profilesv1.Profile, _ *profilesv1.ProfilesDictionary) { p.AttributeIndices = []int32{9} },
		"location":          func(_ *profilesv1.Profile, d *profilesv1.ProfilesDictionary) { d.StackTable[1].LocationIndices[0] = 9 },
		"mapping":           func(_ *profilesv1.Profile, d *profilesv1.ProfilesDictionary) { d.LocationTable[1].MappingIndex = 2 },
		"function": func(_ *profilesv1.Profile, d *profilesv1.ProfilesDictionary) {
			d.LocationTable[1].Lines[0].FunctionIndex = 3
		},
		"function name": func(_ *profilesv1.Profile, d *profilesv1.ProfilesDictionary) {
			d.FunctionTable[1].NameStrindex = 1 << 30
		},
		"file name":      func(_ *profilesv1.Profile, d *profilesv1.ProfilesDictionary) { d.MappingTable[1].FilenameStrindex = -5 },
		"attribute key":  func(_ *profilesv1.Profile, d *profilesv1.ProfilesDictionary) { d.AttributeTable[1].KeyStrindex = 99 },
		"attribute unit": func(_ *profilesv1.Profile, d *profilesv1.ProfilesDictionary) { d.AttributeTable[4].UnitStrindex = 99 },
		"mapping's build ID": func(_ *profilesv1.Profile, d *profilesv1.ProfilesDictionary) {
			d.MappingTable[1].AttributeIndices[0] = 9
		},
	} {
		t.Run(name, func(t *testing.T) {
			req := hostProfile()
			sp := req.ResourceProfiles[0].ScopeProfiles[0]
			sound := &profilesv1.Profile{SampleType: &profilesv1.ValueType{TypeStrindex: 1, UnitStrindex: 2}}
			breakIt(sp.Profiles[0], req.Dictionary)
			sp.Profiles = append(sp.Profiles, sound)
			got := describe(t, req)
			if !strings.Contains(got, "refused: resource_profiles[0].scope_profiles[0].profiles[0]: ") || !strings.HasPrefix(got, "{") {
				t.Errorf("got %s", got)
			}
		})
	}
}

// OTLP's JSON has IDs in hexadecimal.
func TestJSON(t *testing.T) {
	text, err := protojson.Marshal(hostProfile())
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.ReplaceAll(text, []byte("q6urq6urq6urq6urq6urqw=="), []byte("abababababababababababababababab"))
	text = bytes.ReplaceAll(text, []byte("zc3Nzc3NzQ=="), []byte("CDCDCDCDCDCDCDCD"))
	req, err := otlp.ParseJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(req, hostProfile()) {
		t.Errorf("got %v", req)
	}
	for _, bad := range []string{"", "{", `{"resourceProfiles": 1}`, `{"dictionary":{"linkTable":[{"traceId":"@"}]}}`, "null", "[]"} {
		if _, err := otlp.ParseJSON([]byte(bad)); bad != "null" && !errors.Is(err, profile.ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// Whatever comes, every profile is refused with ErrInvalid or becomes sound ones, and
// what was counted is what is stored.
func FuzzDecode(f *testing.F) {
	seed, err := proto.Marshal(hostProfile())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(seed[:len(seed)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		req := new(collector.ExportProfilesServiceRequest)
		if proto.Unmarshal(data, req) != nil {
			return
		}
		made, refused := otlp.Decode(req)
		for _, err := range refused {
			if !errors.Is(err, profile.ErrInvalid) {
				t.Fatalf("%v is not ErrInvalid", err)
			}
		}
		for _, m := range made {
			var d profile.Decoder
			if _, err := d.Decode(m.Body); err != nil {
				t.Fatalf("what was made cannot be read: %v", err)
			}
			if !slices.IsSortedFunc(m.Labels, func(a, b profile.Label) int { return strings.Compare(a.Name, b.Name) }) {
				t.Fatalf("labels %s", m.Labels)
			}
		}
	})
}
