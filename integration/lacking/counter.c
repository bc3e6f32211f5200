// Another tool's program on a link, for tests: counts ICMP packets and lets all pass.
// A bridge's own IGMP reports would come and go in between.
//
// counter load FILE   loads the program, and pins it as FILE and its count as FILE-count
// counter read FILE   prints the count
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OP(c, d, s, o, i) ((struct bpf_insn){.code = c, .dst_reg = d, .src_reg = s, .off = o, .imm = i})

static int bpf(int command, union bpf_attr *attributes)
{
    int result = syscall(__NR_bpf, command, attributes, sizeof *attributes);
    if (result < 0) {
        perror("bpf");
        exit(1);
    }
    return result;
}

static void pin(int fd, const char *path)
{
    union bpf_attr attributes = {.pathname = (unsigned long)path, .bpf_fd = fd};
    bpf(BPF_OBJ_PIN, &attributes);
}

static void load(const char *path)
{
    union bpf_attr array = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1};
    int map = bpf(BPF_MAP_CREATE, &array);
    struct bpf_insn program[] = {
        // Other protocols pass by; 8 is ETH_P_IP in the network's order.
        OP(BPF_LDX | BPF_MEM | BPF_W, 2, 1, offsetof(struct __sk_buff, protocol), 0),
        OP(BPF_JMP | BPF_JNE | BPF_K, 2, 0, 12, 8),
        // The load of a byte of the frame reads its context in register 6.
        OP(BPF_ALU64 | BPF_MOV | BPF_X, 6, 1, 0, 0),
        OP(BPF_LD | BPF_ABS | BPF_B, 0, 0, 0, ETH_HLEN + offsetof(struct iphdr, protocol)),
        OP(BPF_JMP | BPF_JNE | BPF_K, 0, 0, 9, IPPROTO_ICMP),
        OP(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, 0),
        OP(BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0),
        OP(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -4),
        OP(BPF_LD | BPF_DW | BPF_IMM, 1, BPF_PSEUDO_MAP_FD, 0, map),
        OP(0, 0, 0, 0, 0),
        OP(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem),
        OP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2, 0),
        OP(BPF_ALU64 | BPF_MOV | BPF_K, 1, 0, 0, 1),
        OP(BPF_STX | BPF_ATOMIC | BPF_DW, 0, 1, 0, BPF_ADD),
        // TC_ACT_UNSPEC: the next filter decides.
        OP(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, -1),
        OP(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
    };
    union bpf_attr attributes = {
        .prog_type = BPF_PROG_TYPE_SCHED_CLS,
        .insns = (unsigned long)program,
        .insn_cnt = sizeof program / sizeof *program,
        .license = (unsigned long)"GPL",
    };
    int loaded = bpf(BPF_PROG_LOAD, &attributes);
    char name[4096];
    snprintf(name, sizeof name, "%s-count", path);
    pin(loaded, path);
    pin(map, name);
}

static void show(const char *path)
{
    char name[4096];
    snprintf(name, sizeof name, "%s-count", path);
    union bpf_attr file = {.pathname = (unsigned long)name};
    int key = 0, map = bpf(BPF_OBJ_GET, &file);
    unsigned long long count = 0;
    union bpf_attr look = {.map_fd = map, .key = (unsigned long)&key, .value = (unsigned long)&count};
    bpf(BPF_MAP_LOOKUP_ELEM, &look);
    printf("%llu\n", count);
}

int main(int count, char **words)
{
    if (count != 3)
        return 2;
    if (!strcmp(words[1], "load"))
        load(words[2]);
    else
        show(words[2]);
    return 0;
}
