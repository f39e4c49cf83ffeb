package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
)

// config is what a function is told by its environment.
type config struct {
	// Bucket is YAML, as --bucket-config of coldframe has it, or the file that holds it.
	Bucket []byte // COLDFRAME_BUCKET_CONFIG

	// Roles are what the function does, of query, compact and ingest, separated by commas.
	Roles []string // COLDFRAME_ROLES; query,compact

	// Tokens are hex SHA-256 sums, separated by commas, of the tokens of which a request to
	// the URL must bear one. Without any, who may call is for IAM to decide.
	Tokens [][sha256.Size]byte // COLDFRAME_TOKENS_SHA256

	// Response says how answers leave: stream, as a function URL in the mode RESPONSE_STREAM
	// wants it; buffer, as API Gateway does; auto looks at the request's host.
	Response string // COLDFRAME_RESPONSE; auto

	// Workers is how many invocations may help with one query; 0 for none.
	Workers int // COLDFRAME_WORKERS; 10
	// A query of more blocks or bytes than these is shared among them.
	ShareBlocks int   // COLDFRAME_SHARE_BLOCKS; 64
	ShareBytes  int64 // COLDFRAME_SHARE_BYTES; 67108864

	// Shards is how many shards a tenant's pushes are spread over.
	Shards int // COLDFRAME_SHARDS; 1

	// Delete has compaction delete what it has merged an hour later, instead of leaving it to the
	// bucket's rules for a week: on says so.
	Delete bool // COLDFRAME_DELETE; off

	// CacheBytes is how much of /tmp what queries have read may take, beside what is kept of
	// it in memory; 0: none of it.
	CacheBytes int64 // COLDFRAME_CACHE_BYTES; 268435456

	LogLevel slog.Level // COLDFRAME_LOG_LEVEL; info

	// What Lambda sets.
	MemoryBytes int64  // AWS_LAMBDA_FUNCTION_MEMORY_SIZE, in MiB there
	Function    string // AWS_LAMBDA_FUNCTION_NAME
	Qualifier   string // AWS_LAMBDA_FUNCTION_VERSION
	Region      string // AWS_REGION
	Endpoint    string // AWS_ENDPOINT_URL_LAMBDA: of the API that invokes; by region when empty
	Daemon      string // AWS_XRAY_DAEMON_ADDRESS: who takes traces; nobody when empty
}

var allRoles = []string{"query", "compact", "ingest"}

func (c config) has(role string) bool { return slices.Contains(c.Roles, role) }

// readConfig reads the environment. All that is wrong is in the error.
func readConfig(getenv func(string) string) (config, error) {
	r := reader{getenv: getenv}
	c := config{
		Bucket:      r.document("COLDFRAME_BUCKET_CONFIG"),
		Roles:       r.words("COLDFRAME_ROLES", "query,compact", allRoles),
		Tokens:      r.sums("COLDFRAME_TOKENS_SHA256"),
		Response:    r.word("COLDFRAME_RESPONSE", "auto", "stream", "buffer"),
		Workers:     int(r.number("COLDFRAME_WORKERS", 10, 0, 1000)),
		ShareBlocks: int(r.number("COLDFRAME_SHARE_BLOCKS", 64, 1, 1<<20)),
		ShareBytes:  r.number("COLDFRAME_SHARE_BYTES", 64<<20, 1, 1<<40),
		Shards:      int(r.number("COLDFRAME_SHARDS", 1, 1, 256)),
		Delete:      r.word("COLDFRAME_DELETE", "off", "on") == "on",
		CacheBytes:  r.number("COLDFRAME_CACHE_BYTES", 256<<20, 0, 10<<30),
		MemoryBytes: r.number("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", 512, 128, 10240) << 20,
		Function:    getenv("AWS_LAMBDA_FUNCTION_NAME"),
		Qualifier:   r.text("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
		Region:      getenv("AWS_REGION"),
		Endpoint:    getenv("AWS_ENDPOINT_URL_LAMBDA"),
		Daemon:      getenv("AWS_XRAY_DAEMON_ADDRESS"),
	}
	if err := c.LogLevel.UnmarshalText([]byte(r.text("COLDFRAME_LOG_LEVEL", "info"))); err != nil {
		r.fail("COLDFRAME_LOG_LEVEL", err)
	}
	return c, errors.Join(r.mistakes...)
}

// reader reads variables and gathers what is wrong with them.
type reader struct {
	getenv   func(string) string
	mistakes []error
}

func (r *reader) fail(name string, err error) {
	r.mistakes = append(r.mistakes, fmt.Errorf("%s: %w", name, err))
}

func (r *reader) text(name, missing string) string {
	if s := r.getenv(name); s != "" {
		return s
	}
	return missing
}

// document is YAML, or the content of the file that is named.
func (r *reader) document(name string) []byte {
	s := r.getenv(name)
	switch {
	case s == "":
		r.fail(name, errors.New("missing: which bucket?"))
	case strings.Contains(s, "type:"):
		return []byte(s)
	}
	text, err := os.ReadFile(s)
	if err != nil && s != "" {
		r.fail(name, err)
	}
	return text
}

// word is one of a few; the first is the default.
func (r *reader) word(name string, known ...string) string {
	s := r.text(name, known[0])
	if !slices.Contains(known, s) {
		r.fail(name, fmt.Errorf("%q: want one of %s", s, strings.Join(known, ", ")))
	}
	return s
}

func (r *reader) words(name, missing string, known []string) []string {
	all := strings.Split(r.text(name, missing), ",")
	for i, s := range all {
		all[i] = strings.TrimSpace(s)
		if !slices.Contains(known, all[i]) {
			r.fail(name, fmt.Errorf("%q: want some of %s", all[i], strings.Join(known, ", ")))
		}
	}
	return all
}

func (r *reader) number(name string, missing, least, most int64) int64 {
	s := r.getenv(name)
	if s == "" {
		return missing
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < least || n > most {
		r.fail(name, fmt.Errorf("%q: want a whole number from %d to %d", s, least, most))
		return missing
	}
	return n
}

func (r *reader) sums(name string) [][sha256.Size]byte {
	var all [][sha256.Size]byte
	for s := range strings.SplitSeq(r.getenv(name), ",") {
		s = strings.TrimSpace(s)
		if s == "" {
			continue
		}
		sum, err := hex.DecodeString(s)
		if err != nil || len(sum) != sha256.Size {
			r.fail(name, fmt.Errorf("want hex SHA-256 sums of 64 digits, one has %d characters", len(s))) // it may be a token: not repeated
			continue
		}
		all = append(all, [sha256.Size]byte(sum))
	}
	return all
}
