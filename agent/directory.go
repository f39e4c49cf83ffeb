package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// Directory is a [Sink] that keeps profiles as plain files, for use without a server:
//
//	DIR/process_cpu/COMM/20060102T150405.000Z-LABELS.pb.gz
//
// LABELS is a hash of the label set. A file appears whole or not at all.
type Directory string

// Write implements [Sink].
func (d Directory) Write(_ context.Context, p Profile) error {
	dir := filepath.Join(string(d), p.Name, fileName(p.Labels.Service()))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("keep a profile: %w", err)
	}
	name := fmt.Sprintf("%s-%08x.pb.gz", p.Range.From.UTC().Format("20060102T150405.000Z"), uint32(xxhash.Sum64String(p.Labels.String())))
	f, err := os.CreateTemp(dir, ".*.tmp")
	if err != nil {
		return fmt.Errorf("keep a profile: %w", err)
	}
	_, err = f.Write(p.Pprof)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("keep a profile as %s: %w", filepath.Join(dir, name), err), os.Remove(f.Name()))
	}
	return nil
}

// fileName makes a name that is safe as a folder of what a process calls itself.
func fileName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '/' || r < ' ' || r == 0x7f {
			return '_'
		}
		return r
	}, s)
	if s == "" || s[0] == '.' {
		s = "_" + s
	}
	return s
}
