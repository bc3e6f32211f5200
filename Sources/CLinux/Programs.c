#define _GNU_SOURCE 1
#include "CLinux.h"
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

// Where in what a program is given the kernel shows a field of the packet.
#define FIELD(name) offsetof(struct __sk_buff, name)

static int load(const struct bpf_insn *program, size_t count, const char *name) {
    union bpf_attr arguments = {
        .prog_type = BPF_PROG_TYPE_SCHED_CLS,
        .insns = (uint64_t)(uintptr_t)program,
        .insn_cnt = (uint32_t)count,
        .license = (uint64_t)(uintptr_t) "Apache-2.0",
    };
    strncpy(arguments.prog_name, name, sizeof arguments.prog_name - 1);
    return (int)syscall(SYS_bpf, BPF_PROG_LOAD, &arguments, sizeof arguments);
}

int linux_load_detour(uint32_t passed, uint32_t over) {
    const struct bpf_insn program[] = {
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 0},
        {.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 2, .src_reg = 1, .off = FIELD(priority)},
        {.code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = 2, .imm = (int32_t)passed, .off = 5},
        {.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 2, .src_reg = 1, .off = FIELD(ingress_ifindex)},
        {.code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = 2, .imm = (int32_t)over, .off = 3},
        {.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 2, .src_reg = 1, .off = FIELD(ifindex)},
        {.code = BPF_STX | BPF_MEM | BPF_W, .dst_reg = 1, .src_reg = 2, .off = FIELD(priority)},
        {.code = BPF_ALU | BPF_MOV | BPF_K, .dst_reg = 0, .imm = -1},
        {.code = BPF_JMP | BPF_EXIT},
    };
    return load(program, sizeof program / sizeof *program, "shaper_detour");
}
