package catalog

import (
	"context"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/profile"
)

// L0 is a pprof block as a listing shows it.
type L0 struct {
	block.L0Key
	Size     int64     // of the object, in bytes
	Modified time.Time // when it landed
}

// L0s lists a shard's pprof blocks that were uploaded in the minutes (after, upTo],
// in the order of their keys: by minute. It holds one page of keys at a time.
//
// A few minutes cost a request each. Longer ranges are listed by the hour, a
// request for each thousand keys in it, and ranges over many hours begin with a
// request that tells which hours there are. Keys that are none of a pprof block are
// told to the [Observer].
func (c *Catalog) L0s(ctx context.Context, tenant profile.Tenant, shard block.Shard, after, upTo Minute) iter.Seq2[L0, error] {
	return func(yield func(L0, error) bool) {
		folders, err := c.folders(ctx, tenant, shard, after, upTo)
		if err != nil {
			yield(L0{}, err)
			return
		}
		for _, f := range folders {
			for object, err := range c.bkt.List(ctx, f.prefix(tenant, shard)) {
				if err != nil {
					yield(L0{}, err)
					return
				}
				key, err := block.ParseL0Key(object.Key)
				if err != nil {
					c.stray(object.Key, err)
					continue
				}
				if m := MinuteOf(key.Minute); m <= after || m > upTo {
					continue
				}
				if !yield(L0{key, object.Size, object.Modified}, nil) {
					return
				}
			}
		}
	}
}

// folder is what one listing covers: a minute or an hour of uploads.
type folder struct {
	at   Minute // the first
	hour bool
}

func (f folder) prefix(tenant profile.Tenant, shard block.Shard) string {
	if f.hour {
		return block.HourPrefix(tenant, shard, f.at.Time())
	}
	return block.MinutePrefix(tenant, shard, f.at.Time())
}

const (
	hour = Minute(60)

	// listMinutes is up to how many minutes of an hour are listed one by one. The hour
	// as a whole is one request as well, but a busy one has thousands of keys.
	listMinutes = 4

	// listHours is up to how many hours are listed without asking which there are.
	listHours = 3
)

// folders says what to list for the minutes (after, upTo], in order.
func (c *Catalog) folders(ctx context.Context, tenant profile.Tenant, shard block.Shard, after, upTo Minute) ([]folder, error) {
	if after >= upTo {
		return nil, nil
	}
	if upTo/hour-(after+1)/hour < listHours {
		return foldersBetween(after, upTo), nil
	}
	prefix := block.ClassL0.ShardPrefix(tenant, shard)
	hours, err := parseFolders(c.bkt.ListFolders(ctx, prefix), func(name string) (Minute, bool) {
		t, err := time.Parse("2006010215", name)
		if err != nil {
			c.stray(prefix+name, err)
		}
		return MinuteOf(t), err == nil
	})
	if err != nil {
		return nil, err
	}
	var folders []folder
	for _, h := range slices.Sorted(maps.Keys(hours)) {
		folders = append(folders, foldersBetween(max(after, h-1), min(upTo, h+hour-1))...)
	}
	return folders, nil
}

// foldersBetween covers the minutes (after, upTo]: hours of which few minutes are
// wanted minute by minute, all others whole.
func foldersBetween(after, upTo Minute) []folder {
	var folders []folder
	for from := after + 1; from <= upTo; {
		end := min(upTo+1, (from/hour+1)*hour)
		if end-from > listMinutes {
			folders = append(folders, folder{from - from%hour, true})
		} else {
			for m := from; m < end; m++ {
				folders = append(folders, folder{m, false})
			}
		}
		from = end
	}
	return folders
}
