package agent

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

const (
	// labelTTL is how long a process' labels are believed.
	labelTTL = 10 * time.Minute
	// unknownTTL is how long they are while nothing is known of its container. A cluster
	// tells of a new one within seconds.
	unknownTTL = 5 * time.Second
)

// labelsOf are the labels of a process' series: node, comm, exe, what its cgroup and its
// container tell, the environment variables that were asked for, and the external labels,
// which win; and for how long they are to be believed.
func labelsOf(p *process, c Config) (all map[string]string, ttl time.Duration) {
	ttl = labelTTL
	all = map[string]string{"node": c.Node, "comm": clean(p.comm)}
	if p.exe != "" {
		all["exe"] = clean(filepath.Base(p.exe))
	}
	for name, value := range cgroupLabels(cgroupOf(p)) {
		all[name] = value
	}
	if id := all["container_id"]; id != "" && c.Container != nil {
		told, ok := c.Container(id)
		if !ok {
			ttl = unknownTTL
		}
		for name, value := range told {
			all[name] = clean(value)
		}
	}
	if c.Relabel != nil {
		maps.Copy(all, hidden(p))
	}
	for name, value := range environment(p.pid, c.IncludeEnv) {
		all[name] = value
	}
	for _, l := range c.External {
		all[l.Name] = l.Value
	}
	return all, ttl
}

// clean makes valid UTF-8 of what a process calls itself.
func clean(s string) string { return strings.ToValidUTF8(s, "�") }

// cgroupOf reads the process' cgroup, or keeps the one it was born with when it has gone.
func cgroupOf(p *process) string {
	if !p.read {
		if b, err := os.ReadFile(procPath(p.pid, "cgroup")); err == nil && len(b) > 0 {
			p.cgroup, p.read = string(b), true
		} else if p.cgroup == "" {
			if b, err := os.ReadFile(procPath(p.parent, "cgroup")); err == nil {
				p.cgroup = string(b)
			}
		}
	}
	return p.cgroup
}

var (
	// containerID is the 64 hexadecimal digits that every container runtime puts into a cgroup's
	// path: docker-ID.scope, cri-containerd-ID.scope, crio-ID.scope, libpod-ID.scope, /docker/ID, kubepods/…/ID.
	containerID = regexp.MustCompile(`(?:^|[-/:])([0-9a-f]{64})(?:\.scope)?(?:/|$)`)
	// podUID is a pod's identity in the path, with dashes or, as systemd wants it, underscores.
	podUID = regexp.MustCompile(`pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12})`)
	lxc    = regexp.MustCompile(`/lxc\.(?:monitor|payload)[./]([^/]+)`)
)

// cgroupLabels reads /proc/PID/cgroup, lines of "number:controllers:path". Of version 1 any
// line may hold the container, and systemd's own the unit.
func cgroupLabels(text string) map[string]string {
	ls := map[string]string{}
	for line := range strings.SplitSeq(text, "\n") {
		_, rest, _ := strings.Cut(line, ":")
		controllers, path, ok := strings.Cut(rest, ":")
		if !ok {
			continue
		}
		if controllers == "" || controllers == "name=systemd" {
			if unit := systemdUnit(path); unit != "" {
				ls["systemd_unit"] = clean(unit)
			}
		}
		if m := containerID.FindStringSubmatch(path); m != nil {
			ls["container_id"] = m[1]
		} else if m := lxc.FindStringSubmatch(path); m != nil {
			ls["container_id"] = clean(m[1])
		}
		if m := podUID.FindStringSubmatch(path); m != nil {
			ls["pod_uid"] = strings.ReplaceAll(m[1], "_", "-")
		}
	}
	return ls
}

// systemdUnit is the last part of the path that names a service or a scope.
func systemdUnit(path string) string {
	parts := strings.Split(path, "/")
	for i := len(parts) - 1; i >= 0; i-- {
		if strings.HasSuffix(parts[i], ".service") || strings.HasSuffix(parts[i], ".scope") {
			return unescape(parts[i])
		}
	}
	return ""
}

// unescape undoes systemd's \x2d.
func unescape(unit string) string { return strings.ReplaceAll(unit, `\x2d`, "-") }

// environment reads chosen variables of a process.
func environment(pid uint32, names []string) map[string]string {
	if len(names) == 0 {
		return nil
	}
	b, err := os.ReadFile(procPath(pid, "environ"))
	if err != nil {
		return nil
	}
	ls := map[string]string{}
	for pair := range strings.SplitSeq(string(b), "\x00") {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			continue
		}
		for _, want := range names {
			if name == want {
				ls[strings.ToLower(name)] = clean(value)
			}
		}
	}
	return ls
}
