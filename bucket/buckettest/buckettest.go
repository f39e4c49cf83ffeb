// Package buckettest is for tests of buckets and of what stands on them.
//
// It holds one suite that every bucket passes, buckets that break on demand, and
// real servers to run against.
package buckettest
