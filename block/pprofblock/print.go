package pprofblock

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Print writes what is in a block as text: a head, then a line for each profile
// with its file, time, duration, size, samples, types, state (ok or CORRUPT) and labels.
func Print(w io.Writer, r *Reader) error {
	m := r.Manifest()
	out := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(out, "pprof block\t%s\n", m.ID)
	fmt.Fprintf(out, "agent\t%q\n", m.Agent)
	fmt.Fprintf(out, "created\t%s\n", m.Created.Format(time.RFC3339Nano))
	fmt.Fprintf(out, "bytes\t%d\n", len(r.data))
	fmt.Fprintf(out, "profiles\t%d\n", r.Len())
	if err := out.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nfile\ttime\tduration\tbytes\tsamples\ttypes\tstate\tlabels\n")
	for i, e := range m.Profiles {
		state := "ok"
		if _, err := r.Profile(i); err != nil {
			state = "CORRUPT"
		}
		words := make([]string, len(e.SampleTypes))
		for j, t := range e.SampleTypes {
			words[j] = t.String()
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%d\t%d\t%q\t%s\t%s\n", e.File, e.MinTime.Format("2006-01-02T15:04:05.000Z"), e.MaxTime.Sub(e.MinTime),
			e.Size, e.Samples, e.Name+" "+strings.Join(words, " "), state, e.Labels)
	}
	return out.Flush()
}
