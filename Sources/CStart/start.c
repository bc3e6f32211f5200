// What the Swift runtime does before main on behalf of programs in general, done for this one.
//
// Linked by `make build` alone, which puts the runtime into the program: a plugin runs for a
// millisecond, a tenth of which went into these two. Any other build works without.

#include <stddef.h>

static int count;
static char **words;

__attribute__((constructor(101))) static void keep(int argc, char **argv) {
    count = argc;
    words = argv;
}

// The arguments as the C library has them. The runtime looks for them on the stack, which it finds
// in /proc/self/maps.
char **__wrap__swift_stdlib_getUnsafeArgvArgc(int *length) {
    *length = count;
    return words;
}

void __wrap__swift_stdlib_overrideUnsafeArgvArgc(char **argv, int argc) {
    count = argc;
    words = argv;
}

// The runtime looks in seven directories for the program that draws backtraces of a crash. None is
// installed beside a plugin, whose standard error is the runtime's log.
char *__wrap_swift_copyAuxiliaryExecutablePath(const char *name) {
    (void)name;
    return NULL;
}
