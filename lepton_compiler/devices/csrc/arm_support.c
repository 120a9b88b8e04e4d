/* What LLVM calls on 32-bit ARM for arithmetic of 64 bits: kernels are linked with nothing, so the agent has it.
 *
 * The functions are known by these names because the linker renames what kernels call (--wrap): under their own names
 * the agent has them already, from the compiler's library, where they are hidden. */
#if defined(__arm__)

#include <stdint.h>

int64_t __wrap___divdi3(int64_t a, int64_t b);
int64_t __wrap___moddi3(int64_t a, int64_t b);
uint64_t __wrap___udivdi3(uint64_t a, uint64_t b);
uint64_t __wrap___umoddi3(uint64_t a, uint64_t b);
int64_t __wrap___fixsfdi(float value);
int64_t __wrap___fixdfdi(double value);
uint64_t __wrap___fixunssfdi(float value);
uint64_t __wrap___fixunsdfdi(double value);
float __wrap___floatdisf(int64_t value);
double __wrap___floatdidf(int64_t value);
float __wrap___floatundisf(uint64_t value);
double __wrap___floatundidf(uint64_t value);
void __wrap___aeabi_unwind_cpp_pr0(void);

int64_t __wrap___divdi3(int64_t a, int64_t b) { return a / b; }
int64_t __wrap___moddi3(int64_t a, int64_t b) { return a % b; }
uint64_t __wrap___udivdi3(uint64_t a, uint64_t b) { return a / b; }
uint64_t __wrap___umoddi3(uint64_t a, uint64_t b) { return a % b; }

int64_t __wrap___fixsfdi(float value) { return (int64_t)value; }
int64_t __wrap___fixdfdi(double value) { return (int64_t)value; }
uint64_t __wrap___fixunssfdi(float value) { return (uint64_t)value; }
uint64_t __wrap___fixunsdfdi(double value) { return (uint64_t)value; }
float __wrap___floatdisf(int64_t value) { return (float)value; }
double __wrap___floatdidf(int64_t value) { return (double)value; }
float __wrap___floatundisf(uint64_t value) { return (float)value; }
double __wrap___floatundidf(uint64_t value) { return (double)value; }

/* Named by unwind tables, which nobody reads: kernels raise nothing. */
void __wrap___aeabi_unwind_cpp_pr0(void) {}

#endif
