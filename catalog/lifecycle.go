package catalog

import (
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
)

// lifeOf is how long lifecycle rules let the objects of a class live, whosever they are. Those
// of b4 and r4 live as long as the bucket's retentions say, and those of other classes for
// good: HEADs, settings and symbols are not deleted by age.
var lifeOf = []struct {
	class block.Class
	life  time.Duration
}{
	{block.ClassL0, 7 * day},
	{block.ClassB1, 7 * day},
	{block.ClassB2, 7 * day},
	{block.ClassB3, 7 * day},
	{block.ClassTmp, day},
	{block.ClassStatus, day},
}

// LifeOfBlocks is how long pprof blocks and blocks of levels 1 to 3 live by the bucket's
// lifecycle. By half of it they are to be in one of level 4.
const LifeOfBlocks = 7 * day

// Lifecycle is what the bucket is to delete by itself: one rule a class for all tenants. The
// retentions are the bucket's, which no tenant's exceeds; without them, days are kept for good.
func Lifecycle(r Retentions) bucket.Lifecycle {
	l := bucket.Lifecycle{AbortUploadsAfter: day}
	for _, of := range lifeOf {
		l.Rules = append(l.Rules, ruleFor(of.class, of.life))
	}
	if r.Raw > 0 {
		l.Rules = append(l.Rules,
			ruleFor(block.ClassB4, time.Duration(r.Raw)),
			ruleFor(block.ClassR4, time.Duration(r.RollupsFor())))
	}
	return l
}

func ruleFor(class block.Class, life time.Duration) bucket.Rule {
	return bucket.Rule{Prefix: class.Prefix(), After: life}
}
