package bucket

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"
	"github.com/minio/minio-go/v7/pkg/lifecycle"
	"github.com/minio/minio-go/v7/pkg/s3utils"
	"github.com/thanos-io/objstore/providers/s3"
)

// s3Cloud is S3, or what speaks as S3 does. Its settings are objstore's, but not its
// client: objstore's lists without sizes, and from whole folders only.
//
// Every write is a single PUT, because a multipart upload drops its condition with some
// servers. So an object has at most 5 GiB, and part_size and disable_multipart mean
// nothing. Nor does max_retries: what may be tried again is decided in [operation.judge].
type s3Cloud struct {
	client *minio.Core
	config s3.Config
	sse    encrypt.ServerSide
	tier   string      // storage class
	opaque atomic.Bool // ETags are not all MD5s
}

func parseS3(document []byte) (opener, error) {
	config := s3.DefaultConfig
	config.PutUserMetadata = map[string]string{} // the default's is everybody's
	prefix, err := decode(document, &config)
	if err != nil {
		return nil, err
	}
	return func(context.Context) (Bucket, error) { return openS3(config, prefix) }, nil
}

func openS3(config s3.Config, prefix string) (Bucket, error) {
	switch {
	case config.Bucket == "":
		return nil, errors.New("bucket: missing")
	case config.Endpoint == "":
		return nil, errors.New("endpoint: missing")
	case config.TraceConfig.Enable:
		return nil, errors.New("trace: not supported")
	case config.ListObjectsVersion != "" && config.ListObjectsVersion != "v1" && config.ListObjectsVersion != "v2":
		return nil, fmt.Errorf("list_objects_version: %q is neither v1 nor v2", config.ListObjectsVersion)
	}
	if err := s3utils.CheckValidBucketName(config.Bucket); err != nil {
		return nil, fmt.Errorf("bucket: %w", err)
	}
	creds, err := s3Credentials(config)
	if err != nil {
		return nil, err
	}
	sse, err := s3Encryption(config.SSEConfig)
	if err != nil {
		return nil, fmt.Errorf("sse_config: %w", err)
	}
	clock := &serverClock{}
	wire, err := newWire(config.HTTPConfig, clock)
	if err != nil {
		return nil, fmt.Errorf("http_config: %w", err)
	}
	client, err := minio.NewCore(config.Endpoint, &minio.Options{
		Creds:        creds,
		Secure:       !config.Insecure,
		Transport:    wire,
		Region:       config.Region,
		BucketLookup: config.BucketLookupType.MinioType(),
		MaxRetries:   1,
	})
	if err != nil {
		return nil, err
	}
	client.SetS3EnableDualstack(!config.DisableDualstack)

	c := &s3Cloud{client: client, config: config, sse: sse}
	for name, value := range config.PutUserMetadata {
		if strings.EqualFold(name, "X-Amz-Storage-Class") {
			delete(config.PutUserMetadata, name)
			c.tier = value
		}
	}
	return newRemote(c, "s3", config.Bucket, prefix, clock), nil
}

// s3Credentials looks where objstore does: in the configuration or, without a key in
// it, in the environment, the AWS files, and the instance's metadata.
func s3Credentials(config s3.Config) (*credentials.Credentials, error) {
	static := config.AccessKey != "" || config.SecretKey != ""
	switch {
	case static && (config.AccessKey == "" || config.SecretKey == ""):
		return nil, errors.New("access_key and secret_key: one without the other")
	case static && config.AWSSDKAuth:
		return nil, errors.New("aws_sdk_auth and access_key: both")
	case !static && config.SignatureV2:
		return nil, errors.New("signature_version2: only with access_key and secret_key")
	case static && config.SignatureV2:
		return credentials.NewStaticV2(config.AccessKey, config.SecretKey, config.SessionToken), nil
	case static:
		return credentials.NewStaticV4(config.AccessKey, config.SecretKey, config.SessionToken), nil
	case config.AWSSDKAuth:
		return sdkCredentials(config.Region)
	}
	return credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{},
		&credentials.FileAWSCredentials{},
		&credentials.IAM{
			Client:   &http.Client{Transport: http.DefaultTransport},
			Endpoint: config.STSEndpoint,
		},
	}), nil
}

func s3Encryption(config s3.SSEConfig) (encrypt.ServerSide, error) {
	switch config.Type {
	case "":
		return nil, nil
	case s3.SSES3:
		return encrypt.NewSSE(), nil
	case s3.SSEKMS:
		if config.KMSKeyID == "" {
			return nil, errors.New("kms_key_id: missing")
		}
		if config.KMSEncryptionContext == nil {
			config.KMSEncryptionContext = map[string]string{} // nil would be sent as "null"
		}
		return encrypt.NewSSEKMS(config.KMSKeyID, config.KMSEncryptionContext)
	case s3.SSEC:
		key, err := os.ReadFile(config.EncryptionKey)
		if err != nil {
			return nil, fmt.Errorf("encryption_key: %w", err)
		}
		return encrypt.NewSSEC(key)
	}
	return nil, fmt.Errorf("type: %q is none of %s, %s, %s", config.Type, s3.SSES3, s3.SSEKMS, s3.SSEC)
}

