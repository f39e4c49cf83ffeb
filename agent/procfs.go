package agent

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"strconv"
	"strings"
)

func procPath(pid uint32, rest string) string {
	return "/proc/" + strconv.FormatUint(uint64(pid), 10) + "/" + rest
}

// readSome reads the beginning of a file.
func readSome(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

func listProcesses() []uint32 {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1) // what was read is what there is
	var pids []uint32
	for _, n := range names {
		if pid, err := strconv.ParseUint(n, 10, 32); err == nil {
			pids = append(pids, uint32(pid))
		}
	}
	return pids
}

// readStat takes name and parent from /proc/PID/stat, "pid (name) state ppid …". A name may
// hold anything, so its end is the last parenthesis.
func readStat(pid uint32) (comm string, parent uint32) {
	b, err := os.ReadFile(procPath(pid, "stat"))
	if err != nil {
		return "", 0
	}
	return parseStat(string(b))
}

func parseStat(s string) (comm string, parent uint32) {
	open, end := strings.IndexByte(s, '('), strings.LastIndexByte(s, ')')
	if open < 0 || end < open {
		return "", 0
	}
	fields := strings.Fields(s[end+1:])
	if len(fields) > 1 {
		n, _ := strconv.ParseUint(fields[1], 10, 32)
		parent = uint32(n)
	}
	return s[open+1 : end], parent
}

// threadEnded says whether a thread is a zombie or gone.
func threadEnded(pid, tid uint32) bool {
	b, err := os.ReadFile(procPath(pid, "task/"+strconv.FormatUint(uint64(tid), 10)+"/stat"))
	if err != nil {
		return true
	}
	_, rest, ok := bytes.Cut(b[max(0, bytes.LastIndexByte(b, ')')):], []byte(") "))
	return !ok || len(rest) == 0 || rest[0] == 'Z' || rest[0] == 'X'
}

// mapsEntry is an executable line of /proc/PID/maps.
type mapsEntry struct {
	start, end, offset uint64
	device             uint64 // major << 32 | minor
	inode              uint64
	path               string
}

// readMaps reads the executable mappings of a process. They are empty when its first thread
// has ended; then another thread is asked.
func readMaps(pid uint32) ([]mapsEntry, error) {
	b, err := os.ReadFile(procPath(pid, "maps"))
	if err != nil {
		return nil, err
	}
	if len(b) > 0 {
		return parseMaps(b), nil
	}
	threads, err := os.ReadDir(procPath(pid, "task"))
	if err != nil {
		return nil, err
	}
	for _, t := range threads[:min(len(threads), 16)] {
		if b, err := os.ReadFile(procPath(pid, "task/"+t.Name()+"/maps")); err == nil && len(b) > 0 {
			return parseMaps(b), nil
		}
	}
	return nil, nil
}

// maxMapped bounds the executable mappings that are kept of a process.
const maxMapped = 1 << 14

// parseMaps reads proc_pid_maps(5): "start-end perms offset major:minor inode path".
func parseMaps(b []byte) []mapsEntry {
	var out []mapsEntry
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() && len(out) < maxMapped {
		if e, ok := parseMapsLine(lines.Text()); ok {
			out = append(out, e)
		}
	}
	return out
}

func parseMapsLine(line string) (e mapsEntry, ok bool) {
	var field [5]string
	rest := line
	for i := range field {
		field[i], rest, ok = strings.Cut(strings.TrimLeft(rest, " "), " ")
		if !ok && i < 4 {
			return e, false
		}
	}
	if len(field[1]) < 4 || field[1][2] != 'x' {
		return e, false
	}
	from, to, _ := strings.Cut(field[0], "-")
	major, minor, _ := strings.Cut(field[3], ":")
	var errs [6]error
	e.start, errs[0] = strconv.ParseUint(from, 16, 64)
	e.end, errs[1] = strconv.ParseUint(to, 16, 64)
	e.offset, errs[2] = strconv.ParseUint(field[2], 16, 64)
	hi, err := strconv.ParseUint(major, 16, 32)
	errs[3] = err
	lo, err := strconv.ParseUint(minor, 16, 32)
	errs[4] = err
	e.inode, errs[5] = strconv.ParseUint(field[4], 10, 64)
	for _, err := range errs {
		if err != nil {
			return e, false
		}
	}
	e.device = hi<<32 | lo
	e.path = strings.TrimLeft(rest, " ")
	return e, e.start < e.end && e.path != "[vsyscall]"
}
