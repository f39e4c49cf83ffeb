package bucket

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"syscall"
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
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return patientConn{conn}, nil
	}
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

// A patientConn leaves it to Read to say that the server has closed the connection. A
// server that refuses a write may answer and close before it was sent all of it; but
// to net/http the write that fails hides the answer that has come.
type patientConn struct{ net.Conn }

func (c patientConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return len(p), nil
	}
	return n, err
}
