// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// The walk of a user stack, one frame a call. advance() is a global function: the
// verifier proves it once, for every state, and the loop around it costs next to
// nothing. So 255 frames fit into one program without tail calls.
#pragma once
#include "maps.h"

/* The walk's state, and the record it fills. Sampling and scheduling each have a
   slot, because a sample may interrupt the scheduler's program. */
struct walk_state {
	struct record head;
	u64 words[WORDS];
	u64 ip, sp, fp, lr;
	u64 registers[4]; /* of amd64's leaf: rax, r9, r10, r11 */
	u32 leaf;   /* ip is where the program is, not where it will return to */
	u32 mapped; /* mapping holds pc */
	u64 pc;     /* what is looked up for ip */
	struct mapping mapping;
	struct row row;
	u64 thread_pointer; /* of Python's walk */
	u64 frame;
};
enum slot {
	SLOT_SAMPLE,
	SLOT_SWITCH,
	SLOTS,
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, u32);
	__type(value, struct walk_state);
} walks SEC(".maps");

static always_inline int read_word(u64 *to, u64 from) { return bpf_probe_read_user(to, sizeof *to, (void *)from) != 0; }

static always_inline int stop(struct walk_state *s, u8 why)
{
	s->head.stop = why;
	return 1;
}

/* Looks for s->pc in one chunk of the process' mappings; returns 1 when there is no sense
   in looking further. A global function, as advance is, and for the same reason. */
noinline int search_chunk(u32 slot, u32 number)
{
	struct walk_state *s = bpf_map_lookup_elem(&walks, &slot);
	if (!s)
		return 1;
	struct chunk_key key = {.pid = s->head.pid, .chunk = number};
	struct chunk *c = bpf_map_lookup_elem(&processes, &key);
	if (!c)
		return 1;
	u32 lo = 0, hi = c->n;
	if (hi == 0)
		return 1;
	if (hi > CHUNK_MAPPINGS)
		hi = CHUNK_MAPPINGS;
	if (c->mappings[(hi - 1) & 31].end <= s->pc)
		return 0;
	for (int i = 0; i < 5 && lo < hi; i++) {
		u32 mid = (lo + hi) >> 1;
		if (c->mappings[mid & 31].start <= s->pc)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == 0)
		return 1;
	struct mapping *m = &c->mappings[(lo - 1) & 31];
	if (s->pc >= m->start && s->pc < m->end) {
		s->mapping = *m;
		s->mapped = 1;
	}
	return 1;
}

/* Finds the last row at or before s->pc in the mapping's table and copies it to s->row;
   returns 1 when there is none. 22 halvings are enough for four million rows; the
   loader makes no larger array. */
noinline int search_rows(u32 slot)
{
	struct walk_state *s = bpf_map_lookup_elem(&walks, &slot);
	if (!s)
		return 1;
	u32 id = s->mapping.table, pc = s->pc - s->mapping.base;
	struct table *t = bpf_map_lookup_elem(&tables, &id);
	if (!t)
		return 1;
	u32 first = t->first, lo = first, hi = first + t->n;
	for (int i = 0; i < 23 && lo < hi; i++) {
		u32 mid = (lo + hi) >> 1;
		struct row *r = bpf_map_lookup_elem(&rows, &mid);
		if (!r)
			return 1;
		if (r->pc <= pc)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == first)
		return 1;
	lo--;
	struct row *r = bpf_map_lookup_elem(&rows, &lo);
	if (!r)
		return 1;
	s->row = *r;
	return 0;
}

/* Walks by frame pointer. There is no check that stacks grow downwards: Go's
   systemstack moves from one stack to another, and so do signal stacks. */
static always_inline int by_frame_pointer(struct walk_state *s)
{
	u64 saved[2]; /* the caller's frame pointer, the return address */
	count(COUNTER_FP_STEPS);
	s->head.walk |= WALK_FP;
	if (s->fp == 0)
		return stop(s, STOP_ZERO);
	if (s->fp & 7)
		return stop(s, STOP_MISALIGNED);
	if (bpf_probe_read_user(saved, sizeof saved, (void *)s->fp))
		return stop(s, STOP_FAULT);
	saved[1] = CODE_ADDRESS(saved[1]);
	if (saved[1] == 0)
		return stop(s, STOP_ZERO);
	s->sp = s->fp + sizeof saved;
	s->fp = saved[0];
	s->ip = saved[1];
	s->leaf = 0;
	return 0;
}

/* CPython's perf trampoline is sub $8,%rsp; call; add $8,%rsp; ret. */
static always_inline int by_trampoline(struct walk_state *s)
{
	u64 ra;
	if (read_word(&ra, s->sp + 8))
		return stop(s, STOP_FAULT);
	if (ra == 0)
		return stop(s, STOP_ZERO);
	s->sp += 16;
	s->ip = ra;
	s->leaf = 0;
	return 0;
}

