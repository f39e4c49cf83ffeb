package deploy

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const dockerfile = "infra/container/Dockerfile"

// instruction is one of a Dockerfile, its lines joined.
type instruction struct {
	line  int
	name  string
	flags map[string]string // --from=build
	args  []string
}

// stage is what begins with a FROM.
type stage struct {
	base, name   string
	instructions []instruction
}

// stages reads a Dockerfile without heredocs and escapes, which ours does not have.
func stages(t *testing.T, text string) (all []stage) {
	t.Helper()
	var joined string
	begin := 0
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, "#") || trimmed == "" && joined == "" {
			continue
		}
		if joined == "" {
			begin = i + 1
		}
		if more, ok := strings.CutSuffix(trimmed, `\`); ok {
			joined += more + " "
			continue
		}
		fields := strings.Fields(joined + trimmed)
		joined = ""
		in := instruction{line: begin, name: fields[0], flags: map[string]string{}}
		for _, f := range fields[1:] {
			if flag, ok := strings.CutPrefix(f, "--"); ok && len(in.args) == 0 {
				name, value, _ := strings.Cut(flag, "=")
				in.flags[name] = value
			} else {
				in.args = append(in.args, f)
			}
		}
		if in.name == "FROM" {
			s := stage{base: in.args[0]}
			if len(in.args) == 3 && in.args[1] == "AS" {
				s.name = in.args[2]
			}
			all = append(all, s)
		}
		if len(all) == 0 {
			t.Fatalf("%s:%d: %s before FROM", dockerfile, begin, in.name)
		}
		all[len(all)-1].instructions = append(all[len(all)-1].instructions, in)
	}
	return all
}

// The image is one static binary of a user without rights; what builds it is named exactly
// and cross-compiles, so that no stage is emulated.
func TestDockerfile(t *testing.T) {
	all := stages(t, read(t, dockerfile))
	known := []string{"FROM", "ARG", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "ENTRYPOINT", "CMD"}
	var names []string
	for i, s := range all {
		last := i == len(all)-1
		if !slices.Contains(names, s.base) {
			if _, tag, ok := strings.Cut(s.base, ":"); !ok || tag == "latest" || strings.Contains(tag, "$") {
				t.Errorf("%s: name the image's version", s.base)
			}
		}
		if platform := s.instructions[0].flags["platform"]; last == (platform != "") || !last && platform != "$BUILDPLATFORM" {
			t.Errorf("%s: platform %q: stages that build run where they are, the last is of its target", s.base, platform)
		}
		for _, in := range s.instructions {
			where := fmt.Sprintf("%s:%d", dockerfile, in.line)
			if !slices.Contains(known, in.name) {
				t.Errorf("%s: %s is none of %v", where, in.name, known)
			}
			switch in.name {
			case "COPY":
				from, isStage := in.flags["from"]
				if isStage && !slices.Contains(names, from) {
					t.Errorf("%s: there is no stage %s before", where, from)
				}
				for _, source := range in.args[:len(in.args)-1] {
					if _, err := os.Stat(filepath.Join(root, source)); !isStage && err != nil {
						t.Errorf("%s: %v", where, err)
					}
				}
			case "RUN":
				text := strings.Join(in.args, " ")
				if last {
					t.Errorf("%s: the last stage has no shell", where)
				}
				if strings.Contains(text, "apt-get") || strings.Contains(text, "curl") || strings.Contains(text, "@latest") {
					t.Errorf("%s: what is fetched is not named exactly", where)
				}
				if strings.Contains(text, "go build") && !(strings.Contains(text, "CGO_ENABLED=0") && strings.Contains(text, "GOARCH=$TARGETARCH") && strings.Contains(text, "-trimpath")) {
					t.Errorf("%s: the binary is not static, not of its target, or tells where it was built", where)
				}
			case "WORKDIR":
				if !filepath.IsAbs(in.args[0]) {
					t.Errorf("%s: %s is relative", where, in.args[0])
				}
			case "EXPOSE":
				for _, port := range in.args {
					if _, err := strconv.ParseUint(port, 10, 16); err != nil {
						t.Errorf("%s: %v", where, err)
					}
				}
			}
		}
		names = append(names, s.name)
	}
	if image := imageOf(t, all[len(all)-1]); image.user == 0 || len(image.entrypoint) == 0 {
		t.Errorf("the image runs %v as %d", image.entrypoint, image.user)
	}
	// What make and the Dockerfile tell the linker is the same.
	for _, variable := range []string{"main.version", "main.commit", "main.commitTime"} {
		if set := "-X " + variable + "="; !strings.Contains(read(t, dockerfile), set) || !strings.Contains(read(t, "Makefile"), set) {
			t.Errorf("not set everywhere: %s", variable)
		}
	}
}

// image is what the last stage says of how it runs.
type image struct {
	user       uint32
	entrypoint []string
	copies     map[string]string // what is copied from stages, by where to
}

func imageOf(t *testing.T, s stage) image {
	t.Helper()
	i := image{copies: map[string]string{}}
	for _, in := range s.instructions {
		switch in.name {
		case "USER":
			user, _, _ := strings.Cut(in.args[0], ":")
			n, err := strconv.ParseUint(user, 10, 32)
			if err != nil {
				t.Fatalf("%s:%d: a cluster cannot tell whether %s is root: want a number", dockerfile, in.line, user)
			}
			i.user = uint32(n)
		case "ENTRYPOINT":
			if err := json.Unmarshal([]byte(strings.Join(in.args, " ")), &i.entrypoint); err != nil {
				t.Fatalf("%s:%d: there is no shell that could read this: %v", dockerfile, in.line, err)
			}
		case "COPY":
			i.copies[in.args[1]] = in.args[0]
		}
	}
	return i
}

// The image's last stage, laid out in a folder as an engine would, runs as its user.
//
// Of the base, which has certificates, a list of users and time zones, only the first two are here.
func TestImageRuns(t *testing.T) {
	content := packaged(t)
	all := stages(t, read(t, dockerfile))
	image := imageOf(t, all[len(all)-1])
	dir := t.TempDir()
	lay := func(path string, text []byte, mode os.FileMode) {
		t.Helper()
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, mode); err != nil {
			t.Fatal(err)
		}
	}
	// The package's binary is built by the same flags as that of the stage before.
	binary, err := os.ReadFile(filepath.Join(content, "usr/bin/coldframe"))
	if err != nil {
		t.Fatal(err)
	}
	for to, from := range image.copies {
		if from != "/coldframe" || !strings.Contains(read(t, dockerfile), " -o "+from+" ") {
			t.Errorf("%s is copied and not built", from)
		}
		lay(to, binary, 0o755)
	}
	lay("etc/passwd", []byte("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"), 0o644)
	if certificates, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt"); err == nil {
		lay("etc/ssl/certs/ca-certificates.crt", certificates, 0o644)
	}
	runsInRoot(t, dir, image.user, image.entrypoint...)
}
