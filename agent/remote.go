package agent

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	profilestore "github.com/coldframe/coldframe/api/parca/profilestore/v1alpha1"
	"github.com/coldframe/coldframe/profile"
)

// RemoteConfig says which server takes profiles. Zero fields mean the defaults named here.
type RemoteConfig struct {
	Address   string      // host:port, or a URL; required
	Plaintext bool        // HTTP/2 without TLS, for a host:port
	TLS       *tls.Config // nil: the system's certificates
	TokenFile string      // a bearer token, read again for each request
	Header    http.Header // sent with each request

	QueueBytes int64         // how many bytes of profiles may wait; 64 MiB
	KeepFor    time.Duration // how long one may wait; 30 min
	Timeout    time.Duration // how long one request may take; 1 min

	Observer RemoteObserver
}

// RemoteObserver is told of what happens. Its funcs may be nil and should return at once.
type RemoteObserver struct {
	Sent   func(profiles int, bytes int64)
	Failed func(err error) // a request; it is repeated
	Lost   func(profiles int, err error)
}

// Remote is a [Sink] that sends profiles to a server, coldframe's or Parca's, by Parca's
// ProfileStoreService/WriteRaw over gRPC. They wait in memory while the server is away.
// It is at work from [NewRemote] to [Remote.Close].
type Remote struct {
	config RemoteConfig
	client profilestore.ProfileStoreServiceClient
	wake   chan struct{} // of one place: something waits
	done   chan struct{}
	stop   context.CancelFunc

	mu      sync.Mutex
	waiting []Profile
	bytes   int64
	closed  bool
}

const (
	maxBatch  = 4 << 20 // bytes of profiles in one request; servers commonly take 32 MiB
	leastWait = 500 * time.Millisecond
	mostWait  = 30 * time.Second
)

// NewRemote does no I/O; a server that is away is found out by the first profile.
func NewRemote(config RemoteConfig) (*Remote, error) {
	base, err := remoteURL(config)
	if err != nil {
		return nil, fmt.Errorf("remote store %q: %w: %w", config.Address, err, profile.ErrInvalid)
	}
	config.QueueBytes = cmp.Or(config.QueueBytes, 64<<20)
	config.KeepFor = cmp.Or(config.KeepFor, 30*time.Minute)
	config.Timeout = cmp.Or(config.Timeout, time.Minute)
	transport := &http.Transport{TLSClientConfig: config.TLS, Proxy: http.ProxyFromEnvironment, IdleConnTimeout: 2 * time.Minute, Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP2(true)
	transport.Protocols.SetUnencryptedHTTP2(base.Scheme == "http")
	ctx, stop := context.WithCancel(context.Background())
	r := &Remote{config: config, wake: make(chan struct{}, 1), done: make(chan struct{}), stop: stop}
	r.client = profilestore.NewProfileStoreServiceClient(&http.Client{Transport: transport}, base.String(), connect.WithGRPC())
	go r.run(ctx)
	return r, nil
}

func remoteURL(config RemoteConfig) (*url.URL, error) {
	address := config.Address
	if !strings.Contains(address, "://") {
		scheme := "https://"
		if config.Plaintext {
			scheme = "http://"
		}
		address = scheme + address
	}
	u, err := url.Parse(strings.TrimRight(address, "/"))
	switch {
	case err != nil:
		return nil, err
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("want host:port, or a URL of http or https")
	case u.Hostname() == "":
		return nil, errors.New("there is no host in it")
	}
	return u, nil
}

// Write implements [Sink]. It never waits: when there is no room for p, p is lost.
func (r *Remote) Write(_ context.Context, p Profile) error {
	size := int64(len(p.Pprof))
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return errors.New("the remote store's queue is closed")
	case r.bytes+size > r.config.QueueBytes:
		return fmt.Errorf("the remote store is away, and its queue of %d bytes is full", r.config.QueueBytes)
	}
	r.waiting, r.bytes = append(r.waiting, p), r.bytes+size
	r.poke()
	return nil
}

func (r *Remote) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Close sends what waits, until ctx is done. The error says what was lost.
func (r *Remote) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.poke()
	defer r.stop()
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		r.mu.Lock()
		defer r.mu.Unlock()
		err := fmt.Errorf("stopped before the remote store took them: %w", ctx.Err())
		r.lost(len(r.waiting), err)
		return fmt.Errorf("%d profiles lost: %w", len(r.waiting), err)
	}
}