/* Registers from the frame that the kernel pushed before it called a signal handler. */
static always_inline int by_signal_frame(struct walk_state *s)
{
	count(COUNTER_SIGNAL_STEPS);
	s->head.walk |= WALK_SIGNAL;
#if defined(__TARGET_ARCH_x86)
	/* sp is at the ucontext: flags, link, stack (40 bytes), then r8…r15, di, si, bp, bx, dx, ax, cx, sp, ip */
	u64 regs[17];
	if (bpf_probe_read_user(regs, sizeof regs, (void *)(s->sp + 40)))
		return stop(s, STOP_FAULT);
	s->fp = regs[10];
	s->sp = regs[15];
	s->ip = regs[16];
	s->registers[0] = regs[13];
	s->registers[1] = regs[1];
	s->registers[2] = regs[2];
	s->registers[3] = regs[3];
#else
	/* sp is at the siginfo (128 bytes) and the ucontext, whose sigcontext lies at 176 and begins
	   with the fault address: x29, x30, sp, pc */
	u64 regs[4];
	if (bpf_probe_read_user(regs, sizeof regs, (void *)(s->sp + 128 + 176 + 8 + 29 * 8)))
		return stop(s, STOP_FAULT);
	s->fp = regs[0];
	s->lr = regs[1];
	s->sp = regs[2];
	s->ip = regs[3];
#endif
	s->leaf = 1;
	return s->ip == 0 ? stop(s, STOP_ZERO) : 0;
}

/* The canonical frame address that a rule gives; returns 1 when memory refuses. */
static always_inline int frame_address(struct walk_state *s, struct row *r, u32 pc, u64 *cfa)
{
	s64 off = r->off;
	switch (r->rule & 15) {
	case CFA_SP:
		*cfa = s->sp + off * 8;
		return 0;
	case CFA_FP:
		*cfa = s->fp + off * 8;
		return 0;
	case CFA_PLT:
		*cfa = s->sp + 8 + ((pc & 15) >= off ? 8 : 0);
		return 0;
	case CFA_REGISTER:
		*cfa = s->registers[off & 3] + (off >> 2) * 8;
		return !s->leaf;
	}
	u64 at = (r->rule & 15) == CFA_DEREF_SP ? s->sp : s->fp;
	if (read_word(cfa, at + (off >> 5) * 8))
		return 1;
	*cfa += (off & 31) * 8;
	return 0;
}

static always_inline int return_address(struct walk_state *s, struct row *r, u64 cfa, u64 *ra)
{
#if defined(__TARGET_ARCH_x86)
	return read_word(ra, cfa - 8);
#else
	switch (r->rule & 0xf0) {
	case RA_IN_LR:
		/* the first frame's register is the processor's, in a system call too */
		*ra = s->leaf || s->head.user == 1 ? s->lr : 0;
		break;
	case RA_NEXT_TO_FP:
		if (read_word(ra, cfa + r->fp * 8 + 8))
			return 1;
		break;
	case RA_ALONE:
		if (read_word(ra, cfa + r->fp * 8))
			return 1;
		break;
	case RA_AT_BASE:
		if (read_word(ra, cfa + (r->fp - r->off) * 8 + 8))
			return 1;
		break;
	default:
		if (read_word(ra, cfa - 8))
			return 1;
	}
	*ra = CODE_ADDRESS(*ra);
	return 0;
#endif
}

static always_inline int by_row(struct walk_state *s, struct row *r, u32 pc)
{
#if defined(__TARGET_ARCH_x86)
	u8 rule = r->rule; /* with any enum ra it is unsupported */
#else
	u8 rule = r->rule & 15;
#endif
	if (rule == CFA_FP_WALK)
		return by_frame_pointer(s);
	s->head.walk |= WALK_TABLE;
	count(COUNTER_TABLE_STEPS);
	if (rule == CFA_OUTERMOST)
		return stop(s, STOP_OUTERMOST);
	if (rule == CFA_SIGNAL)
		return by_signal_frame(s);
	if (rule >= CFA_UNSUPPORTED)
		return stop(s, STOP_UNSUPPORTED);
	u64 cfa, ra;
	if (frame_address(s, r, pc, &cfa) || return_address(s, r, cfa, &ra))
		return stop(s, STOP_FAULT);
	if (ra == 0)
		return stop(s, STOP_ZERO);
	s8 fp = r->fp;
#if !defined(__TARGET_ARCH_x86)
	if ((r->rule & 0xf0) == RA_AT_BASE) {
		if (read_word(&s->fp, cfa + (fp - r->off) * 8))
			return stop(s, STOP_FAULT);
		fp = FP_SAME;
	}
#endif
	if (fp < 0 && (r->rule & 0xf0) != RA_ALONE) {
		if (read_word(&s->fp, cfa + fp * 8))
			return stop(s, STOP_FAULT);
	} else if (fp == FP_AT_FP) {
		if (read_word(&s->fp, s->fp))
			return stop(s, STOP_FAULT);
	} else if (fp == FP_LOST) {
		s->fp = 0;
	}
	s->sp = cfa;
	s->ip = ra;
	s->leaf = 0;
	return 0;
}

