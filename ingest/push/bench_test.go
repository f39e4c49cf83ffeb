package push_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	parcav1 "github.com/coldframe/coldframe/api/parca/profilestore/v1alpha1"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/ingest/push"
	"github.com/coldframe/coldframe/internal/corpus"
	"github.com/coldframe/coldframe/upload"
)

// clientEnv makes the test binary a client, so that what clients cost is not counted:
// its value is the part of the corpus to push and the server's URL. At every line it reads
// it pushes that and answers with a line.
const clientEnv = "COLDFRAME_TEST_PUSH_CLIENT"

// part gives the profiles of a part of the corpus: all, or those of about 18 KB, in
// gzip, which is what the profiles of many fleets are.
func part(name string) (profiles []corpus.Profile) {
	for _, p := range corpus.FiveMinutes() {
		if name == "all" || 12_000 <= len(p.Body) && len(p.Body) < 24_000 {
			profiles = append(profiles, p)
		}
	}
	return profiles
}

func TestMain(m *testing.M) {
	if what, url, ok := strings.Cut(os.Getenv(clientEnv), " "); ok {
		if err := pushCorpus(part(what), url); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func pushCorpus(profiles []corpus.Profile, url string) error {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	c := connect.NewClient[parcav1.WriteRawRequest, parcav1.WriteRawResponse](
		&http.Client{Transport: &http.Transport{Protocols: protocols}}, url+parcav1.ProfileStoreServiceWriteRawProcedure, connect.WithGRPC())
	var requests []*parcav1.WriteRawRequest
	for _, p := range profiles {
		labels := []string{"__name__", p.Name}
		for _, l := range p.Labels {
			labels = append(labels, l.Name, l.Value)
		}
		requests = append(requests, writeRawRequest(p.Body, labels...))
	}
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); fmt.Println("pushed") {
		var all errgroup.Group
		all.SetLimit(16)
		for _, req := range requests {
			all.Go(func() error {
				_, err := c.CallUnary(context.Background(), connect.NewRequest(req))
				return err
			})
		}
		if err := all.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// From the socket to an object in a folder that is synced: the corpus comes from another
// process in gRPC requests of one profile each, 16 at a time.
func BenchmarkWriteRaw(b *testing.B) {
	for _, what := range []string{"all", "18KB"} {
		b.Run(what, func(b *testing.B) { benchmarkWriteRaw(b, what) })
	}
}

func benchmarkWriteRaw(b *testing.B, what string) {
	profiles := part(what)
	bkt, err := bucket.Open(b.Context(), fmt.Appendf(nil, "type: FILESYSTEM\nconfig:\n  directory: %s\n", filepath.Join(b.TempDir(), "bucket")))
	if err != nil {
		b.Fatal(err)
	}
	s := serveOn(b, bkt, push.Config{}, upload.Config{})
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), clientEnv+"="+what+" "+s.URL)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	answers := bufio.NewScanner(out)
	if !answers.Scan() {
		b.Fatal("the client did not begin")
	}
	b.SetBytes(corpus.Bytes(profiles))
	b.ReportAllocs()
	report := corpus.ReportCPU(b, len(profiles))
	for b.Loop() {
		if _, err := io.WriteString(in, "go\n"); err != nil {
			b.Fatal(err)
		}
		if !answers.Scan() {
			b.Fatal("the client ended")
		}
	}
	report()
	b.ReportMetric(float64(corpus.Bytes(profiles))/1e3/float64(len(profiles)), "KB/profile")
	in.Close()
	if err := cmd.Wait(); err != nil {
		b.Fatal(err)
	}
}
