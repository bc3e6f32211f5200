// The C library as CLinux has it, whichever of them is read first.
#define _GNU_SOURCE 1
#include <libmnl/libmnl.h>
