// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// sample: where every CPU is, at each tick of a clock.
// off_cpu: where threads wait, and for how long.
#include "maps.h"
#include "python.h"
#include "unwind.h"

char LICENSE[] SEC("license") = "GPL";

/* Of 2^32 times that a thread begins to wait, so many are followed. */
const volatile u32 off_cpu_share = 0;

/* Programs to go on with where a process runs Python. A tail call needs a target of its own
   kind, so sampling and scheduling have one each. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} after_sample SEC(".maps"), after_off_cpu SEC(".maps");

/* Whether the kernel can combine tail calls with functions. */
const volatile u8 with_python = 1;

static always_inline void finish_sample(struct walk_state *s)
{
	count(send(s) ? COUNTER_RING_FULL : COUNTER_SENT);
}

SEC("perf_event")
int sample_python(struct bpf_perf_event_data *ctx)
{
	u32 slot = SLOT_SAMPLE;
	struct walk_state *s = bpf_map_lookup_elem(&walks, &slot);
	if (!s)
		return 0;
	python_stack(slot);
	finish_sample(s);
	return 0;
}

SEC("perf_event")
int sample(struct bpf_perf_event_data *ctx)
{
	if (bpf_get_current_pid_tgid() == 0) {
		count(COUNTER_IDLE);
		return 0;
	}
	count(COUNTER_SAMPLES);
	u32 slot = SLOT_SAMPLE, flags = 0;
	struct walk_state *s = bpf_map_lookup_elem(&walks, &slot);
	if (!s)
		return 0;
	struct task_struct *task = bpf_get_current_task_btf();
	begin(s, task, KIND_CPU);
	kernel_stack(s, ctx);
	if (task->mm) {
		if (in_user(&ctx->regs)) {
			take(s, &ctx->regs, 1);
		} else {
			struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
			take(s, regs, !in_syscall(regs));
		}
		flags = walk_user(s, slot);
	}
	if (flags & PROCESS_DROP) {
		count(COUNTER_FILTERED);
		return 0;
	}
	if (with_python && flags & PROCESS_PYTHON)
		bpf_tail_call(ctx, &after_sample, 0);
	finish_sample(s); /* where there is no Python, and where the tail call has failed */
	return 0;
}

/* Threads that wait and are followed: thread → since when. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u32);
	__type(value, u64);
} waiting SEC(".maps");

#define TASK_DEAD 0x80

static always_inline void woken(struct walk_state *s, struct task_struct *next)
{
	u32 tid = next->pid;
	u64 *since = bpf_map_lookup_elem(&waiting, &tid);
	if (!since)
		return;
	__builtin_memset(&s->head, 0, sizeof s->head);
	s->head.time = bpf_ktime_get_ns();
	s->head.waited = s->head.time - *since;
	s->head.start = next->group_leader->start_boottime;
	s->head.pid = next->tgid;
	s->head.tid = tid;
	s->head.cpu = bpf_get_smp_processor_id();
	s->head.kind = KIND_WOKEN;
	bpf_map_delete_elem(&waiting, &tid);
	if (bpf_ringbuf_output(&ring, s, sizeof s->head, BPF_RB_NO_WAKEUP))
		count(COUNTER_OFF_CPU_LOST);
}

static always_inline void finish_off_cpu(struct walk_state *s)
{
	u32 tid = s->head.tid;
	u64 since = s->head.time;
	if (send(s) || bpf_map_update_elem(&waiting, &tid, &since, BPF_ANY))
		count(COUNTER_OFF_CPU_LOST);
	else
		count(COUNTER_OFF_CPU);
}

SEC("tp_btf/sched_switch")
int off_cpu_python(u64 *ctx)
{
	u32 slot = SLOT_SWITCH;
	struct walk_state *s = bpf_map_lookup_elem(&walks, &slot);
	if (!s)
		return 0;
	python_stack(slot);
	finish_off_cpu(s);
	return 0;
}

/* The arguments are: preempted, the thread that leaves, the thread that comes. */
SEC("tp_btf/sched_switch")
int off_cpu(u64 *ctx)
{
	u32 slot = SLOT_SWITCH;
	struct walk_state *s = bpf_map_lookup_elem(&walks, &slot);
	if (!s)
		return 0;
	woken(s, (struct task_struct *)ctx[2]);
	struct task_struct *prev = (struct task_struct *)ctx[1];
	if (prev->__state == 0 || prev->__state & TASK_DEAD || !prev->mm || bpf_get_prandom_u32() > off_cpu_share)
		return 0;
	begin(s, prev, KIND_BLOCKED);
	kernel_stack(s, ctx);
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(prev);
	take(s, regs, !in_syscall(regs));
	u32 flags = walk_user(s, slot);
	if (flags & PROCESS_DROP)
		return 0;
	if (with_python && flags & PROCESS_PYTHON)
		bpf_tail_call(ctx, &after_off_cpu, 0);
	finish_off_cpu(s);
	return 0;
}
