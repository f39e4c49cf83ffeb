// A process whose first thread ends and whose second works on.
#include <pthread.h>
#define NOINLINE __attribute__((noinline, noclone))
volatile unsigned long sink;
NOINLINE void spin(void)
{
	unsigned long x = 1;
	for (unsigned i = 0; i < 200000; i++)
		x = x * 2862933555777941757UL + 3037000493UL;
	sink += x;
}
NOINLINE void *work(void *arg)
{
	for (;;) {
		spin();
		sink++;
	}
}
int main(void)
{
	pthread_t t;
	pthread_create(&t, 0, work, 0);
	pthread_exit(0);
}
