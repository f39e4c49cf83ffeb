package agent

import (
	"cmp"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/coldframe/coldframe/profile"
)

//go:embed page/*.html
var pages embed.FS

// Page shows what the agent knows of the processes of its host, and their latest profiles as r
// keeps them:
//
//	/processes         all processes, those first that were sampled most
//	/profiles/ID       a profile as table and flame graph
//	/profiles/ID.pb.gz the same as pprof
//
// It needs nothing from elsewhere and runs no script.
func (a *Agent) Page(r *Recent) http.Handler {
	page := &page{agent: a, recent: r, templates: template.Must(template.New("").ParseFS(pages, "page/*.html"))}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /processes", page.processes)
	mux.HandleFunc("GET /profiles/{id}", page.profile)
	return mux
}

type page struct {
	agent     *Agent
	recent    *Recent
	templates *template.Template
}

func (p *page) show(w http.ResponseWriter, name string, v any) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	if err := p.templates.ExecuteTemplate(w, name, v); err != nil {
		p.agent.config.Observer.failed(fmt.Errorf("show %s: %w", name, err))
	}
}

// processRow is a process on the page.
type processRow struct {
	ProcessInfo
	Whole    string // share of its samples whose stack is whole
	Profiles []profileLink
}

type profileLink struct{ ID, Name string }

func (p *page) processes(w http.ResponseWriter, r *http.Request) {
	all, err := p.agent.Processes(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	slices.SortStableFunc(all, func(x, y ProcessInfo) int { return cmp.Compare(y.Samples, x.Samples) })
	rows := make([]processRow, len(all))
	for i, info := range all {
		rows[i] = processRow{ProcessInfo: info, Profiles: p.links(info)}
		if info.Samples > 0 {
			rows[i].Whole = fmt.Sprintf("%.1f %%", 100*float64(info.Complete)/float64(info.Samples))
		}
	}
	p.show(w, "processes.html", struct {
		Node string
		Rows []processRow
	}{p.agent.config.Node, rows})
}

func (p *page) links(info ProcessInfo) []profileLink {
	var links []profileLink
	labels := info.Labels.String()
	for _, name := range profileNames {
		id := recentID(name, labels)
		if _, ok := p.recent.find(id); ok {
			links = append(links, profileLink{id, name})
		}
	}
	return links
}

func (p *page) profile(w http.ResponseWriter, r *http.Request) {
	file := r.PathValue("id")
	id, raw := strings.CutSuffix(file, ".pb.gz")
	found, ok := p.recent.find(id)
	if !ok {
		http.Error(w, "no profile is kept here, or no longer: the latest ones are, as far as memory allows", http.StatusNotFound)
		return
	}
	if raw {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", found.Name+"-"+path.Base(file)))
		_, _ = w.Write(found.Pprof) // who has gone needs no answer
		return
	}
	root, err := treeOf(found.Pprof)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	p.show(w, "profile.html", struct {
		ID, Name, Labels string
		From, To         time.Time
		Samples          int64
		Top              []topRow
		Root             *treeNode
	}{id, found.Name, found.Labels.String(), found.Range.From.UTC(), found.Range.To.UTC(), root.Total, root.top(), root.prune()})
}

// treeNode is a function below its callers, counted in samples or waits.
type treeNode struct {
	Name, Short string // Short is without the path of a package
	Self, Total int64
	Width       string // in percent of the parent, for the page
	Share       string // in percent of all
	Children    []*treeNode
	byName      map[string]*treeNode
}

func (n *treeNode) child(name string) *treeNode {
	c := n.byName[name]
	if c == nil {
		c = &treeNode{Name: name, Short: name[strings.LastIndexByte(name, '/')+1:], byName: map[string]*treeNode{}}
		n.byName[name] = c
		n.Children = append(n.Children, c)
	}
	return c
}

// treeOf merges the stacks of a pprof by their functions' names.
func treeOf(body []byte) (*treeNode, error) {
	d, err := new(profile.Decoder).Decode(body)
	if err != nil {
		return nil, err
	}
	root := &treeNode{Name: "all", Short: "all", byName: map[string]*treeNode{}}
	for i := range d.NumSamples() {
		n, value := root, d.SampleValues(i)[0]
		n.Total += value
		for _, at := range slices.Backward(d.Stack(i)) {
			for _, name := range slices.Backward(namesAt(d, d.Locations[at])) {
				n = n.child(name)
				n.Total += value
			}
		}
		n.Self += value
	}
	return root, nil
}

// namesAt are the functions of a location, innermost first, or where it lies when none is known.
func namesAt(d *profile.Profile, l profile.Location) []string {
	var names []string
	for _, line := range d.Lines[l.LineFrom:l.LineTo] {
		names = append(names, clean(d.Strings[d.Functions[line.Function].Name]))
	}
	if len(names) > 0 {
		return names
	}
	if l.Mapping >= 0 {
		return []string{fmt.Sprintf("%s+%#x", path.Base(d.Strings[d.Mappings[l.Mapping].File]), l.Address)}
	}
	return []string{"unknown"}
}

// thinnest is the share of all samples below which the page leaves a function out.
const thinnest = 0.002

// prune sorts what is worth showing and says how wide it is.
func (n *treeNode) prune() *treeNode {
	n.share(n.Total, n.Total)
	return n
}

func (n *treeNode) share(parent, all int64) {
	n.Width = fmt.Sprintf("%.3f", 100*float64(n.Total)/float64(max(1, parent)))
	n.Share = fmt.Sprintf("%.1f", 100*float64(n.Total)/float64(max(1, all)))
	n.Children = slices.DeleteFunc(n.Children, func(c *treeNode) bool { return float64(c.Total) < thinnest*float64(all) })
	slices.SortFunc(n.Children, func(a, b *treeNode) int { return cmp.Compare(a.Name, b.Name) })
	for _, c := range n.Children {
		c.share(n.Total, all)
	}
}

// topRow is a function with its own samples, and those of all that it calls too.
type topRow struct {
	Name                  string
	Self, Total           int64
	SelfShare, TotalShare string
}

// top are the functions with most samples of their own.
func (n *treeNode) top() []topRow {
	const rows = 40
	byName := map[string]*topRow{}
	above := map[string]int{} // functions that are being walked below
	var walk func(*treeNode)
	walk = func(n *treeNode) {
		r := byName[n.Name]
		if r == nil {
			r = &topRow{Name: n.Name}
			byName[n.Name] = r
		}
		r.Self += n.Self
		if above[n.Name] == 0 { // recursion counts once
			r.Total += n.Total
		}
		above[n.Name]++
		for _, c := range n.Children {
			walk(c)
		}
		above[n.Name]--
	}
	for _, c := range n.Children {
		walk(c)
	}
	var all []topRow
	for _, r := range byName {
		r.SelfShare = fmt.Sprintf("%.1f", 100*float64(r.Self)/float64(max(1, n.Total)))
		r.TotalShare = fmt.Sprintf("%.1f", 100*float64(r.Total)/float64(max(1, n.Total)))
		all = append(all, *r)
	}
	slices.SortFunc(all, func(a, b topRow) int {
		return cmp.Or(cmp.Compare(b.Self, a.Self), cmp.Compare(b.Total, a.Total), cmp.Compare(a.Name, b.Name))
	})
	return all[:min(rows, len(all))]
}
