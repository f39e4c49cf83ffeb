// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// The walk of CPython's own stack: interpreters, their threads, the frames of the thread
// that runs. Where the fields are depends on the version; user space says it for each
// process. A program of its own, reached by a tail call, so that it costs nothing to
// processes without Python and nothing of the sampling program's verifier budget.
#pragma once
#include "unwind.h"

enum python_entry {     /* how a frame that C has called in is told from one that Python has */
	ENTRY_EVERY,    /* 3.8 to 3.10: all are */
	ENTRY_IS_ENTRY, /* 3.11: a byte of the frame says so */
	ENTRY_SHIM,     /* 3.12 and later: a frame owned by the C stack follows */
};
SHOW(python_entry);

struct python_process {
	u64 interpreters;   /* address of _PyRuntime.interpreters.head */
	u32 threads;        /* offset in PyInterpreterState */
	u32 interpreter_next;
	u32 thread_next;    /* offsets in PyThreadState */
	u32 thread_id;
	u32 thread_frame;
	u32 cframe_frame;   /* where thread_frame points at a _PyCFrame: offset there; else NO_CFRAME */
	u32 frame_previous; /* offsets in a frame */
	u32 frame_code;
	u32 frame_instruction;
	u32 instruction_bytes; /* 4 or 8 */
	u32 frame_entry;       /* of the byte that says what enum python_entry asks */
	u32 entry;
};
#define NO_CFRAME 0xffffffff

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, u32);
	__type(value, struct python_process);
} pythons SEC(".maps");

#define PYTHON_THREADS 256
#define ENTRY_FLAG (1ULL << 63)
#define OWNED_BY_C 3

/* Finds the state of the thread that runs, by its ID, which is pthread_self(), and leaves its
   topmost frame in s->frame; returns 1 when there is none. */
noinline int python_thread(u32 slot)
{
	struct walk_state *s = bpf_map_lookup_elem(&walks, &slot);
	if (!s)
		return 1;
	u32 pid = s->head.pid;
	struct python_process *p = bpf_map_lookup_elem(&pythons, &pid);
	if (!p)
		return 1;
	u64 interpreter, thread = 0, id;
	if (read_word(&interpreter, p->interpreters) || interpreter == 0)
		return 1;
	for (int i = 0; i < PYTHON_THREADS; i++) {
		if (thread == 0) { /* the next interpreter's threads; all but servers have one */
			if (interpreter == 0 || read_word(&thread, interpreter + p->threads) ||
			    read_word(&interpreter, interpreter + p->interpreter_next) || thread == 0)
				return 1;
		}
		if (read_word(&id, thread + p->thread_id))
			return 1;
		if (IS_THREAD(id, s->thread_pointer)) {
			u64 frame;
			if (read_word(&frame, thread + p->thread_frame))
				return 1;
			if (p->cframe_frame != NO_CFRAME && read_word(&frame, frame + p->cframe_frame))
				return 1;
			s->frame = frame;
			return 0;
		}
		if (read_word(&thread, thread + p->thread_next))
			return 1;
	}
	return 1;
}

/* Notes the frame at s->frame and moves to the one that called it; returns 1 at the end. */
noinline int python_frame(u32 slot)
{
	struct walk_state *s = bpf_map_lookup_elem(&walks, &slot);
	if (!s || s->frame == 0)
		return 1;
	u32 pid = s->head.pid;
	struct python_process *p = bpf_map_lookup_elem(&pythons, &pid);
	if (!p)
		return 1;
	u64 code = 0, instruction = 0, previous = 0, frame = s->frame;
	u8 entry = 0;
	if (read_word(&code, frame + p->frame_code) || read_word(&previous, frame + p->frame_previous))
		return 1;
	s->frame = previous;
	u32 at = s->head.kernel + s->head.user + 2 * s->head.python;
	if (p->entry != ENTRY_EVERY)
		bpf_probe_read_user(&entry, 1, (void *)(frame + p->frame_entry));
	if (p->entry == ENTRY_SHIM && entry == OWNED_BY_C) {
		if (s->head.python)
			s->words[(at - 2) & (WORDS - 1)] |= ENTRY_FLAG;
		return 0;
	}
	if (p->instruction_bytes == 4)
		bpf_probe_read_user(&instruction, 4, (void *)(frame + p->frame_instruction));
	else
		bpf_probe_read_user(&instruction, 8, (void *)(frame + p->frame_instruction));
	if (p->entry == ENTRY_EVERY || (p->entry == ENTRY_IS_ENTRY && entry))
		code |= ENTRY_FLAG;
	s->words[at & (WORDS - 1)] = code;
	s->words[(at + 1) & (WORDS - 1)] = instruction;
	s->head.python++;
	return 0;
}

static always_inline void python_stack(u32 slot)
{
	struct walk_state *s = bpf_map_lookup_elem(&walks, &slot);
	if (!s)
		return;
	s->thread_pointer = THREAD_POINTER(bpf_get_current_task_btf());
	if (python_thread(slot)) {
		count(COUNTER_PYTHON_NO_THREAD);
		return;
	}
	count(COUNTER_PYTHON);
	for (int i = 0; i < PYTHON_FRAMES; i++)
		if (python_frame(slot))
			return;
	if (s->frame)
		count(COUNTER_PYTHON_TRUNCATED);
}
