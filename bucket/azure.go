//go:build !lambda

package bucket

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/thanos-io/objstore/providers/azure"
)

// azureCloud is Azure Blob Storage. Its settings are objstore's, but not its client,
// which writes without conditions and keeps to itself the one below that has them. A
// version is an ETag.
//
// Every write is a single Put Blob, so an object has at most 5000 MiB. The settings for
// retries mean nothing: what may be tried again is decided in [operation.judge].
type azureCloud struct {
	container *container.Client
}

func parseAzure(document []byte) (opener, error) {
	config := azure.DefaultConfig
	prefix, err := decode(document, &config)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (Bucket, error) { return openAzure(ctx, config, prefix) }, nil
}

func openAzure(ctx context.Context, config azure.Config, prefix string) (Bucket, error) {
	if config.ContainerName == "" {
		return nil, errors.New("container: missing")
	}
	clock := &serverClock{}
	wire, err := newWire(config.HTTPConfig, clock)
	if err != nil {
		return nil, fmt.Errorf("http_config: %w", err)
	}
	client, err := azureClient(config, &container.ClientOptions{
		ClientOptions: azcore.ClientOptions{
			Retry:     policy.RetryOptions{MaxRetries: -1},
			Transport: &http.Client{Transport: wire},
		},
	})
	if err != nil {
		return nil, err
	}
	c := &azureCloud{client}
	r := newRemote(c, "azblob", config.ContainerName, prefix, clock)
	if config.StorageCreateContainer {
		if err := c.createContainer(ctx, r); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// azureClient knows who it is by a connection string, an account's key, or a token.
func azureClient(config azure.Config, options *container.ClientOptions) (*container.Client, error) {
	key, connection := config.StorageAccountKey != "", config.StorageConnectionString != ""
	switch {
	case key && connection:
		return nil, errors.New("storage_account_key and storage_connection_string: both")
	case config.UserAssignedID != "" && (key || connection || config.ClientID != ""):
		return nil, errors.New("user_assigned_id: beside other credentials")
	case connection:
		return container.NewClientFromConnectionString(config.StorageConnectionString, config.ContainerName, options)
	case config.StorageAccountName == "":
		return nil, errors.New("storage_account: missing")
	}
	url := fmt.Sprintf("https://%s.%s/%s", config.StorageAccountName, config.Endpoint, config.ContainerName)
	if key {
		shared, err := container.NewSharedKeyCredential(config.StorageAccountName, config.StorageAccountKey)
		if err != nil {
			return nil, fmt.Errorf("storage_account_key: %w", err)
		}
		return container.NewClientWithSharedKeyCredential(url, shared, options)
	}
	token, err := azureToken(config)
	if err != nil {
		return nil, err
	}
	return container.NewClient(url, token, options)
}

func azureToken(config azure.Config) (azcore.TokenCredential, error) {
	secret := config.AzTenantID != "" && config.ClientID != "" && config.ClientSecret != ""
	switch {
	case secret:
		return azidentity.NewClientSecretCredential(config.AzTenantID, config.ClientID, config.ClientSecret, nil)
	case config.AzTenantID != "" || config.ClientID != "" || config.ClientSecret != "":
		return nil, errors.New("az_tenant_id, client_id and client_secret: not all of them")
	case config.UserAssignedID != "":
		id := azidentity.ClientID(config.UserAssignedID)
		return azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: id})
	}
	return azidentity.NewDefaultAzureCredential(nil)
}

func (c *azureCloud) createContainer(ctx context.Context, r *remote) error {
	_, err := c.container.GetProperties(ctx, nil)
	if bloberror.HasCode(err, bloberror.ContainerNotFound) {
		_, err = c.container.Create(ctx, nil)
	}
	if err == nil || bloberror.HasCode(err, bloberror.ContainerAlreadyExists) {
		return nil
	}
	err, _ = operationOf(ctx).judge(ctx, err, c.refusal(err))
	return fmt.Errorf("create container %s: %w", r.name, err)
}

