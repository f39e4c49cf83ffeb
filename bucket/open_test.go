package bucket

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name   string
		config string
		want   string // in the error; empty accepts
	}{
		{"S3", "type: S3\nconfig: {bucket: b, endpoint: e}", ""},
		{"lower case", "type: s3\nconfig: {bucket: b, endpoint: e}\nprefix: /a/b/", ""},
		{"S3 in full", `
type: S3
config:
  bucket: b
  endpoint: e
  region: r
  aws_sdk_auth: true
  insecure: false
  bucket_lookup_type: virtual-hosted
  put_user_metadata: {X-Amz-Acl: bucket-owner-full-control, X-Amz-Storage-Class: STANDARD_IA}
  http_config: {idle_conn_timeout: 1m30s, tls_config: {ca_file: /ca.pem}}
  trace: {enable: false}
  list_objects_version: v2
  send_content_md5: true
  disable_multipart: true
  part_size: 67108864
  sse_config: {type: SSE-KMS, kms_key_id: k, kms_encryption_context: {a: b}}
  sts_endpoint: s
  max_retries: 3
`, ""},
		{"GCS", "type: GCS\nconfig: {bucket: b, service_account: '{}'}", ""},
		{"AZURE", "type: AZURE\nconfig: {container: c, storage_account: a, pipeline_config: {max_tries: 3, try_timeout: 1s}}", ""},
		{"FILESYSTEM", "type: FILESYSTEM\nconfig: {directory: /d}", ""},

		{"nothing", "", `type "" is none of S3, GCS, AZURE, FILESYSTEM`},
		{"unknown type", "type: SWIFT", `type "SWIFT" is none of`},
		{"unknown key", "type: S3\nconfig:\n  bucket: b\n  buckt: b\n", "line 4: key buckt is not known"},
		{"unknown key inside", "type: GCS\nconfig: {http_config: {timeout: 1s}}", "key timeout is not known"},
		{"unknown key outside", "type: S3\nconfig: {bucket: b}\nprefx: p", "line 3: key prefx is not known"},
		{"key of another type", "type: AZURE\nconfig: {bucket: b}", "key bucket is not known"},
		{"key twice", "type: S3\nconfig: {bucket: b, bucket: c}", "already defined"},
		{"no config", "type: S3\nconfig:", "config: missing"},
		{"no directory", "type: FILESYSTEM\nconfig: {}", "directory: missing"},
		{"two documents", "type: S3\nconfig: {bucket: b}\n---\ntype: GCS", "more than one document"},
		{"escaping prefix", "type: S3\nconfig: {bucket: b}\nprefix: a/../../b", `prefix: key "a/../../b"`},
		{"no YAML", "type: [", "yaml"},
		{"no mapping", "hidden", "line 1: cannot unmarshal !!str into a bucket configuration"},
		{"secret of the wrong type", "type: S3\nconfig: {insecure: hidden}", "cannot unmarshal !!str into bool"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parse([]byte(tt.config))
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want %q in it", err, tt.want)
			case err != nil && strings.Contains(err.Error(), "hidden"):
				t.Errorf("tells a value: %v", err)
			}
		})
	}
}

// Settings that contradict each other or are not to be had are refused when the
// bucket is opened, before anything is sent.
func TestOpenRefuses(t *testing.T) {
	tests := []struct{ config, want string }{
		{"type: S3\nconfig: {bucket: B, endpoint: e}", "bucket: "},
		{"type: S3\nconfig: {endpoint: e}", "bucket: missing"},
		{"type: S3\nconfig: {bucket: b}", "endpoint: missing"},
		{"type: S3\nconfig: {bucket: profiles, endpoint: e, access_key: a}", "one without the other"},
		{"type: S3\nconfig: {bucket: profiles, endpoint: e, access_key: a, secret_key: s, aws_sdk_auth: true}", "aws_sdk_auth and access_key"},
		{"type: S3\nconfig: {bucket: profiles, endpoint: e, signature_version2: true}", "signature_version2"},
		{"type: S3\nconfig: {bucket: profiles, endpoint: e, trace: {enable: true}}", "trace: not supported"},
		{"type: S3\nconfig: {bucket: profiles, endpoint: e, list_objects_version: v3}", "neither v1 nor v2"},
		{"type: S3\nconfig: {bucket: profiles, endpoint: e, sse_config: {type: SSE-X}}", "sse_config: type"},
		{"type: S3\nconfig: {bucket: profiles, endpoint: e, sse_config: {type: SSE-KMS}}", "kms_key_id: missing"},
		{"type: S3\nconfig: {bucket: profiles, endpoint: e, sse_config: {type: SSE-C, encryption_key: /no/such/file}}", "encryption_key"},
		{"type: S3\nconfig: {bucket: profiles, endpoint: e, http_config: {tls_config: {ca_file: /no/such/file}}}", "http_config"},
		{"type: GCS\nconfig: {}", "bucket: missing"},
		{"type: GCS\nconfig: {bucket: b, use_grpc: true}", "use_grpc: not supported"},
		{"type: AZURE\nconfig: {}", "container: missing"},
		{"type: AZURE\nconfig: {container: c}", "storage_account: missing"},
		{"type: AZURE\nconfig: {container: c, storage_account_key: k, storage_connection_string: s}", "both"},
		{"type: AZURE\nconfig: {container: c, storage_account: a, client_id: c}", "not all of them"},
		{"type: AZURE\nconfig: {container: c, storage_account: a, storage_account_key: k, user_assigned_id: u}", "user_assigned_id"},
	}
	for _, tt := range tests {
		if _, err := Open(t.Context(), []byte(tt.config)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s:\ngot %v, want %q in it", tt.config, err, tt.want)
		}
	}
}

// No configuration makes the parser panic or fall silent about its type.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"type: S3\nconfig: {bucket: profiles, endpoint: e, access_key: a, secret_key: s, http_config: {idle_conn_timeout: 90s}}\nprefix: p",
		"type: GCS\nconfig:\n  bucket: b\n  service_account: |\n    {}\n",
		"type: AZURE\nconfig: {container: c, pipeline_config: {max_tries: 3}}",
		"type: FILESYSTEM\nconfig: {directory: d}\nprefix: a/b",
		"type: S3\nconfig: {bucket_lookup_type: path, put_user_metadata: {a: b}}",
		"a: &a [*a]", "type: {", "%YAML 1.1\n---\n", "type: S3\nconfig: &c {bucket: b}\n---\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, config []byte) {
		open, err := parse(config)
		if (open == nil) == (err == nil) {
			t.Errorf("opener is nil: %v; error %v", open == nil, err)
		}
		if err == nil && !strings.Contains(strings.ToLower(string(config)), "type") {
			t.Errorf("accepts %q", config)
		}
	})
}
