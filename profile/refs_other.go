//go:build !amd64

package profile

func usualRefs(refs []uint32, b []byte, i, end int, top uint64) (n, next int, newTop uint64) {
	return refsByByte(refs, b, i, end, top)
}
