// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// What the programs need of the kernel, and no more. Nothing is included from the
// machine that builds, so that every machine with the same clang makes the same
// bytes. Structures marked CORE name only the fields that are read; the loader
// moves each access to where the running kernel has the field.
#pragma once

typedef unsigned char u8;
typedef signed char s8;
typedef unsigned short u16;
typedef short s16;
typedef unsigned int u32;
typedef int s32;
typedef unsigned long long u64;
typedef long long s64;

#define SEC(name) __attribute__((section(name), used))
#define CORE __attribute__((preserve_access_index))
#define always_inline inline __attribute__((always_inline))
#define noinline __attribute__((noinline))
#define NULL ((void *)0)

/* How a map is declared in BTF: libbpf's convention, which the Go loader reads. */
#define __uint(name, val) int (*name)[val]
#define __type(name, val) __typeof__(val) *name

enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PROG_ARRAY = 3,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_RINGBUF = 27,
};
enum {
	BPF_ANY = 0,
	BPF_F_NO_PREALLOC = 1,
	BPF_RB_NO_WAKEUP = 1,
};

/* Helpers by the number that the kernel's uapi gives them. */
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static u64 (*bpf_ktime_get_ns)(void) = (void *)5;
static u32 (*bpf_get_prandom_u32)(void) = (void *)7;
static u32 (*bpf_get_smp_processor_id)(void) = (void *)8;
static long (*bpf_tail_call)(void *ctx, void *array, u32 index) = (void *)12;
static u64 (*bpf_get_current_pid_tgid)(void) = (void *)14;
static long (*bpf_get_current_comm)(void *to, u32 size) = (void *)16;
static long (*bpf_get_stack)(void *ctx, void *to, u32 size, u64 flags) = (void *)67;
static u64 (*bpf_get_current_cgroup_id)(void) = (void *)80;
static long (*bpf_probe_read_user)(void *to, u32 size, const void *from) = (void *)112;
static long (*bpf_ringbuf_output)(void *ring, void *from, u64 size, u64 flags) = (void *)130;
static struct task_struct *(*bpf_get_current_task_btf)(void) = (void *)158;
static long (*bpf_task_pt_regs)(struct task_struct *task) = (void *)175;

struct mm_struct;

#if defined(__TARGET_ARCH_x86)

struct pt_regs {
	u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
	u64 orig_ax, ip, cs, flags, sp, ss;
};
struct thread_struct {
	unsigned long fsbase;
} CORE;

/* 0x33 is the selector of 64-bit user code, 0x23 that of 32-bit code. */
static always_inline int in_user(struct pt_regs *r) { return r->cs & 3; }
static always_inline int is_64bit(struct pt_regs *r) { return r->cs == 0x33; }
/* A system call leaves its number in orig_ax, an interrupt or a fault -1. */
static always_inline int in_syscall(struct pt_regs *r) { return (s64)r->orig_ax != -1; }
#define REG_IP(r) ((r)->ip)
#define REG_SP(r) ((r)->sp)
#define REG_FP(r) ((r)->bp)
#define REG_LR(r) 0
#define THREAD_POINTER(task) ((task)->thread.fsbase)
/* pthread_self() is the thread pointer. */
#define IS_THREAD(self, pointer) ((self) == (pointer))
/* User space has no use for the upper bits of an address. */
#define CODE_ADDRESS(a) (a)

#elif defined(__TARGET_ARCH_arm64)

struct pt_regs {
	u64 regs[31], sp, pc, pstate;
};
/* What bpf_task_pt_regs points at begins with the above; after it comes, among
   others, the number of the system call, or -1. */
struct full_pt_regs {
	struct pt_regs user;
	u64 orig_x0;
	s32 syscallno;
};
struct user_words {
	unsigned long tp_value;
} CORE;
struct thread_struct {
	struct user_words uw;
} CORE;

static always_inline int in_user(struct pt_regs *r) { return (r->pstate & 0xf) == 0; }
static always_inline int is_64bit(struct pt_regs *r) { return !(r->pstate & 0x10); }
static always_inline int in_syscall(struct pt_regs *r) { return ((struct full_pt_regs *)r)->syscallno != -1; }
#define REG_IP(r) ((r)->pc)
#define REG_SP(r) ((r)->sp)
#define REG_FP(r) ((r)->regs[29])
#define REG_LR(r) ((r)->regs[30])
#define THREAD_POINTER(task) ((task)->thread.uw.tp_value)
/* pthread_self() is what lies right below the thread pointer: some 2 KiB of glibc's, 200 bytes of
   musl's. No two threads are that near to each other, for their stacks lie between. */
#define IS_THREAD(self, pointer) ((pointer) - (self) < 4096)
/* Pointer authentication keeps its code above the 48 bits of an address. */
#define CODE_ADDRESS(a) ((a) & 0xffffffffffffULL)

#else
#error "the programs are written for amd64 and arm64"
#endif

struct task_struct {
	struct mm_struct *mm;
	struct task_struct *group_leader;
	u64 start_boottime;
	s32 pid, tgid;
	u32 __state;
	struct thread_struct thread;
} CORE;

struct bpf_perf_event_data {
	struct pt_regs regs;
	u64 sample_period;
	u64 addr;
};
