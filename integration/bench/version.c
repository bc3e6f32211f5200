// The start-up floor: answers VERSION as the plugins do, and is linked with libmnl as they are.

#include <libmnl/libmnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
    const char *command = getenv("CNI_COMMAND");
    if (!command || strcmp(command, "VERSION") != 0) return 1;
    // A call that the linker cannot leave out, so that libmnl is loaded.
    if (mnl_nlmsg_size(0) == 0) return 1;
    return puts("{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.1.0\",\"0.2.0\",\"0.3.0\","
                "\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}") < 0;
}
