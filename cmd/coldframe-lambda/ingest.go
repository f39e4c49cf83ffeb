//go:build ingest

package main

import (
	"crypto/rand"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/ingest/push"
	"github.com/coldframe/coldframe/profile"
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

func (r *report) observeUpload() upload.Observer {
	return upload.Observer{
		Written: func(_ block.L0Key, profiles int, _ int64, _ time.Duration) {
			r.add("PushedProfiles", float64(profiles))
		},
		Retry: func(key block.L0Key, err error) {
			r.logger().Warn("block not written yet, will be tried again", "object", key.String(), "err", err)
		},
		Refused: func(t profile.Tenant, profiles int, err error) {
			r.add("RefusedProfiles", float64(profiles))
			r.logger().Warn("push refused", "tenant", string(t), "profiles", profiles, "err", err)
		},
		Lost: func(l upload.Loss) {
			r.add("LostProfiles", float64(l.Profiles))
			r.logger().Error("profiles lost", "reason", string(l.Reason), "profiles", l.Profiles, "object", l.Key.String(), "err", l.Err)
		},
	}
}