/* Notes the frame and moves to its caller. Returns 1 at the end of the stack. */
noinline int advance(u32 slot)
{
	struct walk_state *s = bpf_map_lookup_elem(&walks, &slot);
	if (!s)
		return 1;
	/* What a signal interrupted is no return address, and is marked. */
	u64 exact = s->leaf && s->head.user ? EXACT : 0;
	s->words[(s->head.kernel + s->head.user) & (WORDS - 1)] = s->ip | exact;
	s->head.user++;
	/* A return address may be the first byte of the next function, so callers are looked
	   up by the byte before. */
	s->pc = s->ip - (s->leaf ? 0 : 1);
	s->mapped = 0;
	for (u32 i = 0; i < CHUNKS; i++)
		if (search_chunk(slot, i))
			break;
	if (!s->mapped) {
		if (s->head.stop == STOP_NO_TABLES) { /* nothing is known of the process */
			int end = by_frame_pointer(s);
			s->head.stop = STOP_NO_TABLES;
			return end;
		}
		return stop(s, STOP_NO_MAPPING);
	}
	if (s->mapping.flags & MAPPING_TRAMPOLINE)
		return by_trampoline(s);
	if (s->mapping.flags & MAPPING_FP || search_rows(slot))
		return by_frame_pointer(s);
	return by_row(s, &s->row, s->pc - s->mapping.base);
}

/* Where the walk begins. interrupted: in user code, not within a system call. */
static always_inline void take(struct walk_state *s, struct pt_regs *regs, int interrupted)
{
	s->ip = REG_IP(regs);
	s->sp = REG_SP(regs);
	s->fp = REG_FP(regs);
	s->lr = REG_LR(regs);
	s->leaf = interrupted;
#if defined(__TARGET_ARCH_x86)
	s->registers[0] = regs->ax;
	s->registers[1] = regs->r9;
	s->registers[2] = regs->r10;
	s->registers[3] = regs->r11;
#endif
	s->head.stop = is_64bit(regs) ? STOP_NO_TABLES : STOP_32BIT;
	/* Else clang joins the ends of several calls, with a pointer into either the context or the
	   task, which the verifier does not take. */
	asm volatile("" ::: "memory");
}

/* Walks the user stack from where take put it; returns the process' flags. */
static always_inline u32 walk_user(struct walk_state *s, u32 slot)
{
	struct chunk_key key = {.pid = s->head.pid};
	struct chunk *c = bpf_map_lookup_elem(&processes, &key);
	u32 flags = c ? c->flags : 0;
	if (flags & PROCESS_DROP || s->head.stop == STOP_32BIT)
		return flags;
	if (!s->leaf)
		s->head.walk = WALK_SYSCALL;
#if defined(__TARGET_ARCH_x86)
	if (read_word(&s->head.leaf_word, s->sp))
		s->head.leaf_word = 0;
#else
	s->head.leaf_word = CODE_ADDRESS(s->lr);
#endif
	if (c)
		s->head.stop = STOP_TRUNCATED;
	for (int i = 0; i < USER_FRAMES; i++)
		if (advance(slot))
			return flags;
	s->head.stop = STOP_TRUNCATED;
	return flags;
}

static always_inline void begin(struct walk_state *s, struct task_struct *task, u8 kind)
{
	__builtin_memset(&s->head, 0, sizeof s->head);
	s->head.time = bpf_ktime_get_ns();
	s->head.start = task->group_leader->start_boottime;
	s->head.cgroup = bpf_get_current_cgroup_id();
	s->head.pid = task->tgid;
	s->head.tid = task->pid;
	s->head.cpu = bpf_get_smp_processor_id();
	s->head.kind = kind;
	bpf_get_current_comm(s->head.comm, sizeof s->head.comm);
}

static always_inline void kernel_stack(struct walk_state *s, void *ctx)
{
	long n = bpf_get_stack(ctx, s->words, KERNEL_FRAMES * 8, 0);
	s->head.kernel = n > 0 && n <= KERNEL_FRAMES * 8 ? (u64)n / 8 : 0;
}

/* Sends what the slot holds; 0 when the ring took it. */
static always_inline long send(struct walk_state *s)
{
	u32 words = s->head.kernel + s->head.user + 2 * s->head.python;
	if (words > WORDS)
		return -1;
	return bpf_ringbuf_output(&ring, s, sizeof s->head + words * 8, BPF_RB_NO_WAKEUP);
}
