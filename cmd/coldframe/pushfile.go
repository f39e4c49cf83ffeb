package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"time"

	"github.com/coldframe/coldframe/agent/symbols"
	"github.com/coldframe/coldframe/ingest/push/jfr"
	"github.com/coldframe/coldframe/ingest/push/parca"
	"github.com/coldframe/coldframe/ingest/push/perf"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/profile/draft"
	"github.com/coldframe/coldframe/upload"
)

// readProfiles reads the profiles of a file: a pprof is stored as it is, what others have
// recorded becomes pprof. Labels and name of the command stand before those of the file.
// whole is false when the file's end is missing.
func (c *pushCmd) readProfiles(file string) (profiles []upload.Profile, whole bool, err error) {
	body, err := os.ReadFile(file)
	if err != nil {
		return nil, false, err
	}
	made, whole, err := convert(file, body)
	if err != nil {
		return nil, false, err
	}
	for _, p := range made {
		if p.Labels, err = c.labelled(p.Labels); err != nil {
			return nil, false, err
		}
		if c.TypeName != "" {
			p.Name = c.TypeName
		}
		profiles = append(profiles, upload.Profile(p))
	}
	return profiles, whole, nil
}

// labelled adds the command's labels to those that a file gives.
func (c *pushCmd) labelled(ls profile.Labels) (profile.Labels, error) {
	all := ls.Map()
	for name, value := range c.Label {
		all[name] = value
	}
	return profile.LabelsFromMap(all)
}

// convert makes profiles of a file, by what it begins with.
func convert(name string, body []byte) (made []draft.Profile, whole bool, err error) {
	unpacked := body
	if bytes.HasPrefix(body, []byte{0x1f, 0x8b}) {
		var d profile.Decoder
		if unpacked, err = d.Uncompress(body); err != nil {
			return nil, false, err
		}
	}
	switch {
	case jfr.IsRecording(unpacked):
		made, err = jfr.Decode(unpacked, jfr.Options{})
	case perf.IsRecording(unpacked):
		made, err = perf.Decode(unpacked, perfOptions(name))
	case perf.IsScript(unpacked):
		made, err = perf.DecodeScript(unpacked, perfOptions(name).Ended)
	case parca.IsFile(body):
		return parca.DecodeFile(body)
	default:
		made = []draft.Profile{{Body: body, Time: writtenAt(name)}}
	}
	return made, true, err
}

// perfOptions are those of a recording that was made on this machine, as far as its
// binaries are the same: perf checks their build IDs.
func perfOptions(name string) perf.Options {
	return perf.Options{Open: openBinary, Kernel: localKernel, Ended: writtenAt(name)}
}

// writtenAt is when a file was written, in whole seconds, as HTTP tells it: the time of what
// the file holds, if that does not say one itself.
func writtenAt(name string) time.Time {
	info, err := os.Stat(name)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime().Truncate(time.Second)
}

// binary is a file that knows its size.
type binary struct {
	*os.File
	size int64
}

// Size implements [perf.File].
func (b binary) Size() int64 { return b.size }

func openBinary(path string) (perf.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // a device or a pipe is not read
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return binary{f, info.Size()}, nil
}

// localKernel gives the symbols of the running kernel if it has this build ID.
func localKernel(buildID string) *symbols.Kernel {
	notes, err := os.ReadFile("/sys/kernel/notes")
	if err != nil || hex.EncodeToString(symbols.FindBuildID(notes)) != buildID {
		return nil
	}
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return nil
	}
	defer f.Close()
	k, err := symbols.ReadKernel(f)
	if err != nil {
		return nil
	}
	return k
}
