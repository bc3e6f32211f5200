#define _GNU_SOURCE 1
#include "CLinux.h"
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <linux/nsfs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int linux_enter_network_namespace(int fd) { return setns(fd, CLONE_NEWNET); }

int linux_make_network_namespace(void) { return unshare(CLONE_NEWNET); }

int linux_take_name(const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(name);
    if (length + 1 > sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    // An abstract name begins with a zero, and none ends it.
    memcpy(address.sun_path + 1, name, length);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
    if (bind(fd, (struct sockaddr *)&address, size) == 0) return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

int linux_is_network_namespace(int fd, unsigned long *magic) {
    struct statfs file_system;
    if (fstatfs(fd, &file_system) < 0) return -1;
    *magic = (unsigned long)file_system.f_type;
    if (file_system.f_type != NSFS_MAGIC) return 0;
    int type = ioctl(fd, NS_GET_NSTYPE);
    return type < 0 ? -1 : type == CLONE_NEWNET;
}

int linux_rename_new(int at, const char *from, const char *to) {
    if (renameat2(at, from, at, to, RENAME_NOREPLACE) == 0) return 0;
    if (errno != EINVAL && errno != ENOSYS) return -1;
    if (linkat(at, from, at, to, 0) < 0) return -1;
    return unlinkat(at, from, 0);
}

int linux_open_beneath(int at, const char *path, int flags) {
    struct open_how how = {
        .flags = (uint64_t)flags,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    return (int)syscall(SYS_openat2, at, path, &how, sizeof how);
}

int linux_is_procfs(int fd) {
    struct statfs file_system;
    if (fstatfs(fd, &file_system) < 0) return -1;
    return file_system.f_type == PROC_SUPER_MAGIC;
}

int linux_openat(int at, const char *name, int flags, mode_t mode) {
    return openat(at, name, flags, mode);
}

int linux_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC); }

int linux_close_later(int fd) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) < 0) return -1;
    int held[] = {fd, ends[1]};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof held)];
    } rights = {.header = {
        .cmsg_len = CMSG_LEN(sizeof held), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    memcpy(CMSG_DATA(&rights.header), held, sizeof held);
    struct msghdr message = {.msg_control = &rights, .msg_controllen = sizeof rights.space};
    ssize_t sent = sendmsg(ends[0], &message, 0);
    int error = errno;
    close(ends[1]);
    if (sent >= 0) return ends[0];
    close(ends[0]);
    errno = error;
    return -1;
}

int64_t linux_milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int linux_set_modified(int fd, int64_t nanoseconds) {
    struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT},
        {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000},
    };
    return futimens(fd, times);
}

int64_t linux_modified(const struct stat *status) {
    return (int64_t)status->st_mtim.tv_sec * 1000000000 + status->st_mtim.tv_nsec;
}

int linux_open_tap(const char *name, int flags) {
    struct ifreq request = {.ifr_flags = (short)flags};
    if (strlen(name) >= sizeof request.ifr_name) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(request.ifr_name, name);
    int tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (tap < 0) return -1;
    if (ioctl(tap, TUNSETIFF, &request) == 0) return tap;
    int error = errno;
    close(tap);
    errno = error;
    return -1;
}

int linux_keep_tap(int tap, int64_t owner, int64_t group) {
    if (owner >= 0 && ioctl(tap, TUNSETOWNER, (unsigned long)owner) < 0) return -1;
    if (group >= 0 && ioctl(tap, TUNSETGROUP, (unsigned long)group) < 0) return -1;
    return ioctl(tap, TUNSETPERSIST, 1ul);
}

uint64_t linux_cgroup(const char *path) {
    // Where both versions are in use, the second one has a place of its own.
    static const char *const roots[] = {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"};
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) {
        struct statfs kind;
        if (statfs(roots[i], &kind) != 0 || kind.f_type != CGROUP2_SUPER_MAGIC)
            continue;
        int root = open(roots[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
        struct stat found;
        bool is_there = root >= 0 && fstatat(root, path, &found, 0) == 0 && S_ISDIR(found.st_mode);
        if (root >= 0)
            close(root);
        return is_there ? found.st_ino : 0;
    }
    return 0;
}

// Where a child's exit status tells of an error before the tap: no number of an error is as high.
enum { LABEL_FAILED = 192 };

int linux_make_tap_as(
    const char *context, const char *name, int flags, int64_t owner, int64_t group, int *is_label
) {
    // Where the caller's parent ignores its children's ends, this one's would never be told.
    signal(SIGCHLD, SIG_DFL);
    pid_t child = fork();
    if (child < 0) return -1;
    if (child == 0) {
        int label = open("/proc/thread-self/attr/current", O_WRONLY | O_CLOEXEC);
        // The context's end goes with it, as in libselinux.
        if (label < 0 || write(label, context, strlen(context) + 1) < 0)
            _exit(LABEL_FAILED + (errno & 63));
        int tap = linux_open_tap(name, flags);
        _exit(tap < 0 || linux_keep_tap(tap, owner, group) < 0 ? errno : 0);
    }
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return -1;
    int error = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
    *is_label = error >= LABEL_FAILED;
    errno = *is_label ? error - LABEL_FAILED : error;
    return error == 0 ? 0 : -1;
}

int linux_load_classifier(const struct bpf_insn *instructions, uint32_t count) {
    union bpf_attr attributes = {
        .prog_type = BPF_PROG_TYPE_SCHED_CLS,
        .insns = (uintptr_t)instructions,
        .insn_cnt = count,
        .license = (uintptr_t)"Apache-2.0",
        .prog_name = "swift_cni",
    };
    return (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes);
}

int linux_hold_program(uint32_t id) {
    union bpf_attr attributes = {.prog_id = id};
    return (int)syscall(SYS_bpf, BPF_PROG_GET_FD_BY_ID, &attributes, sizeof attributes);
}
