package catalog

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
)

// Cases write a HEAD and a change as lines of words. Blocks are called by short
// names, which become IDs; their day is 2026-08-21 unless given.
//
//	minutes SEALED SWEPT SWEEP
//	live NAME [YYYYMMDD] FROM TO    NAME of a block with rollups R: NAME+R; with nothing else left: -NAME+R
//	gathered FROM TO NAME…
//	part NAME ENTRIES
//	retired HH:MM l0 MINUTE | retired HH:MM NAME…
//	seal FROM TO | sweep SWEEP TO [partly] | merge NAME… | expire RAWDAY ROLLUPSDAY [PART] | forget L0 NAME… | clear TO
//	out NAME [YYYYMMDD] FROM TO
func TestChange(t *testing.T) {
	now := time.Date(2026, 8, 21, 12, 0, 0, 0, time.UTC)
	eachCase(t, "change", func(t *testing.T, sections map[string]string) string {
		h := readHead(t, sections["head"])
		window := Minute(60)
		if w := sections["window"]; w != "" {
			scan(t, w, "%d", &window)
		}
		before := fmt.Sprint(h)
		n, err := next(h, readChange(t, sections["change"]), nameID("txn"), now, window)
		if after := fmt.Sprint(h); after != before {
			t.Errorf("the HEAD that was changed was modified\nfrom %s\n  to %s", before, after)
		}
		switch {
		case errors.Is(err, ErrConflict):
			return fmt.Sprintf("plan again: %v\n", named(err.Error()))
		case err != nil:
			return fmt.Sprintf("refused: %v\n", named(err.Error()))
		case n.Seq != h.Seq+1 || n.Txn != nameID("txn"):
			t.Errorf("seq %d and txn %s after seq %d", n.Seq, n.Txn, h.Seq)
		}
		return printHead(n)
	})
}

// nameID is an ID that ends in a short name; idName takes it back.
func nameID(name string) block.ID {
	var id block.ID
	copy(id[len(id)-len(name):], name)
	return id
}

func idName(id block.ID) string { return strings.TrimLeft(string(id[:]), "\x00") }

// named puts names for the IDs in a text.
func named(text string) string {
	words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" :,", r) })
	for _, word := range words {
		if id, err := block.ParseID(word); err == nil {
			text = strings.ReplaceAll(text, word, idName(id))
		}
	}
	return text
}

func scan(t *testing.T, line, format string, into ...any) {
	t.Helper()
	if _, err := fmt.Sscanf(line, format, into...); err != nil {
		t.Fatalf("case line %q: want %q: %v", line, format, err)
	}
}

const usualDay = "20260821"

// readMeta reads NAME [YYYYMMDD] FROM TO.
func readMeta(t *testing.T, words []string) block.Meta {
	t.Helper()
	if len(words) == 3 {
		words = []string{words[0], usualDay, words[1], words[2]}
	}
	if len(words) != 4 {
		t.Fatalf("case: block %q: want NAME [YYYYMMDD] FROM TO", words)
	}
	var ms [2]int64
	for i, clock := range words[2:] {
		at, err := time.Parse("20060102 15:04", words[1]+" "+clock)
		if err != nil {
			t.Fatal(err)
		}
		ms[i] = at.UnixMilli()
	}
	day, err := block.ParseDay(words[1])
	if err != nil {
		t.Fatal(err)
	}
	m := block.Meta{Level: block.L1, Day: day, MinTime: ms[0], MaxTime: ms[1], Size: 1000, Tail: 100, CRC: 7, Rows: 1, Profiles: 1}
	name, rollups, has := strings.Cut(words[0], "+")
	if has {
		m.Level, m.R4 = block.L4, &block.Rollup{ID: nameID(rollups), Size: 10, Tail: 10}
	}
	name, m.Expired = strings.CutPrefix(name, "-")
	m.ID = nameID(name)
	return m
}

