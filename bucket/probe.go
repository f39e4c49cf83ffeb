package bucket

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
)

// tempPrefix is where objects lie that nobody misses; a lifecycle rule removes them.
const tempPrefix = "v1/tmp/"

// Probe tries on throw-away objects whether b enforces what Create and Replace
// promise. If it does not, CAS says CASNone from now on, and the warning tells people
// what that means; else it is empty. It makes six requests, needs leave to
// write, read and delete under v1/tmp/, and is not for those who only Create.
func Probe(ctx context.Context, b Bucket) (warning string, err error) {
	fault, err := tryConditions(ctx, b)
	if err != nil {
		return "", fmt.Errorf("probe conditional writes: %w", err)
	}
	if fault == "" {
		return "", nil
	}
	if b.CAS() != CASNone {
		r, ok := unwrap(b).(*remote)
		if !ok {
			return "", fmt.Errorf("probe conditional writes of %s: %s", b.Name(), fault)
		}
		r.cas.Store(int32(CASNone))
	}
	return fmt.Sprintf("%s has no conditional writes (%s): run exactly one compactor for each shard, and leave deletion to the bucket's lifecycle rules", b.Name(), fault), nil
}

func unwrap(b Bucket) Bucket {
	for {
		w, ok := b.(interface{ unwrap() Bucket })
		if !ok {
			return b
		}
		b = w.unwrap()
	}
}

// tryConditions returns in what the bucket fails, if in anything.
func tryConditions(ctx context.Context, b Bucket) (fault string, err error) {
	key := tempPrefix + "probe/" + rand.Text()
	defer func() {
		if deleted := b.Delete(ctx, key); err == nil {
			err = deleted
		}
	}()
	content := func(n byte) []byte { return []byte{'0' + n, '\n'} }

	create := func(n byte) error { return b.Create(ctx, key, bytes.NewReader(content(n)), 2) }
	switch err := create(1); {
	case errors.Is(err, errors.ErrUnsupported):
		return err.Error(), nil
	case err != nil:
		return "", err
	}
	switch err := create(2); {
	case err == nil:
		return "it lets an object be created twice", nil
	case !errors.Is(err, ErrExist):
		return "", err
	}

	_, first, err := b.Get(ctx, key)
	if err != nil {
		return "", err
	}
	second, err := b.Replace(ctx, key, content(3), first)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return err.Error(), nil
	case err != nil:
		return "", err
	case second == first:
		return "it gives two contents one version", nil
	}
	switch _, err := b.Replace(ctx, key, content(4), first); {
	case err == nil:
		return "it replaces an object that has changed", nil
	case !errors.Is(err, ErrConflict):
		return "", err
	}
	return "", nil
}
