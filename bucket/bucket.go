// Package bucket is object storage: S3, GCS, Azure, a local folder or memory,
// behind one door.
//
// Settings are those of thanos-io/objstore. To it this package adds what the rest of
// coldframe stands on: creating an object only if it is absent, replacing one only if
// it is still the version that was read, the server's clock, and an account of
// requests and bytes.
//
// Nothing else imports objstore or a cloud's SDK.
package bucket

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// What a caller may branch on. Anything else is a failure of which nothing is known.
var (
	ErrNotExist = errors.New("object does not exist")
	ErrExist    = errors.New("object exists already")
	ErrConflict = errors.New("object has changed since it was read")
	ErrDenied   = errors.New("access denied")
)

// Version names one content of one object: an ETag or a generation. Two contents of an
// object never share one, but where versions are made from the content, as in S3, to
// write the same again gives the same version again. The zero Version says that there
// is no object.
type Version string

// Object is what a listing tells.
type Object struct {
	Key      string
	Size     int64
	Modified time.Time
}

// Bucket is a set of objects by key. Keys use '/' and never begin or end with it.
//
// Every method may be called concurrently. Reads see every write that returned
// before they began, listings too. Errors wrap one of the sentinels above or say
// what was asked of which key.
type Bucket interface {
	// Create stores size bytes of r under key, or fails with ErrExist and leaves
	// the object alone. After any other error the object may or may not exist, and
	// if it exists it is whole. An io.Seeker may be read twice.
	Create(ctx context.Context, key string, r io.Reader, size int64) error

	// Replace stores data under key if the object is still at version old (the zero
	// Version: if there is none), and returns the new version. ErrConflict says that
	// it was not, and that nothing was written; after any other error it may have been.
	// In a bucket without conditional writes ([CASNone]) it writes regardless.
	Replace(ctx context.Context, key string, data []byte, old Version) (Version, error)

	// Put stores data under key whatever was there.
	Put(ctx context.Context, key string, data []byte) error

	// Get returns a whole object and its version, from one request.
	Get(ctx context.Context, key string) ([]byte, Version, error)

	// GetRange returns n bytes from offset off, exactly that many or an error. A
	// negative off counts from the end: (-n, n) is the tail, and an object shorter
	// than n is returned whole.
	GetRange(ctx context.Context, key string, off, n int64) ([]byte, error)

	// Stat returns an object's size and time.
	Stat(ctx context.Context, key string) (Object, error)

	// List yields the objects whose keys begin with prefix, in the order of their
	// keys, as of some time during the walk. An error ends the walk.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]

	// ListFolders yields the distinct next path elements below prefix, which ends in
	// '/' or is empty, each without slashes: what a listing with delimiter '/' gives.
	ListFolders(ctx context.Context, prefix string) iter.Seq2[string, error]

	// Delete removes an object. Removing what is not there succeeds.
	Delete(ctx context.Context, key string) error

	// Now is the server's clock, learned from the answers to earlier requests. Before
	// there were any it makes one; an answer that refuses access tells the time too.
	Now(ctx context.Context) (time.Time, error)

	// CAS says how Create and Replace are enforced. Known after [Probe].
	CAS() CAS

	// Name is for people: "s3://bucket/prefix", "file:///var/lib/coldframe".
	Name() string
}

// CAS says whether a bucket enforces conditional writes.
type CAS int

const (
	// CASEnforced buckets refuse a write whose condition fails.
	CASEnforced CAS = iota
	// CASNone buckets have no conditional writes: Create and Replace overwrite. One compactor
	// a shard must be seen to by whoever deploys, and nothing may be deleted actively.
	CASNone
)
