// Works on one CPU, 22 calls deep, for some seconds, and prints how much it did in a second of
// its own CPU time: work CPU SECONDS.
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#define NOINLINE __attribute__((noinline, noclone))
volatile unsigned long sink;
NOINLINE unsigned long leaf(unsigned n)
{
	unsigned long x = n;
	for (unsigned i = 0; i < 2000; i++)
		x = x * 2862933555777941757UL + 3037000493UL;
	return x;
}
NOINLINE unsigned long deep(int k, unsigned n)
{
	char b[40];
	b[k & 31] = n;
	sink += b[n & 31];
	unsigned long r = k ? deep(k - 1, n) + 1 : leaf(n);
	return r + b[k & 31];
}
static double now(int clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}
int main(int argc, char **argv)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(atoi(argv[1]), &set);
	sched_setaffinity(0, sizeof set, &set);
	double end = now(CLOCK_MONOTONIC) + atof(argv[2]), began = now(CLOCK_PROCESS_CPUTIME_ID);
	long n = 0;
	while (now(CLOCK_MONOTONIC) < end)
		for (int i = 0; i < 50; i++, n++)
			sink += deep(20, n);
	double cpu = now(CLOCK_PROCESS_CPUTIME_ID) - began;
	printf("%f %f\n", n / cpu, cpu);
}
