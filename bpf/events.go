package bpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// EventKind says what has happened to a process.
type EventKind uint8

// The kinds of events.
const (
	Mapped  EventKind = iota // it maps code
	Renamed                  // a thread has a new name
	Execed                   // it runs another program: all mappings are gone, and it has a new name
	Forked                   // Event.Parent has made it; a new thread when both are the same
	Exited                   // a thread has ended; the process when it was the last
	Missed                   // so many events were lost
)

// Event tells of a process. Which fields are set depends on Kind.
type Event struct {
	Time   uint64 // CLOCK_MONOTONIC, nanoseconds
	PID    uint32
	TID    uint32
	Parent uint32 // Forked
	Kind   EventKind
	Comm   string // Renamed, Execed

	// Mapped: [Start, End) shows the file at Path from Offset.
	Start, End, Offset uint64
	Path               string
	BuildID            []byte // when the kernel could read it
	Device             uint64 // major << 32 | minor; 0 when BuildID is set
	Inode              uint64 // 0 when BuildID is set

	Missed uint64
}

// ringBytes is the room for events of one CPU, which holds some 3000.
const ringBytes = 512 << 10

// eventRing is the ring that the kernel writes side-band records to: perf_event_open(2).
type eventRing struct {
	fd     int
	memory []byte
	buf    []byte
}

// perfBitBuildID asks for build IDs instead of inodes (Linux 5.12).
const perfBitBuildID = 1 << 34

func openEventRing(cpu int) (*eventRing, error) {
	attr := unix.PerfEventAttr{
		Type:        unix.PERF_TYPE_SOFTWARE,
		Config:      unix.PERF_COUNT_SW_DUMMY,
		Size:        uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Sample_type: unix.PERF_SAMPLE_TID | unix.PERF_SAMPLE_TIME,
		Bits: unix.PerfBitMmap | unix.PerfBitMmap2 | unix.PerfBitComm | unix.PerfBitCommExec | unix.PerfBitTask |
			unix.PerfBitSampleIDAll | unix.PerfBitUseClockID | unix.PerfBitWatermark | perfBitBuildID,
		Wakeup:  ringBytes, // nobody sleeps on it
		Clockid: unix.CLOCK_MONOTONIC,
	}
	fd, err := unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open process events of CPU %d: %w", cpu, err)
	}
	page := unix.Getpagesize()
	memory, err := unix.Mmap(fd, 0, page+ringBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map process events of CPU %d: %w", cpu, err), unix.Close(fd))
	}
	return &eventRing{fd: fd, memory: memory}, nil
}

func (r *eventRing) close() error {
	return errors.Join(unix.Munmap(r.memory), unix.Close(r.fd))
}

// ReadEvents calls each with every event that is there now. Those of one CPU are in order
// of time; those of different CPUs are to be sorted.
func (s *Sampler) ReadEvents(each func(Event)) error {
	for _, c := range s.cpus {
		if err := c.events.read(each); err != nil {
			return err
		}
	}
	return nil
}

func (r *eventRing) read(each func(Event)) error {
	page := unix.Getpagesize()
	control := (*unix.PerfEventMmapPage)(unsafe.Pointer(&r.memory[0]))
	head := atomic.LoadUint64(&control.Data_head)
	tail := control.Data_tail
	ring := r.memory[page:]
	defer func() { atomic.StoreUint64(&control.Data_tail, tail) }()
	for tail < head {
		header := r.copy(ring, tail, 8)
		size := uint64(binary.LittleEndian.Uint16(header[6:]))
		if size < 8 || size > head-tail {
			tail = head
			return fmt.Errorf("process event of %d bytes where %d are left", size, head-tail)
		}
		record := r.copy(ring, tail, size)
		tail += size
		if e, ok := decodeEvent(record); ok {
			each(e)
		}
	}
	return nil
}

// copy takes n bytes at a position that only grows.
func (r *eventRing) copy(ring []byte, at, n uint64) []byte {
	at %= uint64(len(ring))
	r.buf = append(r.buf[:0], ring[at:min(at+n, uint64(len(ring)))]...)
	r.buf = append(r.buf, ring[:n-uint64(len(r.buf))]...)
	return r.buf
}

// decodeEvent reads a record of perf_event_open(2), "MMAP layout", with the header in
// front and what sample_id_all appends, thread and time, at the end.
func decodeEvent(b []byte) (Event, bool) {
	const header, trailer = 8, 16
	if len(b) < header+trailer {
		return Event{}, false
	}
	kind := binary.LittleEndian.Uint32(b)
	misc := binary.LittleEndian.Uint16(b[4:])
	body := b[header : len(b)-trailer]
	e := Event{Time: binary.LittleEndian.Uint64(b[len(b)-8:])}
	if len(body) < 16 && kind != unix.PERF_RECORD_COMM || len(body) < 8 {
		return Event{}, false
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(body[at:]) }
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(body[at:]) }
	switch kind {
	case unix.PERF_RECORD_MMAP2:
		return decodeMapped(e, misc, body)
	case unix.PERF_RECORD_COMM:
		e.Kind, e.PID, e.TID, e.Comm = Renamed, u32(0), u32(4), text(body[8:])
		if misc&unix.PERF_RECORD_MISC_COMM_EXEC != 0 {
			e.Kind = Execed
		}
	case unix.PERF_RECORD_FORK:
		e.Kind, e.PID, e.Parent, e.TID = Forked, u32(0), u32(4), u32(8)
	case unix.PERF_RECORD_EXIT:
		e.Kind, e.PID, e.Parent, e.TID = Exited, u32(0), u32(4), u32(8)
	case unix.PERF_RECORD_LOST:
		e.Kind, e.Missed = Missed, u64(8)
	default:
		return Event{}, false
	}
	return e, true
}

// miscBuildID is PERF_RECORD_MISC_MMAP_BUILD_ID.
const miscBuildID = 1 << 14

func decodeMapped(e Event, misc uint16, body []byte) (Event, bool) {
	if len(body) < 64 {
		return Event{}, false
	}
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(body[at:]) }
	e.Kind = Mapped
	e.PID, e.TID = binary.LittleEndian.Uint32(body), binary.LittleEndian.Uint32(body[4:])
	e.Start, e.Offset = u64(8), u64(24)
	e.End = e.Start + u64(16)
	e.Path = text(body[64:])
	if misc&miscBuildID == 0 {
		e.Device = uint64(binary.LittleEndian.Uint32(body[32:]))<<32 | uint64(binary.LittleEndian.Uint32(body[36:]))
		e.Inode = u64(40)
	} else if n := int(body[32]); n <= 20 {
		e.BuildID = bytes.Clone(body[36 : 36+n])
	}
	return e, e.Start < e.End
}

func text(b []byte) string {
	before, _, _ := bytes.Cut(b, []byte{0})
	return string(before)
}