func (c *azureCloud) put(ctx context.Context, key string, b *body, sum []byte, cond condition) (Version, error) {
	conditions := &blob.ModifiedAccessConditions{}
	switch {
	case cond.absent:
		absent := azcore.ETagAny
		conditions.IfNoneMatch = &absent
	case cond.match != "":
		tag := azcore.ETag(cond.match)
		conditions.IfMatch = &tag
	}
	stored, err := c.container.NewBlockBlobClient(key).Upload(ctx, streaming.NopCloser(b), &blockblob.UploadOptions{
		TransactionalValidation: blob.TransferValidationTypeMD5(sum),
		AccessConditions:        &blob.AccessConditions{ModifiedAccessConditions: conditions},
	})
	if err != nil || stored.ETag == nil {
		return "", err
	}
	return Version(*stored.ETag), nil
}

func (c *azureCloud) get(ctx context.Context, key string, s *span) (*content, error) {
	options := &blob.DownloadStreamOptions{}
	client := c.container.NewBlobClient(key)
	if s != nil && s.off < 0 {
		// Azure has no ranges from the end, so its size is asked for first.
		is, err := client.GetProperties(ctx, nil)
		if err != nil {
			return nil, err
		}
		size := valueOf(is.ContentLength)
		if size == 0 {
			return &content{body: http.NoBody}, nil
		}
		options.Range.Offset = max(0, size+s.off)
		options.AccessConditions = &blob.AccessConditions{
			ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: is.ETag},
		}
	} else if s != nil {
		options.Range = blob.HTTPRange{Offset: s.off, Count: s.n}
	}
	r, err := client.DownloadStream(ctx, options)
	if err != nil {
		return nil, err
	}
	size := valueOf(r.ContentLength)
	answer := &content{body: r.Body, size: size, total: size, version: Version(valueOf(r.ETag))}
	if r.ContentRange != nil {
		answer.off, answer.total, err = contentRange(*r.ContentRange)
	}
	if err != nil {
		r.Body.Close()
		return nil, err
	}
	return answer, nil
}

// valueOf is zero for what an answer did not say.
func valueOf[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func (c *azureCloud) stat(ctx context.Context, key string) (Object, error) {
	is, err := c.container.NewBlobClient(key).GetProperties(ctx, nil)
	return Object{Size: valueOf(is.ContentLength), Modified: valueOf(is.LastModified)}, err
}

// list begins at the beginning whatever after is: Azure's markers are no keys.
func (c *azureCloud) list(ctx context.Context, prefix, _ string, folders bool, yield func(Object) bool) error {
	if folders {
		return c.listFolders(ctx, prefix, yield)
	}
	pages := c.container.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &prefix})
	for pages.More() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		if page.Segment == nil {
			continue
		}
		for _, o := range page.Segment.BlobItems {
			is := valueOf(o.Properties)
			if !yield(Object{Key: valueOf(o.Name), Size: valueOf(is.ContentLength), Modified: valueOf(is.LastModified)}) {
				return nil
			}
		}
	}
	return nil
}

func (c *azureCloud) listFolders(ctx context.Context, prefix string, yield func(Object) bool) error {
	pages := c.container.NewListBlobsHierarchyPager("/", &container.ListBlobsHierarchyOptions{Prefix: &prefix})
	for pages.More() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		if page.Segment == nil {
			continue
		}
		for _, folder := range page.Segment.BlobPrefixes {
			if !yield(Object{Key: valueOf(folder.Name)}) {
				return nil
			}
		}
	}
	return nil
}

func (c *azureCloud) delete(ctx context.Context, key string) error {
	_, err := c.container.NewBlobClient(key).Delete(ctx, nil)
	return err
}

func (c *azureCloud) refusal(err error) refusal {
	var e *azcore.ResponseError
	if errors.As(err, &e) {
		var said struct{ Message string }
		if text, err := runtime.Payload(e.RawResponse); err == nil {
			_ = xml.Unmarshal(text, &said) // a HEAD's answer has none
		}
		return refusal{e.StatusCode, e.ErrorCode, said.Message}
	}
	var unknown *azidentity.AuthenticationFailedError
	if errors.As(err, &unknown) {
		return refusal{http.StatusUnauthorized, "AuthenticationFailed", err.Error()}
	}
	return refusal{}
}
