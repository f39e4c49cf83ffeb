package profile

// Limits is how much a [Decoder] accepts. A zero field means its default. The
// defaults are far above what profilers send; who takes profiles from strangers
// sets less.
//
// Decoding takes about as much memory as the uncompressed profile has bytes, and
// at most 20 times that for one made to take much.
type Limits struct {
	MaxCompressedBytes int // of the gzip or zstd; 64 MiB
	MaxBytes           int // uncompressed, checked while uncompressing; 512 MiB, and never more than 2 GiB
	MaxLegacyBytes     int // of a profile in one of the formats before profile.proto, uncompressed; 16 MiB
	MaxSampleTypes     int // 64
	MaxSamples         int // 16 Mi
	MaxDepth           int // locations in one stack trace; 16 Ki
	MaxSampleLabels    int // labels of one sample; 1 Ki
}

// withDefaults fills in what is not set.
func (l Limits) withDefaults() Limits {
	setDefault(&l.MaxCompressedBytes, 64<<20)
	setDefault(&l.MaxBytes, 512<<20)
	setDefault(&l.MaxLegacyBytes, 16<<20)
	setDefault(&l.MaxSampleTypes, 64)
	setDefault(&l.MaxSamples, 16<<20)
	setDefault(&l.MaxDepth, 16<<10)
	setDefault(&l.MaxSampleLabels, 1<<10)
	l.MaxBytes = min(l.MaxBytes, 2<<30-padding)
	return l
}

func setDefault(limit *int, value int) {
	if *limit <= 0 {
		*limit = value
	}
}

// overLimit says which limit a profile is over, by what, and what is allowed.
func overLimit(limit, what string, got, allowed int) error {
	return invalidf("pprof: %d %s, at most %d are allowed (%s)", got, what, allowed, limit)
}
