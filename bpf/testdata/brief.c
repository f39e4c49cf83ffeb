// Works for some milliseconds and ends.
#define NOINLINE __attribute__((noinline, noclone))

volatile unsigned long sink;

NOINLINE void brief_leaf(unsigned n)
{
	unsigned long x = n;
	for (unsigned i = 0; i < 100000; i++)
		x = x * 2862933555777941757UL + 3037000493UL;
	sink += x;
}
NOINLINE void brief_work(unsigned n)
{
	brief_leaf(n);
	sink++;
}
int main(void)
{
	for (unsigned n = 0; n < 100; n++)
		brief_work(n);
	return 0;
}
