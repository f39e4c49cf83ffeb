package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bucket.yaml")
	if err := os.WriteFile(file, []byte("type: S3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := readConfig(func(name string) string {
		return map[string]string{
			"COLDFRAME_BUCKET_CONFIG": file, "COLDFRAME_ROLES": "query, ingest", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
			"COLDFRAME_WORKERS": "0",
		}[name]
	})
	if err != nil {
		t.Fatal(err)
	}
	if string(c.Bucket) != "type: S3\n" || !c.has("ingest") || c.has("compact") || c.MemoryBytes != 1769<<20 || c.Workers != 0 || c.ShareBlocks != 64 || c.Response != "auto" {
		t.Errorf("got %+v", c)
	}
}

// All mistakes are told at once, each by the variable's name, and no token is repeated.
func TestConfigMistakes(t *testing.T) {
	wrong := map[string]string{
		"COLDFRAME_ROLES": "query,agent", "COLDFRAME_TOKENS_SHA256": "secret", "COLDFRAME_RESPONSE": "maybe", "COLDFRAME_WORKERS": "-1",
		"COLDFRAME_SHARE_BLOCKS": "many", "COLDFRAME_SHARDS": "1000", "COLDFRAME_LOG_LEVEL": "loud", "COLDFRAME_DELETE": "yes", "COLDFRAME_CACHE_BYTES": "1GB",
	}
	_, err := readConfig(func(name string) string { return wrong[name] })
	if err == nil {
		t.Fatal("no error")
	}
	for name := range wrong {
		if !strings.Contains(err.Error(), name+":") {
			t.Errorf("%s is not in %q", name, err)
		}
	}
	if !strings.Contains(err.Error(), "COLDFRAME_BUCKET_CONFIG: missing") || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %q", err)
	}
}
