// Spends three quarters of its time in heavy and one quarter in light.
#define NOINLINE __attribute__((noinline, noclone))
volatile unsigned long sink;
NOINLINE void spin(unsigned long n)
{
	unsigned long x = n;
	for (unsigned long i = 0; i < n; i++)
		x = x * 2862933555777941757UL + 3037000493UL;
	sink += x;
}
NOINLINE void heavy(void) { spin(300000); sink++; }
NOINLINE void light(void) { spin(100000); sink++; }
int main(void)
{
	for (;;) {
		heavy();
		light();
	}
}
