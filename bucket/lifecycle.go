package bucket

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/lifecycle"
)

// Lifecycle is what a bucket deletes by itself, without anybody's request.
type Lifecycle struct {
	Rules []Rule
	// AbortUploadsAfter is after how long a multipart upload is given up that somebody has
	// begun and not ended. We make none; others may.
	AbortUploadsAfter time.Duration
}

// Rule deletes the objects whose keys begin with Prefix, After they were written. Servers
// count whole days and look about once a day, so an object may live up to two days longer.
type Rule struct {
	Prefix string // "v1/b1/"
	After  time.Duration
}

// Days is After in whole days, at least one, rounded up.
func (r Rule) Days() int { return daysOf(r.After) }

func daysOf(d time.Duration) int { return int(max(1, (d+24*time.Hour-1)/(24*time.Hour))) }

// ID names a rule among others of the bucket: "coldframe-v1-b1".
func (r Rule) ID() string {
	return ourRules + strings.ReplaceAll(strings.Trim(r.Prefix, "/"), "/", "-")
}

const (
	ourRules = "coldframe-"
	abortID  = ourRules + "abort-uploads"
)

// MarshalJSON gives what any tool may compare with: {"rules": [{"id", "prefix", "days"}, …],
// "abort_incomplete_uploads_days"}.
func (l Lifecycle) MarshalJSON() ([]byte, error) {
	type rule struct {
		ID     string `json:"id"`
		Prefix string `json:"prefix"`
		Days   int    `json:"days"`
	}
	rules := []rule{}
	for _, r := range l.Rules {
		rules = append(rules, rule{r.ID(), r.Prefix, r.Days()})
	}
	return json.Marshal(struct {
		Rules     []rule `json:"rules"`
		AbortDays int    `json:"abort_incomplete_uploads_days"`
	}{rules, daysOf(l.AbortUploadsAfter)})
}

// Below gives the same rules for a bucket whose keys all begin with prefix and a '/'.
func (l Lifecycle) Below(prefix string) Lifecycle {
	if prefix == "" {
		return l
	}
	below := l
	below.Rules = nil
	for _, r := range l.Rules {
		below.Rules = append(below.Rules, Rule{strings.Trim(prefix, "/") + "/" + r.Prefix, r.After})
	}
	return below
}

// S3JSON is the argument of `aws s3api put-bucket-lifecycle-configuration`.
func (l Lifecycle) S3JSON() ([]byte, error) {
	type filter struct{ Prefix string }
	type expiration struct{ Days int }
	type abort struct{ DaysAfterInitiation int }
	type rule struct {
		ID                             string
		Status                         string
		Filter                         filter
		Expiration                     *expiration `json:",omitempty"`
		AbortIncompleteMultipartUpload *abort      `json:",omitempty"`
	}
	var rules []rule
	for _, r := range l.Rules {
		rules = append(rules, rule{ID: r.ID(), Status: "Enabled", Filter: filter{r.Prefix}, Expiration: &expiration{r.Days()}})
	}
	rules = append(rules, rule{ID: abortID, Status: "Enabled", AbortIncompleteMultipartUpload: &abort{daysOf(l.AbortUploadsAfter)}})
	return json.MarshalIndent(map[string]any{"Rules": rules}, "", "  ")
}

// S3XML is the body of S3's PutBucketLifecycleConfiguration.
func (l Lifecycle) S3XML() ([]byte, error) { return xml.MarshalIndent(l.s3(), "", "  ") }

func (l Lifecycle) s3() *lifecycle.Configuration {
	c := lifecycle.NewConfiguration()
	for _, r := range l.Rules {
		c.Rules = append(c.Rules, lifecycle.Rule{
			ID: r.ID(), Status: "Enabled",
			RuleFilter: lifecycle.Filter{Prefix: r.Prefix},
			Expiration: lifecycle.Expiration{Days: lifecycle.ExpirationDays(r.Days())},
		})
	}
	c.Rules = append(c.Rules, lifecycle.Rule{
		ID: abortID, Status: "Enabled",
		AbortIncompleteMultipartUpload: lifecycle.AbortIncompleteMultipartUpload{DaysAfterInitiation: lifecycle.ExpirationDays(daysOf(l.AbortUploadsAfter))},
	})
	return c
}

// GCSJSON is the argument of `gcloud storage buckets update --lifecycle-file`.
func (l Lifecycle) GCSJSON() ([]byte, error) {
	type action struct {
		Type string `json:"type"`
	}
	type condition struct {
		Age           int      `json:"age"`
		MatchesPrefix []string `json:"matchesPrefix,omitempty"`
	}
	type rule struct {
		Action    action    `json:"action"`
		Condition condition `json:"condition"`
	}
	var rules []rule
	for _, r := range l.Rules {
		rules = append(rules, rule{action{"Delete"}, condition{r.Days(), []string{r.Prefix}}})
	}
	rules = append(rules, rule{action{"AbortIncompleteMultipartUpload"}, condition{Age: daysOf(l.AbortUploadsAfter)}})
	return json.MarshalIndent(map[string]any{"rule": rules}, "", "  ")
}

// A lifecycled cloud takes rules, in the place of ours, which are about keys below root. Others
// stay as they are.
type lifecycled interface {
	setLifecycle(ctx context.Context, l Lifecycle, root string) error
}

// SetLifecycle gives a bucket its rules, in the place of those that an earlier call gave;
// others stay. It needs the right to read and write the bucket's lifecycle. A bucket that
// has no such rules is [errors.ErrUnsupported].
func SetLifecycle(ctx context.Context, b Bucket, l Lifecycle) error {
	r, ok := unwrap(b).(*remote)
	if !ok {
		return fmt.Errorf("set the lifecycle of %s: %w", b.Name(), errors.ErrUnsupported)
	}
	c, ok := r.cloud.(lifecycled)
	if !ok {
		return fmt.Errorf("set the lifecycle of %s: %w", b.Name(), errors.ErrUnsupported)
	}
	err := r.try(ctx, &operation{class: classPut}, tempPrefix+"lifecycle", func(ctx context.Context, _ string) error {
		return c.setLifecycle(ctx, l.Below(r.prefix), r.prefix+"v1/")
	})
	if err != nil {
		return fmt.Errorf("set the lifecycle of %s: %w", b.Name(), err)
	}
	return nil
}

// IsFolder says whether b is a directory of this machine, in which nothing is deleted
// unless somebody plays its lifecycle: see [PlayLifecycle].
func IsFolder(b Bucket) bool {
	_, ok := unwrap(b).(*folder)
	return ok
}

// Played is what [PlayLifecycle] has deleted.
type Played struct {
	Objects int
	Bytes   int64
}

// PlayLifecycle does what a server does by itself where rules are in force: it deletes
// every object that is as old as its rule says, to the second. It lists all that the rules
// are about. What fails is told at the end; the rest is deleted.
func PlayLifecycle(ctx context.Context, b Bucket, l Lifecycle) (Played, error) {
	now, err := b.Now(ctx)
	if err != nil {
		return Played{}, err
	}
	var played Played
	var errs []error
	for _, r := range l.Rules {
		for o, err := range b.List(ctx, r.Prefix) {
			if err != nil {
				errs = append(errs, err)
				break
			}
			if now.Sub(o.Modified) < r.After {
				continue
			}
			if err := b.Delete(ctx, o.Key); err != nil {
				errs = append(errs, err)
				continue
			}
			played.Objects++
			played.Bytes += o.Size
		}
	}
	return played, errors.Join(errs...)
}
