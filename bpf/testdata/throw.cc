// Throws through several frames and does its work in a catch block.
#include <stdexcept>
#include <string>
#define NOINLINE __attribute__((noinline))
volatile unsigned long sink;
namespace work {
NOINLINE void spin() {
	unsigned long x = 1;
	for (unsigned i = 0; i < 200000; i++)
		x = x * 2862933555777941757UL + 3037000493UL;
	sink = sink + x;
}
template <typename T> struct Thrower {
	NOINLINE void deep(int n) {
		if (n == 0)
			throw std::runtime_error(std::string("deep"));
		deep(n - 1);
		sink = sink + 1;
	}
};
NOINLINE void caught() {
	Thrower<int> t;
	try {
		t.deep(8);
	} catch (const std::exception &e) {
		spin();
		sink = sink + e.what()[0];
	}
}
}
int main() {
	for (;;) {
		work::caught();
		sink = sink + 1;
	}
}
