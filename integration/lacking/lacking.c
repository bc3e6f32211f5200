// A kernel that lacks things, for tests: loaded into a program with LD_PRELOAD, this changes the names
// of what LACKING lists (`ifb htb tbf fwd egress`) in the netlink messages that the program sends, so
// that the kernel gives the answer that it has for what it does not know.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

// Spoils every attribute that is the name, wherever it is nested.
static void spoil_name(char *message, size_t length, const char *name)
{
    size_t size = strlen(name) + 1;
    for (size_t at = 0; at + NLA_HDRLEN + size <= length; at += NLA_ALIGNTO) {
        struct nlattr *attribute = (struct nlattr *)(message + at);
        if (attribute->nla_len == NLA_HDRLEN + size && !memcmp(attribute + 1, name, size))
            *(char *)(attribute + 1) = '?';
    }
}

// Spoils the hook of a netdev table's chain on what a link is about to send.
static void spoil_egress(char *message, size_t length)
{
    struct nlmsghdr *header = (struct nlmsghdr *)message;
    struct nfgenmsg *fixed = NLMSG_DATA(header);
    if (header->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN)
        || fixed->nfgen_family != NFPROTO_NETDEV)
        return;
    static const unsigned char hook[] = {8, 0, NFTA_HOOK_HOOKNUM, 0, 0, 0, 0, (unsigned char)NF_NETDEV_EGRESS};
    for (size_t at = NLMSG_HDRLEN; at + sizeof hook <= length; at += NLA_ALIGNTO)
        if (!memcmp(message + at, hook, sizeof hook))
            message[at + 7] = 9;
}

ssize_t sendto(int fd, const void *bytes, size_t length, int flags, const struct sockaddr *to, socklen_t size)
{
    static ssize_t (*real)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "sendto");
    char *list = strdup(getenv("LACKING") ?: ""), *copy = malloc(length);
    memcpy(copy, bytes, length);
    for (char *word = strtok(list, " "); word; word = strtok(NULL, " ")) {
        size_t at = 0;
        while (at + NLMSG_HDRLEN <= length) {
            struct nlmsghdr *message = (struct nlmsghdr *)(copy + at);
            if (message->nlmsg_len < NLMSG_HDRLEN || at + message->nlmsg_len > length)
                break;
            if (!strcmp(word, "egress"))
                spoil_egress((char *)message, message->nlmsg_len);
            else
                spoil_name((char *)message, message->nlmsg_len, word);
            at += NLMSG_ALIGN(message->nlmsg_len);
        }
    }
    ssize_t sent = real(fd, copy, length, flags, to, size);
    free(copy);
    free(list);
    return sent;
}
