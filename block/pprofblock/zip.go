package pprofblock

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// The parts of a ZIP, from PKWARE's APPNOTE.TXT 4.3: stored members without extra
// fields, comments or data descriptors, of less than 4 GiB.
const (
	localSignature     = 0x04034b50
	centralSignature   = 0x02014b50
	directorySignature = 0x06054b50

	localSize     = 30 // and the name
	centralSize   = 46 // and the name
	directorySize = 22

	zipVersion = 10     // what a reader must understand: 1.0
	zipDate    = 0x0021 // 1980-01-01, the earliest there is; the time is 0
)

// member is a file in the ZIP.
type member struct {
	name   string
	size   int64
	crc    uint32 // IEEE, unlike those of the manifest
	offset int64  // of its local header
}

func newMember(name string, body []byte) member {
	return member{name: name, size: int64(len(body)), crc: crc32.ChecksumIEEE(body)}
}

// end is the offset behind the member's bytes.
func (m member) end() int64 { return m.offset + localSize + int64(len(m.name)) + m.size }

// appendLocal writes what stands before the member's bytes.
func (m member) appendLocal(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, localSignature)
	b = m.appendFacts(b)
	return append(b, m.name...)
}

// appendCentral writes the member's entry in the directory.
func (m member) appendCentral(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, centralSignature)
	b = le.AppendUint16(b, zipVersion) // made by: MS-DOS, so that unzip sets no permissions
	b = m.appendFacts(b)
	b = append(b, make([]byte, 10)...) // comment length, disk, attributes
	b = le.AppendUint32(b, uint32(m.offset))
	return append(b, m.name...)
}

// appendFacts writes the 26 bytes that both have.
func (m member) appendFacts(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint16(b, zipVersion)
	b = le.AppendUint16(b, 0) // flags
	b = le.AppendUint16(b, 0) // method: stored
	b = le.AppendUint16(b, 0) // time
	b = le.AppendUint16(b, zipDate)
	b = le.AppendUint32(b, m.crc)
	b = le.AppendUint32(b, uint32(m.size)) // compressed
	b = le.AppendUint32(b, uint32(m.size))
	b = le.AppendUint16(b, uint16(len(m.name)))
	return le.AppendUint16(b, 0) // extra fields
}

// appendDirectory writes the directory of members that end at offset from.
func appendDirectory(b []byte, members []member, from int64) []byte {
	start := len(b)
	for _, m := range members {
		b = m.appendCentral(b)
	}
	size := len(b) - start
	le := binary.LittleEndian
	b = le.AppendUint32(b, directorySignature)
	b = le.AppendUint32(b, 0) // disks
	b = le.AppendUint16(b, uint16(len(members)))
	b = le.AppendUint16(b, uint16(len(members)))
	b = le.AppendUint32(b, uint32(size))
	b = le.AppendUint32(b, uint32(from))
	return le.AppendUint16(b, 0) // comment length
}

// directoryLen is how long the directory of count members with nameBytes of names is.
func directoryLen(count int, nameBytes int64) int64 {
	return int64(count)*centralSize + nameBytes + directorySize
}

// firstMember reads the local header that data begins with.
func firstMember(data []byte, name string) (m member, body []byte, err error) {
	le := binary.LittleEndian
	head := localSize + len(name)
	if len(data) < head || le.Uint32(data) != localSignature {
		return m, nil, fmt.Errorf("%d bytes do not begin with the header of a ZIP's member", len(data))
	}
	m = member{name: name, crc: le.Uint32(data[14:]), size: int64(le.Uint32(data[18:]))}
	if string(data[:head]) != string(m.appendLocal(nil)) {
		return m, nil, fmt.Errorf("the first member is not a stored %s", name)
	}
	if m.size > int64(len(data)-head) {
		return m, nil, fmt.Errorf("%s has %d bytes, only %d are there", name, m.size, len(data)-head)
	}
	body = data[head : int64(head)+m.size]
	if got := crc32.ChecksumIEEE(body); got != m.crc {
		return m, nil, fmt.Errorf("%s has checksum %08x, want %08x", name, got, m.crc)
	}
	return m, body, nil
}
