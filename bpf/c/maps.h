// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// What kernel and user space share. bpf2go gives Go the types and the enums.
#pragma once
#include "kernel.h"

#define KERNEL_FRAMES 127
#define USER_FRAMES 255
#define PYTHON_FRAMES 128 /* two words each */
#define WORDS 1024        /* ≥ the sum of the above, a power of two for masking */

/* Counters, kept by each CPU and summed by user space. Every sample is counted in
   COUNTER_SAMPLES before anything else is done to it, and then in exactly one of
   COUNTER_FILTERED, COUNTER_RING_FULL and COUNTER_SENT. */
enum counter {
	COUNTER_SAMPLES,
	COUNTER_IDLE, /* the CPU had nothing to do; not a sample */
	COUNTER_FILTERED,
	COUNTER_RING_FULL,
	COUNTER_SENT,
	COUNTER_TABLE_STEPS,
	COUNTER_FP_STEPS,
	COUNTER_SIGNAL_STEPS,
	COUNTER_OFF_CPU,      /* blocked threads whose stack was sent */
	COUNTER_OFF_CPU_LOST, /* … whose return to a CPU could not be told */
	COUNTER_PYTHON,       /* samples with a Python stack */
	COUNTER_PYTHON_NO_THREAD,
	COUNTER_PYTHON_TRUNCATED,
	COUNTERS,
};

/* Why a user stack ends. Up to STOP_COMPLETE it is whole. */
enum stop {
	STOP_NO_USER,    /* a kernel thread: there is no user stack */
	STOP_OUTERMOST,  /* the unwind table says: no caller */
	STOP_ZERO,       /* a return address or frame pointer of zero */
	STOP_COMPLETE = STOP_ZERO,
	STOP_NO_TABLES,  /* the process is not known yet; walked by frame pointers */
	STOP_NO_MAPPING, /* the address is in no executable mapping */
	STOP_UNSUPPORTED, /* the unwind table has a rule that eight bytes cannot say */
	STOP_FAULT,      /* the stack could not be read */
	STOP_MISALIGNED, /* the frame pointer is none */
	STOP_TRUNCATED,  /* more than USER_FRAMES */
	STOP_32BIT,      /* 32-bit code is not walked */
};

enum kind {
	KIND_CPU,
	KIND_BLOCKED, /* a thread leaves its CPU to wait; the stack of where */
	KIND_WOKEN,   /* and is back: time is now, waited says how long; no stack */
};

/* How steps of the user stack were made, or-ed together. */
enum walk {
	WALK_FP = 1,
	WALK_TABLE = 2,
	WALK_SIGNAL = 4,
	WALK_SYSCALL = 8, /* the topmost address follows a system call instruction */
};

/* Set in a user address that is no return address although it is not the leaf. */
#define EXACT (1ULL << 63)

/* One sample as it lies in the ring: this header, then words: the kernel stack, the
   user stack, then pairs (code object, instruction) of the Python stack; all leaf first. */
struct record {
	u64 time;      /* CLOCK_MONOTONIC */
	u64 start;     /* the process' start, CLOCK_BOOTTIME: with pid, its identity */
	u64 cgroup;    /* of cgroup v2, 0 without */
	u64 leaf_word; /* amd64: what the stack pointer points at; arm64: the link register. 0 when it cannot be read */
	u64 waited;    /* KIND_WOKEN: nanoseconds */
	u32 pid, tid, cpu;
	u16 kernel, user, python; /* frames */
	u8 kind, stop, walk, padding;
	u8 comm[16]; /* the thread's */
};

/* A row of an unwind table: the rule from pc to the next row's pc. */
struct row {
	u32 pc;  /* from the binary's base */
	u8 rule; /* enum cfa in the low four bits, enum ra in the high */
	s8 fp;   /* <0: the caller's frame pointer lies at CFA + 8·fp; else enum fp_rule */
	s16 off;
};
enum cfa {
	CFA_FP_WALK,   /* no rule here: take the frame pointer's word for it */
	CFA_SP,        /* CFA = sp + 8·off */
	CFA_FP,        /* CFA = fp + 8·off */
	CFA_PLT,       /* CFA = sp + 8, + 8 more once pc & 15 ≥ off */
	CFA_DEREF_SP,  /* CFA = *(sp + 8·(off >> 5)) + 8·(off & 31) */
	CFA_DEREF_FP,  /* CFA = *(fp + 8·(off >> 5)) + 8·(off & 31) */
	CFA_SIGNAL,    /* the kernel's signal frame begins at sp */
	CFA_OUTERMOST, /* there is no caller */
	CFA_REGISTER,  /* CFA = registers[off & 3] + 8·(off >> 2), of the leaf alone: rax, r9, r10, r11 */
	CFA_UNSUPPORTED,
};
enum fp_rule {
	FP_SAME,
	FP_LOST,
	FP_AT_FP, /* at *fp */
};
enum ra {         /* arm64; on amd64 the return address always lies at CFA - 8 */
	RA_AT_CFA,
	RA_NEXT_TO_FP = 0x10, /* at CFA + 8·fp + 8 */
	RA_IN_LR = 0x20,      /* only the leaf may say so, and what a signal interrupted */
	RA_ALONE = 0x30,      /* at CFA + 8·fp; the frame pointer is the same */
	RA_AT_BASE = 0x40,    /* frame pointer and return address at 8·fp from what the CFA is counted from: large frames */
};

/* Rows of one binary: rows[first, first+n). */
struct table {
	u32 first, n;
};

/* An executable mapping of a process. */
struct mapping {
	u64 start, end;
	u64 base;  /* pc - base is the row's pc */
	u32 table; /* key in tables, 0: none */
	u32 flags;
};
enum mapping_flag {
	MAPPING_FP = 1,         /* walk by frame pointers: JIT, Go, no table */
	MAPPING_TRAMPOLINE = 2, /* CPython's perf trampoline: CFA = sp + 16 */
};

/* A process' mappings, sorted by start, CHUNK_MAPPINGS to a chunk. */
#define CHUNKS 16
#define CHUNK_MAPPINGS 30
struct chunk_key {
	u32 pid, chunk;
};
struct chunk {
	u32 n, flags;
	struct mapping mappings[CHUNK_MAPPINGS + 2]; /* 32 for masking; the last two stay empty */
};
enum process_flag { /* in chunk 0 */
	PROCESS_DROP = 1, /* nobody wants its samples */
	PROCESS_PYTHON = 2,
};

/* An enum reaches Go only when something has its type. */
#define SHOW(name) const volatile enum name shown_##name = 0
SHOW(counter);
SHOW(stop);
SHOW(kind);
SHOW(walk);
SHOW(cfa);
SHOW(fp_rule);
SHOW(ra);
SHOW(mapping_flag);
SHOW(process_flag);

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set by the loader */
	__type(key, u32);
	__type(value, struct row);
} rows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, u32);
	__type(value, struct table);
} tables SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 32768);
	__type(key, struct chunk_key);
	__type(value, struct chunk);
} processes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096); /* set by the loader */
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, u32);
	__type(value, u64);
} counters SEC(".maps");

static always_inline void count(u32 which)
{
	u64 *v = bpf_map_lookup_elem(&counters, &which);
	if (v)
		(*v)++;
}
