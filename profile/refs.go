package profile

// Half of a profile's varints are the location IDs of its stacks, and nearly all of
// them have one byte or two. Which of both is hard to predict, so that a reader with a
// branch for it spends its time on wrong guesses. Where the CPU can move bytes by a
// table (refs_amd64.s) eight bytes are read at once, without a branch.

// refRoom is how many places behind those that it fills usualRefs may write.
const refRoom = 8

// refsByByte reads IDs from b[i:end] into refs, as keys, up to the first that has more
// than two bytes or crosses the end. It says how many and where that is, and what the
// largest key is now; ID 0 becomes noKey and the largest.
//
// refs has a place for each byte and refRoom more, and padding lies behind the end.
func refsByByte(refs []uint32, b []byte, i, end int, top uint64) (n, next int, newTop uint64) {
	for i < end && n+2 <= len(refs) {
		c, after := uint64(b[i]), uint64(b[i+1])
		if c < 0x80 {
			top = max(top, c-1)
			refs[n] = uint32(c - 1)
			n++
			i++
			if i >= end {
				break
			}
			c, after = after, uint64(b[i+1])
			if c < 0x80 {
				top = max(top, c-1)
				refs[n] = uint32(c - 1)
				n++
				i++
				continue
			}
		}
		if after >= 0x80 || i+2 > end {
			break
		}
		c = c&0x7f | after<<7
		top = max(top, c-1)
		refs[n] = uint32(c - 1)
		n++
		i += 2
	}
	return n, i, top
}
