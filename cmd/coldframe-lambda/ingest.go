//go:build ingest

package main

import (
	"crypto/rand"

	"github.com/coldframe/coldframe/ingest/push"
	"github.com/coldframe/coldframe/serve"
	"github.com/coldframe/coldframe/upload"
)

// addIngest adds what clients push to. A push is answered when its block is in the
// bucket; nothing waits behind an answer for an environment that may be frozen by then.
func (f *function) addIngest(server *serve.Server) error {
	up, err := upload.New(f.bkt, upload.Config{
		Agent: "lambda-" + rand.Text(), Shards: f.cfg.Shards, MemoryBytes: f.cfg.MemoryBytes / 4, Observer: f.report.observeUpload(),
	})
	if err != nil {
		return err
	}
	push.New(up, push.Config{InFlightBytes: f.cfg.MemoryBytes / 4}).Routes(server.Handle)
	return nil
}
