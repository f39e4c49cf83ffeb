package bucket

import (
	"io"
	"net/http"
	"net/http/httptrace"
	"time"

	"github.com/thanos-io/objstore/exthttp"
)

// A wire is the transport under a cloud's client. It charges every request that leaves
// to the context's accounts, and has the clock see every answer.
type wire struct {
	next  http.RoundTripper
	clock *serverClock
}

func newWire(config exthttp.HTTPConfig, clock *serverClock) (*wire, error) {
	transport, err := exthttp.DefaultTransport(config)
	if err != nil {
		return nil, err
	}
	transport.DisableCompression = true // objects are bytes, whatever they look like
	return &wire{transport, clock}, nil
}

// RoundTrip implements [http.RoundTripper].
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	o := operationOf(ctx)
	c := o.classOf(r)
	o.ledger.request(c)
	if !c.reads() {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { o.sent.Store(true) }})
	}
	r = r.WithContext(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &metered{r.Body, o.ledger.sent}
	}
	sent := time.Now()
	answer, err := w.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	w.clock.learn(answer.Header, sent, time.Now())
	answer.Body = &metered{answer.Body, o.ledger.received}
	return answer, nil
}

// metered counts the bytes of a body as they pass.
type metered struct {
	io.ReadCloser
	count func(int64)
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	m.count(int64(n))
	return n, err
}
