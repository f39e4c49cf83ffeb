package push

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"connectrpc.com/connect"

	parcav1 "github.com/coldframe/coldframe/api/parca/profilestore/v1alpha1"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
	"github.com/coldframe/coldframe/upload"
)

// client is who sends a request.
type client struct {
	protocol string
	tenant   profile.Tenant
	address  string // without the port
	err      error  // why the request cannot be answered
	told     bool   // the observer knows of the request, or it is not about storing
}

type clientKey struct{}

// clientOf is who sends the request that is being answered.
func clientOf(ctx context.Context) *client {
	c, ok := ctx.Value(clientKey{}).(*client)
	if !ok {
		return new(client)
	}
	return c
}

// receive is what all protocols share: who the client is, and how much may be on its
// way at once.
func (rc *Receiver) receive(protocol string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &client{protocol: protocol, address: r.RemoteAddr}
		if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
			c.address = host
		}
		if c.told = isQuestion(r); c.told {
			c.tenant, c.err = serve.Tenant(r)
		} else {
			c.tenant, c.err = serve.WriteTenant(r)
		}
		body := &meteredBody{ReadCloser: r.Body, account: &rc.inFlight}
		defer body.release()
		r = r.WithContext(context.WithValue(r.Context(), clientKey{}, c))
		r.Body = body
		next.ServeHTTP(w, r)
	})
}

// isQuestion says whether a request asks for the clients, and stores nothing.
func isQuestion(r *http.Request) bool {
	return r.Method == http.MethodGet || strings.HasSuffix(r.URL.Path, parcav1.AgentsServiceAgentsProcedure)
}

// plainHandler answers errors in the form of this API.
func (rc *Receiver) plainHandler(serveHTTP func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := serveHTTP(w, r); err != nil {
			rc.refused(r.Context(), err)
			var told *serve.Error
			if !errors.As(err, &told) {
				err = fault(err)
			}
			serve.WriteError(w, err)
		}
	})
}

// readBody reads a request's body, out of gzip if its header says so.
func (rc *Receiver) readBody(r *http.Request) ([]byte, error) {
	var body io.Reader = r.Body
	switch encoding := strings.ToLower(r.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, fmt.Errorf("body: Content-Encoding is gzip, but %w: %w", err, profile.ErrInvalid)
		}
		body = z
	default:
		return nil, &serve.Error{
			Status: http.StatusUnsupportedMediaType, Code: "unsupported", Field: "Content-Encoding",
			Err: fmt.Errorf("%.40q: send gzip or none", encoding),
		}
	}
	data, err := io.ReadAll(http.MaxBytesReader(nil, io.NopCloser(body), int64(rc.cfg.MaxMessageBytes)))
	var busy *connect.Error
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return data, nil
	case errors.As(err, &busy):
		return nil, busy.Unwrap()
	case errors.As(err, &tooLarge):
		return nil, err
	}
	return nil, fmt.Errorf("reading the body: %w: %w", err, profile.ErrInvalid)
}

// inFlight is an account of the bytes of requests that are not answered yet.
type inFlight struct {
	limit int64

	mu    sync.Mutex
	bytes int64
}

func (f *inFlight) add(n int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n > 0 && f.bytes+n > f.limit {
		return false
	}
	f.bytes += n
	return true
}

// meteredBody counts what is read of a request until the request is answered.
type meteredBody struct {
	io.ReadCloser
	account *inFlight
	bytes   int64
}

var errBusy = fmt.Errorf("too much is being received at this moment: %w", upload.ErrUnavailable)

func (b *meteredBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if !b.account.add(int64(n)) {
		return 0, connect.NewError(connect.CodeUnavailable, errBusy) // as such it passes through Connect's readers
	}
	b.bytes += int64(n)
	return n, err
}

func (b *meteredBody) release() { b.account.add(-b.bytes) }
