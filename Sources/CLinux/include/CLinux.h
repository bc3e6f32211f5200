/// The kernel's own headers, and the few calls that Swift's Glibc module hides.
///
/// Constants and structures come from here, so that none is typed a second time in Swift.
///
/// Without _GNU_SOURCE, as Swift's Glibc module is: with it, their two definitions of fd_set
/// would differ, and the compiler refuse whichever it reads second.
#pragma once
#include <fcntl.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <linux/bpf.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_arp.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/ipv6_route.h>
#include <linux/gen_stats.h>
#include <linux/if_tun.h>
#include <linux/magic.h>
#include <linux/neighbour.h>
#include <linux/if_ether.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netfilter/xt_addrtype.h>
#include <linux/netfilter/xt_comment.h>
#include <linux/netfilter/xt_conntrack.h>
#include <linux/netfilter/xt_mark.h>
#include <linux/netfilter/xt_multiport.h>
#include <linux/netfilter/xt_sctp.h>
#include <linux/net_namespace.h>
#include <linux/netlink.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>
#include <linux/veth.h>

/// Moves the calling thread into the network namespace behind `fd`: setns(2) with CLONE_NEWNET.
/// Returns 0, or -1 with errno set.
int linux_enter_network_namespace(int fd);

/// Moves the calling thread into a network namespace of its own: unshare(2) with CLONE_NEWNET.
/// Returns 0, or -1 with errno set.
int linux_make_network_namespace(void);

/// Opens a socket that has the abstract name `name` of unix(7) in the calling thread's network namespace, where
/// one socket at most can have it. Returns a descriptor, or -1 with errno set: EADDRINUSE if another has it.
int linux_take_name(const char *name);

/// Whether `fd` is a network namespace: nsfs by statfs(2), CLONE_NEWNET by NS_GET_NSTYPE.
/// Returns 1 or 0, or -1 with errno set. `magic` receives the file system's type.
int linux_is_network_namespace(int fd, unsigned long *magic);

/// Opens `path` below the directory `at` with openat2(2), refusing symbolic and magic links on
/// every component and any way out of `at`. Returns a descriptor, or -1 with errno set.
int linux_open_beneath(int at, const char *path, int flags);

/// Renames `from` to `to` in directory `at` with renameat2(2) and RENAME_NOREPLACE, or with link(2)
/// and unlink(2) where the file system cannot. Returns 0, or -1 with errno set, EEXIST if there is a `to`.
int linux_rename_new(int at, const char *from, const char *to);

/// The number of the cgroup of version 2 at `path` below the root, or 0 if there is none.
uint64_t linux_cgroup(const char *path);

/// Whether `fd` lies on procfs. Returns 1 or 0, or -1 with errno set.
int linux_is_procfs(int fd);

/// Opens `name` in directory `at` with `mode` for a new file; Swift cannot call variadic openat(2).
int linux_openat(int at, const char *name, int flags, mode_t mode);

/// A pipe whose ends a program started from here does not inherit: pipe2(2) with O_CLOEXEC.
int linux_pipe(int ends[2]);

/// Leaves the closing of `fd` to the kernel: a message in the queue of a socket that only this message
/// refers to holds it, and the kernel's collector of such sockets closes it in a thread of its own, since
/// Linux 6.9; see unix(7) and net/unix/garbage.c. The caller closes its own descriptor as always, and then
/// the one that this returns, which makes the kernel collect. Returns -1 with errno set where it cannot.
int linux_close_later(int fd);

/// Milliseconds on CLOCK_MONOTONIC. Swift's clocks would bring the concurrency runtime into the
/// program, and its start-up with it.
int64_t linux_milliseconds(void);

/// Sets only the modification time of `fd`, in nanoseconds since 1970: futimens(2).
int linux_set_modified(int fd, int64_t nanoseconds);

/// The modification time of `status`, in nanoseconds since 1970.
int64_t linux_modified(const struct stat *status);

/// Opens the tap `name` of the calling thread's namespace with `flags`, IFF_* of if_tun.h, making it
/// if there is none. Returns a descriptor, with which a tap that is not kept goes, or -1 with errno set.
int linux_open_tap(const char *name, int flags);

/// Keeps a tap without its descriptor; its owner and group, where not negative, may open it.
/// Returns 0, or -1 with errno set.
int linux_keep_tap(int tap, int64_t owner, int64_t group);

/// Makes and keeps a tap in a process of its own that has the SELinux context `context`: the kernel
/// gives the tap its maker's, and no other process's changes. `flags`, `owner` and `group` are as above.
/// Returns 0, or -1 with errno set; then `is_label` tells whether it was the context that was refused.
int linux_make_tap_as(
    const char *context, const char *name, int flags, int64_t owner, int64_t group, int *is_label);

/// Where a classifier finds the priority and the mark of a packet: bytes into struct __sk_buff.
enum { LINUX_PACKET_PRIORITY = offsetof(struct __sk_buff, priority), LINUX_PACKET_MARK = offsetof(struct __sk_buff, mark) };

/// Loads `count` instructions as a classifier of traffic control: bpf(2) with BPF_PROG_LOAD.
/// Returns a descriptor, or -1 with errno set.
int linux_load_classifier(const struct bpf_insn *instructions, uint32_t count);

/// Opens the program of the kernel's number `id`: bpf(2) with BPF_PROG_GET_FD_BY_ID. It stays for as
/// long as the descriptor does. Returns it, or -1 with errno set.
int linux_hold_program(uint32_t id);
