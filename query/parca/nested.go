package parca

import (
	"strconv"

	metastore "github.com/coldframe/coldframe/api/parca/metastore/v1alpha1"
	pb "github.com/coldframe/coldframe/api/parca/query/v1alpha1"
	"github.com/coldframe/coldframe/query"
)

// maxNesting of messages in messages. Decoders of protobuf refuse more than 100 in C++
// and 10,000 in Go; what is deeper is left out and counted as trimmed.
const maxNesting = 2_000

// nested is the flame graph as messages in messages, with what is known of a frame in
// each node: the report of Parca's first years.
func (d *drawing) nested() (*pb.QueryResponse, error) {
	parts := d.parts()
	g := d.flamegraph(func(frame uint32) *pb.FlamegraphNodeMeta {
		p := parts[frame]
		return &pb.FlamegraphNodeMeta{Location: p.location, Mapping: p.mapping, Function: p.function, Line: p.line}
	})
	return &pb.QueryResponse{Report: &pb.QueryResponse_Flamegraph{Flamegraph: g}}, nil
}

// indexed is the same with frames in tables beside it, and all texts in one.
func (d *drawing) indexed() (*pb.QueryResponse, error) {
	tables := &pb.Flamegraph{StringTable: []string{""}}
	texts := map[string]uint32{"": 0}
	text := func(s string) uint32 {
		n, known := texts[s]
		if !known {
			n = uint32(len(tables.StringTable))
			texts[s] = n
			tables.StringTable = append(tables.StringTable, s)
		}
		return n
	}
	type binary struct{ file, buildID string }
	mappings := map[binary]uint32{{}: 0}
	for i := range d.Frames[1:] { // location n is that of frame n
		f := &d.Frames[i+1]
		b := binary{f.Mapping, f.BuildID}
		if _, known := mappings[b]; !known {
			tables.Mapping = append(tables.Mapping, &metastore.Mapping{
				Id: strconv.Itoa(len(mappings)), FileStringIndex: text(f.Mapping), BuildIdStringIndex: text(f.BuildID),
			})
			mappings[b] = uint32(len(tables.Mapping))
		}
		at := &metastore.Location{Id: strconv.Itoa(i + 1), Address: f.Address, MappingIndex: mappings[b]}
		if name := shownName(f); name != "" {
			tables.Function = append(tables.Function, &metastore.Function{
				Id: strconv.Itoa(len(tables.Function) + 1), StartLine: f.StartLine,
				NameStringIndex: text(name), SystemNameStringIndex: text(f.SystemName), FilenameStringIndex: text(f.File),
			})
			at.Lines = []*metastore.Line{{Line: f.Line, FunctionIndex: uint32(len(tables.Function))}}
		}
		tables.Locations = append(tables.Locations, at)
	}
	g := d.flamegraph(func(frame uint32) *pb.FlamegraphNodeMeta { return &pb.FlamegraphNodeMeta{LocationIndex: frame} })
	g.StringTable, g.Locations, g.Mapping, g.Function = tables.StringTable, tables.Locations, tables.Mapping, tables.Function
	return &pb.QueryResponse{Report: &pb.QueryResponse_Flamegraph{Flamegraph: g}}, nil
}

// shownName is a function's name, or the labels that are grouped by; "" where clients are
// to show the address.
func shownName(f *query.Frame) string {
	if f.Kind == query.LabelFrame {
		return f.Name
	}
	return functionName(f)
}

// flamegraph is the nodes without tables.
func (d *drawing) flamegraph(meta func(frame uint32) *pb.FlamegraphNodeMeta) *pb.Flamegraph {
	l := d.lay()
	root := &pb.FlamegraphRootNode{Cumulative: l.value[0], Diff: l.diff[0]}
	nodes := make([]*pb.FlamegraphNode, len(l.nodes))
	for row := 1; row < len(l.nodes); row++ {
		if l.depth[row] > maxNesting {
			if l.depth[row] == maxNesting+1 {
				d.trimmed += l.value[row]
			}
			continue
		}
		nodes[row] = &pb.FlamegraphNode{Meta: meta(d.Frame[l.nodes[row]]), Cumulative: l.value[row], Diff: l.diff[row]}
		if p := l.parent[row]; p == 0 {
			root.Children = append(root.Children, nodes[row])
		} else {
			nodes[p].Children = append(nodes[p].Children, nodes[row])
		}
	}
	return &pb.Flamegraph{
		Root: root, Unit: d.Type.Sample.Unit, Height: d.height(), Trimmed: d.trimmed,
		Total: l.value[0], UntrimmedTotal: l.value[0], // deprecated, and what older clients divide by
	}
}

