// Argument 1: calls a tiny function of libc through the linkage table, so that some samples
// fall into the table itself. Argument 2: asks the time of the vdso. Argument 3: loads the
// library given as the next argument after a second and spends its time there.
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#define NOINLINE __attribute__((noinline, noclone))
volatile unsigned long sink;
NOINLINE void through_plt(void)
{
	for (int i = 0; i < 100000; i++)
		sink += abs(-(int)sink) + (unsigned long)getenv;
	sink++;
}
NOINLINE void call_abs(void)
{
	for (int i = 0; i < 100000; i++)
		sink += labs((long)sink) + ffs((int)sink);
	sink++;
}
NOINLINE void ask_time(void)
{
	struct timespec t;
	for (int i = 0; i < 10000; i++) {
		clock_gettime(CLOCK_MONOTONIC, &t);
		sink += t.tv_nsec;
	}
	sink++;
}
int main(int argc, char **argv)
{
	switch (atoi(argv[1])) {
	case 1:
		for (;;)
			call_abs();
	case 2:
		for (;;)
			ask_time();
	case 3:
		sleep(1);
		void *lib = dlopen(argv[2], RTLD_NOW);
		void (*entry)(void) = (void (*)(void))dlsym(lib, "lib_entry");
		for (;;) {
			entry();
			sink++;
		}
	}
}
