#define NOINLINE __attribute__((noinline, noclone))
volatile unsigned long lib_sink;
NOINLINE void lib_leaf(void)
{
	unsigned long x = 1;
	for (unsigned i = 0; i < 200000; i++)
		x = x * 2862933555777941757UL + 3037000493UL;
	lib_sink += x;
}
NOINLINE void lib_middle(void) { lib_leaf(); lib_sink++; }
void lib_entry(void) { lib_middle(); lib_sink++; }
