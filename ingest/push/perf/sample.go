package perf

// sample is what a sample says, as far as it matters here.
type sample struct {
	ip       uint64
	pid, tid uint32
	period   uint64
	chain    []uint64 // with markers of context; leaf first
}

// cursor reads 64-bit words. Behind the end it gives zeros and notes it.
type cursor struct {
	b     []byte
	short bool
}

func (c *cursor) word() uint64 {
	if len(c.b) < 8 {
		c.b, c.short = nil, true
		return 0
	}
	v := le.Uint64(c.b)
	c.b = c.b[8:]
	return v
}

// parse reads a sample up to its stack. buffer is used again for it.
func (a *attr) parse(body []byte, buffer []uint64) (s sample, err error) {
	c := cursor{b: body}
	has := func(bit uint64) bool { return a.sampleType&bit != 0 }
	if has(sampleIdentifier) {
		c.word()
	}
	if has(sampleIP) {
		s.ip = c.word()
	}
	if has(sampleTID) {
		v := c.word()
		s.pid, s.tid = uint32(v), uint32(v>>32)
	}
	for _, bit := range []uint64{sampleTime, sampleAddr, sampleID, sampleStreamID, sampleCPU} {
		if has(bit) {
			c.word()
		}
	}
	s.period = 1
	switch {
	case has(samplePeriod):
		s.period = c.word()
	case a.flags&flagFreq == 0:
		s.period = a.period
	}
	if has(sampleRead) {
		a.skipRead(&c)
	}
	if has(sampleCallchain) {
		n := c.word()
		if n > uint64(len(c.b)/8) {
			return s, invalidf("a stack of %d addresses in %d bytes", n, len(c.b))
		}
		s.chain = buffer[:0]
		for range n {
			s.chain = append(s.chain, c.word())
		}
	}
	if c.short {
		return s, invalidf("a sample of %d bytes is too short for its type %#x", len(body), a.sampleType)
	}
	return s, nil
}

// skipRead passes over the counters in a sample.
func (a *attr) skipRead(c *cursor) {
	has := func(bit uint64) uint64 {
		if a.readFormat&bit != 0 {
			return 1
		}
		return 0
	}
	each := 1 + has(readID) + has(readLost)
	words := has(readEnabled) + has(readRunning) + each
	if a.readFormat&readGroup != 0 {
		n := c.word()
		if n > uint64(len(c.b)/8) {
			c.b, c.short = nil, true
			return
		}
		words = has(readEnabled) + has(readRunning) + n*each
	}
	for range words {
		if c.word(); c.short {
			return
		}
	}
}