func (c *s3Cloud) put(ctx context.Context, key string, b *body, sum []byte, cond condition) (Version, error) {
	options := minio.PutObjectOptions{
		ServerSideEncryption: c.sse,
		UserMetadata:         maps.Clone(c.config.PutUserMetadata),
		StorageClass:         c.tier,
	}
	switch {
	case cond.absent:
		options.SetMatchETagExcept("*")
	case cond.match != "":
		options.SetMatchETag(string(cond.match))
	}
	contentMD5 := ""
	if c.config.SendContentMd5 {
		contentMD5 = base64.StdEncoding.EncodeToString(sum)
	}
	stored, err := c.client.PutObject(ctx, c.config.Bucket, key, b, b.size, contentMD5, "", options)
	return Version(stored.ETag), err
}

func (c *s3Cloud) get(ctx context.Context, key string, s *span) (*content, error) {
	options := minio.GetObjectOptions{ServerSideEncryption: c.sse}
	if s != nil {
		options.Set("Range", s.header())
	}
	body, o, header, err := c.client.GetObject(ctx, c.config.Bucket, key, options)
	if err != nil {
		return nil, err
	}
	answer := &content{body: body, size: o.Size, total: o.Size, version: Version(o.ETag)}
	if part := header.Get("Content-Range"); part != "" {
		answer.off, answer.total, err = contentRange(part)
	}
	if err != nil {
		body.Close()
		return nil, err
	}
	if tag, err := hex.DecodeString(o.ETag); s == nil && err == nil && len(tag) == md5.Size && !c.opaque.Load() {
		answer.body = &taggedBody{ReadCloser: body, cloud: c, o: operationOf(ctx), tag: tag, sum: md5.New()}
	}
	return answer, nil
}

// A taggedBody compares a whole object with its ETag when it has been read. There are
// servers (versitygw, for one, over a file system) whose answer may carry the ETag of one
// version and the content of another, on which a Replace would then wrongly build.
//
// But an ETag is an MD5 only if the server wants it so. If a second attempt has the
// same content and the same ETag, they belong together, and ETags are left alone from
// then on.
type taggedBody struct {
	io.ReadCloser
	cloud *s3Cloud
	o     *operation
	tag   []byte
	sum   hash.Hash
	err   error // at the end: io.EOF, or the difference
}

func (t *taggedBody) Read(p []byte) (int, error) {
	if t.err != nil {
		return 0, t.err
	}
	n, err := t.ReadCloser.Read(p)
	t.sum.Write(p[:n])
	if errors.Is(err, io.EOF) {
		t.err = t.compare()
		err = t.err
	}
	return n, err
}

func (t *taggedBody) compare() error {
	sum := t.sum.Sum(nil)
	if bytes.Equal(sum, t.tag) {
		return io.EOF
	}
	differs := fmt.Sprintf("content with MD5 %x under ETag %x", sum, t.tag)
	if t.o.differs == differs {
		t.cloud.opaque.Store(true)
		return io.EOF
	}
	t.o.differs = differs
	return errors.New(differs)
}

func (c *s3Cloud) stat(ctx context.Context, key string) (Object, error) {
	o, err := c.client.StatObject(ctx, c.config.Bucket, key, minio.StatObjectOptions{ServerSideEncryption: c.sse})
	return Object{Size: o.Size, Modified: o.LastModified}, err
}

func (c *s3Cloud) list(ctx context.Context, prefix, after string, folders bool, yield func(Object) bool) error {
	options := minio.ListObjectsOptions{
		Prefix:    prefix,
		Recursive: !folders,
		UseV1:     c.config.ListObjectsVersion == "v1",
	}
	if !folders {
		options.StartAfter = after
	}
	for o := range c.client.ListObjectsIter(ctx, c.config.Bucket, options) {
		if o.Err != nil {
			return o.Err
		}
		if folders && !strings.HasSuffix(o.Key, "/") {
			continue
		}
		if !yield(Object{Key: o.Key, Size: o.Size, Modified: o.LastModified}) {
			return nil
		}
	}
	return ctx.Err() // with which the iterator ends in silence
}

func (c *s3Cloud) delete(ctx context.Context, key string) error {
	return c.client.RemoveObject(ctx, c.config.Bucket, key, minio.RemoveObjectOptions{})
}

func (c *s3Cloud) refusal(err error) refusal {
	var e minio.ErrorResponse
	if !errors.As(err, &e) {
		return refusal{}
	}
	return refusal{e.StatusCode, e.Code, e.Message}
}

// setLifecycle implements [lifecycled]. The rules of a bucket are one document.
func (c *s3Cloud) setLifecycle(ctx context.Context, l Lifecycle, root string) error {
	all, err := c.client.GetBucketLifecycle(ctx, c.config.Bucket)
	if minio.ToErrorResponse(err).Code == "NoSuchLifecycleConfiguration" {
		all, err = lifecycle.NewConfiguration(), nil
	}
	if err != nil {
		return err
	}
	all.Rules = slices.DeleteFunc(all.Rules, func(r lifecycle.Rule) bool {
		return r.ID == abortID || strings.HasPrefix(r.ID, ourRules) && strings.HasPrefix(r.RuleFilter.Prefix, root)
	})
	all.Rules = append(all.Rules, l.s3().Rules...)
	return c.client.SetBucketLifecycle(ctx, c.config.Bucket, all)
}
