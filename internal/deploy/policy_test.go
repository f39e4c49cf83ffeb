package deploy

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/bucket/buckettest"
	"github.com/coldframe/coldframe/profile"
)

// An agent's rights, tried on a real server: a new pprof block can be put below v1/l0/ and
// nothing else can be done. To overwrite one is refused by the condition with which agents
// write; that a PUT without it is refused too is for S3's own condition key, which this server
// does not know: what the policy says of it is asserted in terraform/aws/tests.
func TestAgentRights(t *testing.T) {
	ownerConfig, agentConfig := buckettest.S3WriteOnly(t, "v1/l0/")
	open := func(config []byte) bucket.Bucket {
		b, err := bucket.Open(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	owner, agent := open(ownerConfig), open(agentConfig)
	minute := block.MinutePrefix(profile.DefaultTenant, 0, time.Now())
	key, other := minute+"mine", minute+"theirs"
	create := func(b bucket.Bucket, key, content string) error {
		return b.Create(t.Context(), key, bytes.NewReader([]byte(content)), int64(len(content)))
	}
	if err := create(owner, other, "theirs"); err != nil {
		t.Fatal(err)
	}
	if err := create(owner, "v1/man/default/00/HEAD", "{}"); err != nil {
		t.Fatal(err)
	}

	if err := create(agent, key, "mine"); err != nil {
		t.Errorf("put a new block: %v", err)
	}
	for _, existing := range []string{key, other} {
		if err := create(agent, existing, "again"); !errors.Is(err, bucket.ErrExist) {
			t.Errorf("overwrite %s: %v, want ErrExist", existing, err)
		}
	}
	if content, _, err := owner.Get(t.Context(), other); err != nil || string(content) != "theirs" {
		t.Errorf("after the attempt to overwrite: %q, %v", content, err)
	}
	for what, attempt := range map[string]func() error{
		"read": func() error { _, _, err := agent.Get(t.Context(), other); return err },
		"stat": func() error { _, err := agent.Stat(t.Context(), other); return err },
		"list": func() error {
			for _, err := range agent.List(t.Context(), "v1/l0/") {
				return err
			}
			return nil
		},
		"delete":             func() error { return agent.Delete(t.Context(), other) },
		"put a block of b4":  func() error { return create(agent, "v1/b4/default/00/20260101/x", "x") },
		"put a register":     func() error { return create(agent, "v1/man/default/01/HEAD", "{}") },
		"replace a register": func() error { return agent.Put(t.Context(), "v1/man/default/00/HEAD", []byte("{}")) },
		"put a setting":      func() error { return create(agent, "v1/meta/default/tenant.json", "{}") },
	} {
		if err := attempt(); !errors.Is(err, bucket.ErrDenied) {
			t.Errorf("%s: %v, want ErrDenied", what, err)
		}
	}
	if _, err := agent.Now(t.Context()); err != nil {
		t.Errorf("the server's clock, which a refusal tells as well: %v", err)
	}
}