// part is a frame in the words of Parca's messages.
type part struct {
	location *metastore.Location
	mapping  *metastore.Mapping
	function *metastore.Function
	line     *metastore.Line
}

func (d *drawing) parts() []part {
	all := make([]part, len(d.Frames))
	for i := range d.Frames {
		f := &d.Frames[i]
		id := strconv.Itoa(i)
		p := part{location: &metastore.Location{Id: id, Address: f.Address}}
		if f.Mapping != "" || f.BuildID != "" {
			p.mapping = &metastore.Mapping{Id: f.BuildID + f.Mapping, File: f.Mapping, BuildId: f.BuildID}
			p.location.MappingId = p.mapping.Id
		}
		if name := shownName(f); name != "" {
			p.function = &metastore.Function{Id: id, Name: name, SystemName: f.SystemName, Filename: f.File, StartLine: f.StartLine}
			p.line = &metastore.Line{FunctionId: id, Line: f.Line}
		}
		all[i] = p
	}
	return all
}

// maxListed is how many functions and calls a list of messages has.
const maxListed = 50_000

// top is the functions, the largest total first.
func (d *drawing) top() (*pb.QueryResponse, error) {
	frames, _ := d.ranked()
	parts := d.parts()
	top := &pb.Top{Unit: d.Type.Sample.Unit, Total: int32(len(frames)), Reported: int32(min(len(frames), maxListed))}
	for _, frame := range frames[:top.Reported] {
		f, p := &d.functions[frame], parts[frame]
		total, diff := d.scaled(f.Total, f.BaseTotal)
		self, _ := d.scaled(f.Self, f.BaseSelf)
		top.List = append(top.List, &pb.TopNode{
			Meta:       &pb.TopNodeMeta{Location: p.location, Mapping: p.mapping, Function: p.function, Line: p.line},
			Cumulative: total, Flat: self, Diff: diff,
		})
	}
	return &pb.QueryResponse{Report: &pb.QueryResponse_Top{Top: top}}, nil
}

// callgraph is the functions and the calls between them.
func (d *drawing) callgraph() (*pb.QueryResponse, error) {
	frames, rank := d.ranked()
	frames = frames[:min(len(frames), maxListed)]
	parts := d.parts()
	g := &pb.Callgraph{Cumulative: d.total()}
	for row, frame := range frames {
		f, p := &d.functions[frame], parts[frame]
		total, _ := d.scaled(f.Total, f.BaseTotal)
		self, _ := d.scaled(f.Self, f.BaseSelf)
		g.Nodes = append(g.Nodes, &pb.CallgraphNode{
			Id:         strconv.Itoa(row),
			Meta:       &pb.CallgraphNodeMeta{Location: p.location, Mapping: p.mapping, Function: p.function, Line: p.line},
			Cumulative: total, Flat: self,
		})
	}
	for _, e := range d.edges {
		from, to := rank[e.Caller], rank[e.Callee]
		if from < 0 || to < 0 || max(from, to) >= int64(len(frames)) || len(g.Edges) == maxListed {
			continue
		}
		value, _ := d.scaled(e.Value, 0)
		g.Edges = append(g.Edges, &pb.CallgraphEdge{
			Id: strconv.Itoa(len(g.Edges)), Source: strconv.FormatInt(from, 10), Target: strconv.FormatInt(to, 10), Cumulative: value,
		})
	}
	return &pb.QueryResponse{Report: &pb.QueryResponse_Callgraph{Callgraph: g}}, nil
}
