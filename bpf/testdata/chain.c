// A chain of calls whose frames are hard to walk without unwind tables: alloca, arguments
// on the stack, a system call, a callback through libc, a signal handler. The argument
// chooses where it spends its time.
#include <alloca.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>
#define NOINLINE __attribute__((noinline, noclone))

enum { SPIN, SYSCALL, QSORT, SIGNAL };
volatile unsigned long sink;
static volatile int mode;
static int zero;
static char *buf;

NOINLINE unsigned long leaf_spin(unsigned n)
{
	unsigned long x = n;
	for (unsigned i = 0; i < 200000; i++)
		x = x * 2862933555777941757UL + 3037000493UL;
	sink += x;
	return x;
}
NOINLINE unsigned long leaf_sys(unsigned n)
{
	ssize_t r = 0;
	for (int i = 0; i < 20; i++)
		r += read(zero, buf, 65536);
	sink += r;
	return r;
}
NOINLINE unsigned long f5(unsigned n)
{
	char b[64];
	memset(b, n, sizeof b);
	sink += b[n & 63];
	unsigned long r = mode == SYSCALL ? leaf_sys(n) : leaf_spin(n);
	return r + b[3];
}
NOINLINE unsigned long f4(unsigned n)
{
	char *p = alloca(32 + (n & 255));
	memset(p, 1, 32);
	unsigned long r = f5(n + p[3]);
	return r + p[5];
}
static int compare(const void *a, const void *b)
{
	sink += f4(3);
	return *(int *)a - *(int *)b;
}
NOINLINE unsigned long f3(unsigned n)
{
	int a[4] = {4, 3, 2, 1};
	if (mode == QSORT) {
		qsort(a, 4, sizeof(int), compare);
		return a[0] + f4(n);
	}
	return f4(n) + 1;
}
NOINLINE unsigned long f2(unsigned n, unsigned a, unsigned b, unsigned c, unsigned d, unsigned e, unsigned f, unsigned g)
{
	unsigned long r = f3(n + g);
	return r + a + b + c + d + e + f;
}
NOINLINE unsigned long f1(unsigned n)
{
	unsigned long r = 0;
	for (int i = 0; i < 2; i++)
		r += f2(n, 1, 2, 3, 4, 5, 6, 7 + i);
	return r;
}
static void handler(int s)
{
	for (int i = 0; i < 3; i++)
		sink += leaf_spin(i);
}
int main(int argc, char **argv)
{
	mode = argc > 1 ? atoi(argv[1]) : SPIN;
	zero = open("/dev/zero", O_RDONLY);
	buf = malloc(65536);
	if (mode == SIGNAL) {
		struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_RESTART};
		sigaction(SIGALRM, &sa, 0);
		struct itimerval it = {{0, 2000}, {0, 2000}};
		setitimer(ITIMER_REAL, &it, 0);
	}
	for (unsigned n = 0;;)
		sink += f1(n++);
}
