package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// released is a folder with what is released for this machine's architecture, built once as users' is.
var released = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "coldframe-release-")
	if err != nil {
		return "", err
	}
	made = append(made, dir)
	// What an outer make has set would hold here too.
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS=") })
	build := exec.Command("make", "--no-print-directory", "release", "DIST="+dir, "PLATFORMS=linux-"+runtime.GOARCH, "LAMBDA_ARCHS="+runtime.GOARCH)
	build.Dir, build.Env = root, env
	if out, err := build.CombinedOutput(); err != nil {
		return "", &failure{err, out}
	}
	return dir, nil
})

// debContent is what the Debian package puts onto a machine, in a folder. It is taken apart once.
var debContent = sync.OnceValues(func() (string, error) {
	dir, err := released()
	if err != nil {
		return "", err
	}
	packages, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(packages) != 1 {
		return "", &failure{os.ErrNotExist, []byte(strings.Join(packages, " "))}
	}
	content := filepath.Join(dir, "content")
	for _, args := range [][]string{{"-x", packages[0], content}, {"-e", packages[0], filepath.Join(content, "DEBIAN")}} {
		if out, err := exec.Command("dpkg-deb", args...).CombinedOutput(); err != nil {
			return "", &failure{err, out}
		}
	}
	return content, nil
})

type failure struct {
	err error
	out []byte
}

func (f *failure) Error() string { return f.err.Error() + "\n" + string(f.out) }

var made []string // folders to be removed

func TestMain(m *testing.M) {
	status := m.Run()
	for _, dir := range made {
		_ = os.RemoveAll(dir)
	}
	os.Exit(status)
}

func needsRelease(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds what is released")
	}
	for _, needed := range []string{"make", "zip", "dpkg-deb"} {
		if _, err := exec.LookPath(needed); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
}

func packaged(t *testing.T) string {
	t.Helper()
	needsRelease(t)
	content, err := debContent()
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// The package has what it should, where Debian has such things, and says what it is.
func TestPackage(t *testing.T) {
	content := packaged(t)
	for path, mode := range map[string]os.FileMode{
		"usr/bin/coldframe": 0o755,
		"usr/lib/systemd/system/coldframe-agent.service":     0o644,
		"usr/lib/systemd/system/coldframe-compact.service":   0o644,
		"usr/lib/systemd/system/coldframe-ingest.service":    0o644,
		"usr/lib/systemd/system/coldframe-query.service":     0o644,
		"usr/share/man/man1/coldframe.1.gz":                  0o644,
		"usr/share/bash-completion/completions/coldframe":    0o644,
		"usr/share/zsh/vendor-completions/_coldframe":        0o644,
		"usr/share/fish/vendor_completions.d/coldframe.fish": 0o644,
		"usr/share/doc/coldframe/copyright":                  0o644,
		"etc/coldframe":                                      os.ModeDir | 0o750,
		"etc/coldframe/parca.yaml":                           0o644,
		"DEBIAN/postinst":                                    0o755,
		"DEBIAN/prerm":                                       0o755,
	} {
		info, err := os.Stat(filepath.Join(content, path))
		if err != nil {
			t.Error(err)
		} else if info.Mode() != mode {
			t.Errorf("%s: mode %v, want %v", path, info.Mode(), mode)
		}
	}
	readContent := func(path string) string {
		text, err := os.ReadFile(filepath.Join(content, path))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, role := range []string{"agent", "compact", "ingest", "query"} {
		if unit := readContent("usr/lib/systemd/system/coldframe-" + role + ".service"); !strings.Contains(unit, "\nExecStart=/usr/bin/coldframe "+role+" ") {
			t.Errorf("the unit of %s does not start the package's binary", role)
		}
	}
	control := readContent("DEBIAN/control")
	for _, line := range []string{"Package: coldframe\n", "Architecture: " + goEnv(t, "GOARCH") + "\n", "Priority: optional\n"} {
		if !strings.Contains(control, line) {
			t.Errorf("control lacks %q:\n%s", line, control)
		}
	}
	if files := readContent("DEBIAN/conffiles"); files != "/etc/coldframe/parca.yaml\n" {
		t.Errorf("configuration files: %q", files)
	}
	version, err := exec.CommandContext(t.Context(), filepath.Join(content, "usr/bin/coldframe"), "--version").Output()
	if err != nil || !strings.Contains(string(version), "(commit ") || strings.Contains(string(version), "unknown") {
		t.Errorf("--version: %q, %v: want a commit and its date", version, err)
	}
}

// What the package installs runs coldframe dev with nothing else around it: in a root of its own, as nobody.
func TestPackageRunsDev(t *testing.T) {
	runsInRoot(t, packaged(t), 65534, "/usr/bin/coldframe")
}

// runsInRoot runs coldframe dev within a root file system, as a user, until it answers.
func runsInRoot(t *testing.T, dir string, user uint32, entrypoint ...string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("chroot is root's")
	}
	if err := os.MkdirAll(filepath.Join(dir, "tmp"), 0o777); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{"": 0o755, "tmp": os.ModeSticky | 0o777} {
		if err := os.Chmod(filepath.Join(dir, path), mode); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(entrypoint[0], append(entrypoint[1:], "dev", "--agent=off", "--http-address=127.0.0.1:0", "--data=/tmp/data")...) //nolint:noctx // startDev ends it
	cmd.Path, cmd.Err = entrypoint[0], nil
	cmd.Dir, cmd.Env = "/", []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: dir, Credential: &syscall.Credential{Uid: user, Gid: user}}
	address := startDev(t, cmd)
	eventually(t, "dev is ready", func() error {
		_, err := fetch(t, "http://"+address+"/-/ready")
		return err
	})
	if body, err := fetch(t, "http://"+address+"/"); err != nil || !strings.Contains(string(body), "coldframe") {
		t.Errorf("the page: %v %.200s", err, body)
	}
}
