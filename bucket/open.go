package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// An opener connects to a bucket whose configuration was understood.
type opener func(ctx context.Context) (Bucket, error)

// Open opens the bucket that a YAML document describes. It is Thanos's:
//
//	type: S3            # or GCS, AZURE, FILESYSTEM
//	config:             # what Thanos documents for the type; for FILESYSTEM directory: DIR
//	  bucket: profiles
//	  endpoint: s3.eu-west-1.amazonaws.com
//	prefix: coldframe   # of every key; may be missing
//
// A type or key that is not known is an error. Known keys that say how to retry and how
// to cut uploads into parts are accepted and mean nothing here. Only AZURE asks the
// server something, which is to create the container, unless storage_create_container
// is false. The document may hold secrets; errors repeat its keys, not its values.
func Open(ctx context.Context, config []byte) (Bucket, error) {
	open, err := parse(config)
	if err != nil {
		return nil, fmt.Errorf("bucket configuration: %w", err)
	}
	b, err := open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open bucket: %w", err)
	}
	return b, nil
}

func parse(config []byte) (opener, error) {
	var document struct {
		Type string `yaml:"type"`
	}
	if err := yaml.Unmarshal(config, &document); err != nil {
		return nil, withoutValues(err)
	}
	parsers := map[string]func([]byte) (opener, error){
		"S3":         parseS3,
		"GCS":        parseGCS,
		"AZURE":      parseAzure,
		"FILESYSTEM": parseFolder,
	}
	of, known := parsers[strings.ToUpper(document.Type)]
	if !known {
		return nil, fmt.Errorf("type %q is none of S3, GCS, AZURE, FILESYSTEM", document.Type)
	}
	open, err := of(config)
	if err != nil {
		return nil, fmt.Errorf("type %s: %w", document.Type, err)
	}
	return open, nil
}

// decode reads the document's config into settings, which hold the defaults, and
// accepts no key that they have not. The prefix has no '/' around it.
func decode[C any](config []byte, settings *C) (prefix string, err error) {
	document := struct {
		Type   string `yaml:"type"`
		Config *C     `yaml:"config"`
		Prefix string `yaml:"prefix"`
	}{Config: settings}
	d := yaml.NewDecoder(bytes.NewReader(config))
	d.KnownFields(true)
	if err := d.Decode(&document); err != nil {
		return "", withoutValues(err)
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return "", errors.New("more than one document")
	}
	if document.Config != settings {
		return "", errors.New("config: missing")
	}
	prefix = strings.Trim(document.Prefix, "/")
	if prefix == "" {
		return "", nil
	}
	if err := checkKey(prefix); err != nil {
		return "", fmt.Errorf("prefix: %w", err)
	}
	return prefix, nil
}

// withoutValues takes out of a YAML error the values, which may be secrets, and the
// names of Go types.
func withoutValues(err error) error {
	var mistakes *yaml.TypeError
	if !errors.As(err, &mistakes) {
		return err
	}
	var plain []string
	for _, m := range mistakes.Errors {
		m = regexp.MustCompile("(?s) `.*`").ReplaceAllString(m, "")
		m = regexp.MustCompile(`(?s)field (.*) not found in type .*`).ReplaceAllString(m, "key $1 is not known")
		m = regexp.MustCompile(`(?s) into struct .*`).ReplaceAllString(m, " into a bucket configuration")
		plain = append(plain, m)
	}
	return errors.New(strings.Join(plain, "; "))
}
