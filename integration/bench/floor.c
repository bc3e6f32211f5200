// The floor under ADD and DEL of bridge with host-local: the kernel's share of the work and
// nothing else. No JSON, no reservations, no waiting, no looking at what is there.
//
// ADD makes in two batches what the plugins make: a pair of links with MTU and MAC, one end in
// the container and the other on a bridge, both up; two addresses; two default routes. DEL
// deletes the pair. The bridge is made by the first ADD and stays, as the plugins' does.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char bridge[] = "benchfloor";
static const char host_end[] = "benchfloor0";
static const unsigned char host_mac[] = {0x02, 0, 0, 0, 0, 0x01};
static const unsigned char container_mac[] = {0x02, 0, 0, 0, 0, 0x02};

enum {
    mtu = 1500,
    // Indexes of our own choice save asking which ones the kernel chose.
    host_index = 1000000,
    container_index = 1000,
};

static char buffer[16384];
static size_t used;
static unsigned int messages;

static void fail(const char *what) {
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static struct nlmsghdr *message(uint16_t type, uint16_t flags) {
    struct nlmsghdr *header = mnl_nlmsg_put_header(buffer + used);
    header->nlmsg_type = type;
    header->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    header->nlmsg_seq = ++messages;
    return header;
}

static void end(const struct nlmsghdr *header) { used += NLMSG_ALIGN(header->nlmsg_len); }

static struct mnl_socket *open_socket(void) {
    struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (!socket || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) fail("netlink socket");
    return socket;
}

// Sends the messages as one batch and reads an acknowledgement for each.
static void send_batch(struct mnl_socket *socket, const char *what) {
    if (mnl_socket_sendto(socket, buffer, used) < 0) fail(what);
    while (messages > 0) {
        char reply[8192];
        ssize_t count = mnl_socket_recvfrom(socket, reply, sizeof reply);
        if (count < 0) fail(what);
        int left = (int)count;
        for (struct nlmsghdr *header = (void *)reply; mnl_nlmsg_ok(header, left);
             header = mnl_nlmsg_next(header, &left)) {
            const struct nlmsgerr *error = mnl_nlmsg_get_payload(header);
            if (header->nlmsg_type != NLMSG_ERROR) continue;
            if (error->error) {
                errno = -error->error;
                fail(what);
            }
            messages--;
        }
    }
    used = 0;
}

static void make_bridge(struct mnl_socket *socket) {
    struct nlmsghdr *header = message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(header, sizeof *link);
    link->ifi_flags = link->ifi_change = IFF_UP;
    mnl_attr_put_strz(header, IFLA_IFNAME, bridge);
    struct nlattr *info = mnl_attr_nest_start(header, IFLA_LINKINFO);
    mnl_attr_put_str(header, IFLA_INFO_KIND, "bridge");
    mnl_attr_nest_end(header, info);
    end(header);
    send_batch(socket, "bridge");
}

static void make_pair(const char *interface, int container, uint32_t master) {
    struct nlmsghdr *header = message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(header, sizeof *link);
    link->ifi_index = host_index;
    link->ifi_flags = link->ifi_change = IFF_UP;
    mnl_attr_put_strz(header, IFLA_IFNAME, host_end);
    mnl_attr_put_u32(header, IFLA_MTU, mtu);
    mnl_attr_put(header, IFLA_ADDRESS, sizeof host_mac, host_mac);
    mnl_attr_put_u32(header, IFLA_MASTER, master);
    struct nlattr *info = mnl_attr_nest_start(header, IFLA_LINKINFO);
    mnl_attr_put_str(header, IFLA_INFO_KIND, "veth");
    struct nlattr *data = mnl_attr_nest_start(header, IFLA_INFO_DATA);
    struct nlattr *peer = mnl_attr_nest_start(header, VETH_INFO_PEER);
    link = mnl_nlmsg_put_extra_header(header, sizeof *link);
    // Not up yet: veth cannot open before its other end is there.
    link->ifi_index = container_index;
    mnl_attr_put_strz(header, IFLA_IFNAME, interface);
    mnl_attr_put_u32(header, IFLA_MTU, mtu);
    mnl_attr_put(header, IFLA_ADDRESS, sizeof container_mac, container_mac);
    mnl_attr_put_u32(header, IFLA_NET_NS_FD, (uint32_t)container);
    mnl_attr_nest_end(header, peer);
    mnl_attr_nest_end(header, data);
    mnl_attr_nest_end(header, info);
    end(header);
}

static void bring_up(int index) {
    struct nlmsghdr *header = message(RTM_NEWLINK, 0);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(header, sizeof *link);
    link->ifi_index = index;
    link->ifi_flags = link->ifi_change = IFF_UP;
    end(header);
}

static void put_address(struct nlmsghdr *header, uint16_t type, int family, const char *text) {
    unsigned char bytes[16];
    inet_pton(family, text, bytes);
    mnl_attr_put(header, type, family == AF_INET ? 4 : 16, bytes);
}

static void add_address(int family, const char *text, unsigned char length) {
    struct nlmsghdr *header = message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
    struct ifaddrmsg *address = mnl_nlmsg_put_extra_header(header, sizeof *address);
    address->ifa_family = (unsigned char)family;
    address->ifa_prefixlen = length;
    address->ifa_flags = family == AF_INET6 ? IFA_F_NODAD : 0;
    address->ifa_index = container_index;
    put_address(header, IFA_LOCAL, family, text);
    put_address(header, IFA_ADDRESS, family, text);
    end(header);
}

static void add_default_route(int family, const char *gateway) {
    struct nlmsghdr *header = message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
    struct rtmsg *route = mnl_nlmsg_put_extra_header(header, sizeof *route);
    route->rtm_family = (unsigned char)family;
    route->rtm_table = RT_TABLE_MAIN;
    route->rtm_protocol = RTPROT_BOOT;
    route->rtm_scope = RT_SCOPE_UNIVERSE;
    route->rtm_type = RTN_UNICAST;
    mnl_attr_put_u32(header, RTA_OIF, container_index);
    put_address(header, RTA_GATEWAY, family, gateway);
    end(header);
}

static void add(const char *interface, const char *netns) {
    int container = open(netns, O_RDONLY | O_CLOEXEC);
    if (container < 0) fail(netns);
    struct mnl_socket *host = open_socket();
    uint32_t master = if_nametoindex(bridge);
    if (!master) {
        make_bridge(host);
        master = if_nametoindex(bridge);
    }
    make_pair(interface, container, master);
    send_batch(host, "pair of links");

    if (setns(container, CLONE_NEWNET) < 0) fail("setns");
    struct mnl_socket *guest = open_socket();
    bring_up(container_index);
    add_address(AF_INET, "10.83.0.2", 16);
    add_address(AF_INET6, "fd00:83::2", 64);
    add_default_route(AF_INET, "10.83.0.1");
    add_default_route(AF_INET6, "fd00:83::1");
    send_batch(guest, "addresses and routes");
}

static void delete(void) {
    struct nlmsghdr *header = message(RTM_DELLINK, 0);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(header, sizeof *link);
    link->ifi_index = host_index;
    end(header);
    send_batch(open_socket(), "delete");
}

int main(void) {
    const char *command = getenv("CNI_COMMAND");
    const char *interface = getenv("CNI_IFNAME");
    const char *netns = getenv("CNI_NETNS");
    if (!command || !interface || !netns) return 1;
    if (strcmp(command, "ADD") == 0) {
        add(interface, netns);
    } else if (strcmp(command, "DEL") == 0) {
        delete();
    } else {
        return 1;
    }
    return 0;
}
