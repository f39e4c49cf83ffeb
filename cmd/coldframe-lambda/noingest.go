//go:build !ingest

package main

import (
	"errors"

	"github.com/coldframe/coldframe/serve"
)

// addIngest refuses. What clients may speak weighs as much as half of all the rest, and
// only a function that receives pushes should carry it.
func (*function) addIngest(*serve.Server) error {
	return errors.New("COLDFRAME_ROLES: this binary was built without ingest: take the one whose name has it")
}
