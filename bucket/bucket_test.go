package bucket_test

import (
	"testing"

	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/bucket/buckettest"
)

func TestMem(t *testing.T) {
	mem := bucket.Mem()
	buckettest.Suite(t, func(testing.TB) bucket.Bucket { return mem })
}

func TestFolder(t *testing.T) {
	t.Parallel()
	config := []byte("type: FILESYSTEM\nconfig: {directory: " + t.TempDir() + "}\nprefix: a/b\n")
	buckettest.Suite(t, opener(config))
}

func TestS3(t *testing.T) {
	t.Parallel()
	buckettest.Suite(t, opener(buckettest.S3(t)))
}

func TestS3TLS(t *testing.T) {
	t.Parallel()
	buckettest.Suite(t, opener(append(buckettest.S3TLS(t), "prefix: /some/prefix/\n"...)))
}

func TestGCS(t *testing.T) { buckettest.Suite(t, opener(buckettest.GCS(t))) }

func TestAzure(t *testing.T) {
	t.Parallel()
	buckettest.Suite(t, opener(buckettest.Azure(t)))
}

func opener(config []byte) func(testing.TB) bucket.Bucket {
	return func(t testing.TB) bucket.Bucket { return open(t, config) }
}

func open(t testing.TB, config []byte) bucket.Bucket {
	t.Helper()
	b, err := bucket.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
