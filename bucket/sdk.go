//go:build !lambda

package bucket

import (
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/thanos-io/objstore/providers/s3"
)

// sdkCredentials looks where AWS's own SDK does, single sign-on and assumed roles included.
func sdkCredentials(region string) (*credentials.Credentials, error) {
	return s3.NewAWSSDKAuth(region), nil
}
