"""Offers a Python program's profiles as pprof over HTTP, with nothing but the standard library.

    import pprof_http
    pprof_http.serve("127.0.0.1", 6062)     # once, in the main thread

GET /debug/pprof/profile?seconds=10   CPU time of all threads, at 100 Hz
GET /debug/pprof/heap                 what is allocated at this moment, by tracemalloc

A timer of the process' CPU time interrupts the main thread, which then looks at what every
thread is doing; of them those count that have used CPU time since the last look.
"""

import collections
import functools
import gzip
import http.server
import linecache
import re
import signal
import sys
import threading
import time
import tracemalloc
import urllib.parse

HZ = 100
MAX_SECONDS = 600


class _Writer:
    """Writes the message of profile.proto: https://github.com/google/pprof/blob/main/proto/profile.proto."""

    def __init__(self):
        self._strings = {"": 0}
        self._functions = {}
        self._locations = {}
        self._out = bytearray()

    def string(self, text):
        return self._strings.setdefault(text, len(self._strings))

    @staticmethod
    def varint(n):
        out = bytearray()
        while n > 0x7F:
            out.append(n & 0x7F | 0x80)
            n >>= 7
        out.append(n)
        return bytes(out)

    def number(self, field, n):
        return self.varint(field << 3) + self.varint(n)

    def message(self, field, body):
        return self.varint(field << 3 | 2) + self.varint(len(body)) + body

    def add(self, field, *parts):
        self._out += self.message(field, b"".join(parts))

    def location(self, name, file, first_line, line):
        function = self._functions.get((name, file, first_line))
        if function is None:
            function = self._functions[name, file, first_line] = len(self._functions) + 1
            s, n = self.string, self.number
            self.add(5, n(1, function), n(2, s(name)), n(3, s(name)), n(4, s(file)), n(5, first_line))
        location = self._locations.get((function, line))
        if location is None:
            location = self._locations[function, line] = len(self._locations) + 1
            self.add(4, self.number(1, location), self.message(4, self.number(1, function) + self.number(2, line)))
        return location

    def value_type(self, field, kind, unit):
        self.add(field, self.number(1, self.string(kind)), self.number(2, self.string(unit)))

    def sample(self, stack, values, labels=()):
        locations = b"".join(self.varint(self.location(*frame)) for frame in stack)
        parts = [self.message(1, locations), self.message(2, b"".join(map(self.varint, values)))]
        for key, text in labels:
            parts.append(self.message(3, self.number(1, self.string(key)) + self.number(2, self.string(text))))
        self.add(2, *parts)

    def finish(self, period, began=None, seconds=0):
        self._out += self.number(9, int((began or time.time()) * 1e9)) + self.number(10, int(seconds * 1e9)) + self.number(12, period)
        for text in self._strings:
            self.add(6, text.encode())
        return gzip.compress(bytes(self._out))


def _stack(frame):
    """Frames of a thread, leaf first."""
    while frame is not None:
        code = frame.f_code
        yield getattr(code, "co_qualname", code.co_name), code.co_filename, code.co_firstlineno, frame.f_lineno or 0
        frame = frame.f_back


def _thread_seconds():
    """CPU time of each thread, by Python's number of it."""
    used = {}
    for thread in threading.enumerate():
        try:
            with open(f"/proc/self/task/{thread.native_id}/schedstat", encoding="ascii") as f:
                used[thread.ident] = int(f.read().split()[0])
        except (OSError, ValueError, IndexError):
            used[thread.ident] = -1  # unknown: it counts whenever it is seen
    return used


class _Sampler:
    def __init__(self):
        self.one = threading.Lock()
        self._counts = None
        self._used = {}
        signal.signal(signal.SIGPROF, self._look)

    def _look(self, _signal, interrupted):
        counts = self._counts
        if counts is None:
            return
        before, self._used = self._used, _thread_seconds()
        names = {t.ident: t.name for t in threading.enumerate()}
        for ident, frame in sys._current_frames().items():
            if ident == threading.get_ident():
                frame = interrupted  # not this function
            used = self._used.get(ident, -1)
            if used < 0 or used > before.get(ident, 0):
                counts[tuple(_stack(frame)), names.get(ident, "")] += 1

    def profile(self, seconds):
        with self.one:
            began = time.time()
            self._used = _thread_seconds()
            self._counts = counts = collections.Counter()
            signal.setitimer(signal.ITIMER_PROF, 1 / HZ, 1 / HZ)
            try:
                time.sleep(seconds)
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
                self._counts = None
            lasted = time.time() - began
        w = _Writer()
        w.value_type(1, "samples", "count")
        w.value_type(1, "cpu", "nanoseconds")
        w.value_type(11, "cpu", "nanoseconds")
        for (stack, name), n in list(counts.items()):  # a last look may still be under way
            w.sample(stack, (n, n * 1_000_000_000 // HZ), [("thread_name", name)])
        return w.finish(1_000_000_000 // HZ, began, lasted)


@functools.lru_cache(maxsize=10_000)
def _place(file, line):
    """Which function a line is in, by its indentation: tracemalloc does not say."""
    names, first, indent = [], 0, None
    for at in range(line, 0, -1):
        text = linecache.getline(file, at)
        depth = len(text) - len(text.lstrip())
        if not text.strip() or indent is not None and depth >= indent:
            continue
        begins = _DEFINITION.match(text)
        if begins and indent is not None:
            names.insert(0, begins[1])
            first = first or at
        indent = depth
        if depth == 0:
            break
    return ".".join(names) or "<module>", file, first, line


_DEFINITION = re.compile(r"\s*(?:async\s+def|def|class)\s+(\w+)")


def _heap():
    w = _Writer()
    w.value_type(1, "inuse_objects", "count")
    w.value_type(1, "inuse_space", "bytes")
    w.value_type(11, "space", "bytes")
    for stat in tracemalloc.take_snapshot().statistics("traceback"):
        w.sample([_place(f.filename, f.lineno) for f in reversed(stat.traceback)], (stat.count, stat.size))
    return w.finish(1)


def serve(host, port, frames=8):
    """Offers profiles from a thread of its own, and gives the address. It is called in the main thread.

    frames is how much of an allocation's stack is kept; 0 leaves the heap out, which costs nothing then.
    """
    sampler = _Sampler()
    if frames:
        tracemalloc.start(frames)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            url = urllib.parse.urlsplit(self.path)
            query = urllib.parse.parse_qs(url.query)
            if url.path == "/debug/pprof/profile":
                body = sampler.profile(min(float(query.get("seconds", ["10"])[0]), MAX_SECONDS))
            elif url.path == "/debug/pprof/heap" and frames:
                body = _heap()
            else:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                pass  # who asked has gone

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer((host, port), Handler)
    threading.Thread(target=server.serve_forever, name="pprof", daemon=True).start()
    return server.server_address
