#include "CSystemd.h"
#include <dlfcn.h>
#include <stddef.h>

// The name of its interface's version, which its packages have.
static const char library_name[] = "libsystemd.so.0";

const struct systemd *systemd_load(const char **complaint) {
    static struct systemd functions;
    void *library = dlopen(library_name, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        *complaint = dlerror();
        return NULL;
    }
#define LOAD(name) \
    if ((functions.name = (__typeof__(name) *)dlsym(library, #name)) == NULL) { \
        *complaint = dlerror(); \
        return NULL; \
    }
    SYSTEMD_FUNCTIONS(LOAD)
#undef LOAD
    return &functions;
}
