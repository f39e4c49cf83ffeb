"""A Python program that can be profiled: it burns CPU in two threads and allocates.

python3 main.py 127.0.0.1:6062
"""

import sys
import threading
import time

import pprof_http


def burn(seconds):
    x, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        for i in range(1000):
            x = (x * 3 + i) & 0xFFFF
    return x


def allocate():
    return [str(i) for i in range(1000)]


def background():
    while True:
        burn(0.003)
        time.sleep(0.05)


def main():
    host, port = (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:6062").split(":")
    print("%s:%d" % pprof_http.serve(host, int(port)), flush=True)
    threading.Thread(target=background, name="background", daemon=True).start()
    kept = []
    while True:
        burn(0.005)
        kept = kept[-20:] + [allocate()]
        time.sleep(0.05)


if __name__ == "__main__":
    main()
