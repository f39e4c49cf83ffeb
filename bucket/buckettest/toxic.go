package buckettest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"testing"
	"time"
)

// Network is a bad network between a bucket's client and its server: toxiproxy.
type Network struct {
	t   testing.TB
	api string // of toxiproxy
}

// Toxic puts a network before the S3 server that a configuration names, and returns the
// configuration that leads through it. The network is good until [Network.Trouble].
func Toxic(t testing.TB, config []byte) (through []byte, n *Network) {
	binary := find(t, "toxiproxy-server")
	address := start(t, "http", "/version", func(ctx context.Context, address string) *exec.Cmd {
		host, port, _ := net.SplitHostPort(address)
		return exec.CommandContext(ctx, binary, "-host", host, "-port", port)
	})
	n = &Network{t: t, api: "http://" + address}
	upstream := regexp.MustCompile(`endpoint: (\S+)`).FindSubmatch(config)[1]
	var proxy struct{ Listen string }
	if err := n.call(http.MethodPost, "/proxies", map[string]any{"name": "s3", "listen": "127.0.0.1:0", "upstream": string(upstream), "enabled": true}, &proxy); err != nil {
		t.Fatal(err)
	}
	return bytes.ReplaceAll(config, upstream, []byte(proxy.Listen)), n
}

// Trouble makes the network bad in changing ways, with good moments between, until ctx ends;
// then it is good again.
func (n *Network) Trouble(ctx context.Context, rng *rand.Rand) {
	toxics := []struct {
		kind       string
		attributes map[string]any
	}{
		{"latency", map[string]any{"latency": 150, "jitter": 150}},
		{"reset_peer", map[string]any{"timeout": 20}},
		{"timeout", map[string]any{"timeout": 300}},
		{"limit_data", map[string]any{"bytes": 3000}},
		{"slow_close", map[string]any{"delay": 200}},
	}
	pause := func() {
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(200+rng.IntN(1300)) * time.Millisecond):
		}
	}
	for ctx.Err() == nil {
		toxic := toxics[rng.IntN(len(toxics))]
		stream := []string{"upstream", "downstream"}[rng.IntN(2)]
		if err := n.call(http.MethodPost, "/proxies/s3/toxics", map[string]any{
			"name": "toxic", "type": toxic.kind, "stream": stream, "toxicity": 0.4, "attributes": toxic.attributes,
		}, nil); err != nil {
			n.t.Errorf("%s: %v", toxic.kind, err)
			return
		}
		pause()
		if err := n.call(http.MethodDelete, "/proxies/s3/toxics/toxic", nil, nil); err != nil {
			n.t.Error(err)
			return
		}
		pause()
	}
}

// Away cuts the network off, or brings it back: while it is away every connection is refused.
func (n *Network) Away(away bool) {
	n.t.Helper()
	if err := n.call(http.MethodPost, "/proxies/s3", map[string]any{"enabled": !away}, nil); err != nil {
		n.t.Fatal(err)
	}
}

// Mute lets requests through and no answer back, or ends that.
func (n *Network) Mute(mute bool) {
	n.t.Helper()
	method, path, body := http.MethodDelete, "/proxies/s3/toxics/mute", any(nil)
	if mute {
		method, path = http.MethodPost, "/proxies/s3/toxics"
		body = map[string]any{"name": "mute", "type": "timeout", "stream": "downstream", "toxicity": 1, "attributes": map[string]any{"timeout": 0}}
	}
	if err := n.call(method, path, body, nil); err != nil {
		n.t.Fatal(err)
	}
}

// call asks toxiproxy.
func (n *Network) call(method, path string, body, answer any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, n.api+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if data, err = io.ReadAll(resp.Body); err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, data)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(data, answer)
}