// run sends the oldest first, until closed and empty.
func (r *Remote) run(ctx context.Context) {
	defer close(r.done)
	wait := leastWait
	for {
		batch, closed := r.oldest()
		if len(batch) == 0 {
			if closed {
				return
			}
			select {
			case <-r.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		err := r.send(ctx, batch)
		if err == nil {
			wait = leastWait
			r.took(batch)
			continue
		}
		if ctx.Err() != nil {
			return
		}
		if refused(err) {
			r.sendEach(ctx, batch)
			continue
		}
		if r.config.Observer.Failed != nil {
			r.config.Observer.Failed(err)
		}
		r.expire(err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		wait = min(2*wait, mostWait)
	}
}

// oldest is what the next request takes.
func (r *Remote) oldest() (batch []Profile, closed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	size := 0
	for _, p := range r.waiting {
		if size += len(p.Pprof); size > maxBatch && len(batch) > 0 {
			break
		}
		batch = append(batch, p)
	}
	return batch, r.closed
}

// drop forgets the n oldest.
func (r *Remote) drop(n int) (bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.waiting[:n] {
		bytes += int64(len(p.Pprof))
	}
	clear(r.waiting[:n])
	r.waiting, r.bytes = r.waiting[n:], r.bytes-bytes
	return bytes
}

func (r *Remote) took(batch []Profile) {
	bytes := r.drop(len(batch))
	if r.config.Observer.Sent != nil {
		r.config.Observer.Sent(len(batch), bytes)
	}
}

func (r *Remote) lost(profiles int, err error) {
	if profiles > 0 && r.config.Observer.Lost != nil {
		r.config.Observer.Lost(profiles, err)
	}
}

// expire forgets what has waited for too long.
func (r *Remote) expire(err error) {
	old := time.Now().Add(-r.config.KeepFor)
	r.mu.Lock()
	n := 0
	for n < len(r.waiting) && r.waiting[n].Range.To.Before(old) {
		n++
	}
	r.mu.Unlock()
	if n > 0 {
		r.drop(n)
		r.lost(n, fmt.Errorf("the remote store was away for %s: %w", r.config.KeepFor, err))
	}
}

// sendEach sends the profiles of a batch that was refused one by one: one that is at fault
// must not cost the others.
func (r *Remote) sendEach(ctx context.Context, batch []Profile) {
	for _, p := range batch {
		err := r.send(ctx, []Profile{p})
		switch {
		case err == nil:
			r.took([]Profile{p})
		case refused(err):
			r.drop(1)
			r.lost(1, fmt.Errorf("profile of %s: %w", p.Labels, err))
		default:
			return // it goes on as a batch
		}
	}
}

// refused says whether a server will never take what it did not take now. What an operator
// may put right, as a token, is not refused.
func refused(err error) bool {
	switch connect.CodeOf(err) {
	case connect.CodeInvalidArgument, connect.CodeOutOfRange, connect.CodeFailedPrecondition, connect.CodeAlreadyExists, connect.CodeDataLoss:
		return true
	}
	return false
}

func (r *Remote) send(ctx context.Context, batch []Profile) error {
	ctx, cancel := context.WithTimeout(ctx, r.config.Timeout)
	defer cancel()
	ctx, call := connect.NewClientContext(ctx)
	for name, values := range r.config.Header {
		call.RequestHeader()[name] = values
	}
	if r.config.TokenFile != "" {
		token, err := os.ReadFile(r.config.TokenFile)
		if err != nil {
			return fmt.Errorf("the remote store's token: %w", err)
		}
		call.RequestHeader().Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	req := &profilestore.WriteRawRequest{Normalized: true, Series: make([]*profilestore.RawProfileSeries, len(batch))}
	for i, p := range batch {
		ls := []*profilestore.Label{{Name: "__name__", Value: p.Name}}
		for _, l := range p.Labels {
			ls = append(ls, &profilestore.Label{Name: l.Name, Value: l.Value})
		}
		req.Series[i] = &profilestore.RawProfileSeries{
			Labels:  &profilestore.LabelSet{Labels: ls},
			Samples: []*profilestore.RawSample{{RawProfile: p.Pprof}},
		}
	}
	_, err := r.client.WriteRaw(ctx, req)
	return err
}