// retiredBlock reads NAME, of a block of level 1 and the usual day, or CLASS/YYYYMMDD/NAME.
func retiredBlock(t *testing.T, word string) RetiredBlock {
	t.Helper()
	parts := strings.Split(word, "/")
	if len(parts) == 1 {
		parts = []string{"b1", usualDay, word}
	}
	d, err := block.ParseDay(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	return RetiredBlock{block.Class(parts[0]), d, nameID(parts[2])}
}

func readRetired(t *testing.T, words []string) Retired {
	t.Helper()
	at, err := time.Parse("20060102 15:04", usualDay+" "+words[0])
	if err != nil {
		t.Fatal(err)
	}
	r := Retired{Time: at.Unix()}
	if words[1] == "l0" {
		scan(t, words[2], "%d", &r.L0)
		return r
	}
	for _, word := range words[1:] {
		r.Blocks = append(r.Blocks, retiredBlock(t, word))
	}
	return r
}

func printRetired(r Retired) string {
	line := "retired " + time.Unix(r.Time, 0).UTC().Format("15:04")
	if r.L0 > 0 {
		line += fmt.Sprintf(" l0 %d", r.L0)
	}
	for _, b := range r.Blocks {
		line += fmt.Sprintf(" %s/%s/%s", b.Class, b.Day, idName(b.ID))
	}
	return line + "\n"
}

func readHead(t *testing.T, text string) Head {
	t.Helper()
	if text == "" {
		return Head{}
	}
	h := Head{V: 1, Seq: 10, Txn: nameID("before"), Txns: []block.ID{nameID("before")}}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch words[0] {
		case "minutes":
			scan(t, line, "minutes %d %d %d", &h.Sealed, &h.Swept, &h.Sweep)
		case "live":
			h.Live = append(h.Live, readMeta(t, words[1:]))
		case "gathered":
			g := Gathering{Time: 1}
			scan(t, line, "gathered %d %d", &g.From, &g.To)
			for _, name := range words[3:] {
				g.Out = append(g.Out, Output{ID: nameID(name), Level: 1, Day: 1, Size: 1000, Tail: 100})
			}
			h.Commits = append(h.Commits, g)
		case "part":
			p := Part{ID: nameID(words[1]), Size: 1000}
			scan(t, words[2], "%d", &p.Entries)
			h.Arch = append(h.Arch, p)
		case "retired":
			h.Retired = append(h.Retired, readRetired(t, words[1:]))
		default:
			t.Fatalf("case: HEAD line %q", line)
		}
	}
	if err := h.validate(); err != nil {
		t.Fatalf("case: HEAD: %v", err)
	}
	return h
}

func readChange(t *testing.T, text string) Change {
	t.Helper()
	first, rest, _ := strings.Cut(text, "\n")
	var out []block.Meta
	for line := range strings.Lines(rest) {
		words := strings.Fields(line)
		if words[0] != "out" {
			t.Fatalf("case: change line %q", line)
		}
		out = append(out, readMeta(t, words[1:]))
	}
	words := strings.Fields(first)
	switch words[0] {
	case "seal":
		s := Seal{Out: out}
		scan(t, first, "seal %d %d", &s.From, &s.To)
		return s
	case "sweep":
		s := Sweep{Out: out, Partly: len(words) > 3}
		scan(t, first, "sweep %d %d", &s.Sweep, &s.To)
		return s
	case "merge":
		m := Merge{Out: out}
		for _, name := range words[1:] {
			m.In = append(m.In, nameID(name))
		}
		return m
	case "expire":
		e := Expire{Raw: mustDay(t, words[1]), Rollups: mustDay(t, words[2])}
		if len(words) > 3 {
			e.Parts = []OpenedPart{{ID: nameID(words[3]), Entries: out}}
		}
		return e
	case "forget":
		var f Forget
		scan(t, words[1], "%d", &f.L0)
		for _, word := range words[2:] {
			f.Blocks = append(f.Blocks, retiredBlock(t, word))
		}
		return f
	case "clear":
		var c Clear
		scan(t, first, "clear %d", &c.To)
		return c
	}
	t.Fatalf("case: change %q", first)
	return nil
}

func mustDay(t *testing.T, text string) block.Day {
	t.Helper()
	d, err := block.ParseDay(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func printHead(h Head) string {
	var b strings.Builder
	fmt.Fprintf(&b, "minutes %d %d %d\n", h.Sealed, h.Swept, h.Sweep)
	for _, m := range h.Live {
		day := m.Day.String() + " "
		if day == usualDay+" " {
			day = ""
		}
		name := idName(m.ID)
		if m.R4 != nil {
			name += "+" + idName(m.R4.ID)
		}
		if m.Expired {
			name = "-" + name
		}
		fmt.Fprintf(&b, "live %s %s%s %s\n", name, day, time.UnixMilli(m.MinTime).UTC().Format("15:04"), time.UnixMilli(m.MaxTime).UTC().Format("15:04"))
	}
	for _, g := range h.Commits {
		fmt.Fprintf(&b, "gathered %d %d", g.From, g.To)
		for _, o := range g.Out {
			fmt.Fprintf(&b, " %s", idName(o.ID))
		}
		b.WriteString("\n")
	}
	for _, r := range h.Retired {
		b.WriteString(printRetired(r))
	}
	for _, p := range h.Arch {
		fmt.Fprintf(&b, "part %s %d\n", idName(p.ID), p.Entries)
	}
	return b.String()
}
