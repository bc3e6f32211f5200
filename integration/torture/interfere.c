// interfere [-l LOG] [-c NAME] [-k N | -e N ERROR | -f N ERROR | -m N COMMAND | -i N] PROGRAM [ARGUMENT]...
//
// Runs a program under ptrace(2) and interferes with one of its system calls, which are counted
// from 1 after execve(2), those of its children among them; one that the kernel starts again by itself,
// as it does with a write to a setting while somebody else configures the network, counts once:
//
//     -k N          ends it with SIGKILL when it is about to make call N
//     -e N ERROR    call N is not made and fails with that errno
//     -f N ERROR    so do all later calls of the same name
//     -m N COMMAND  before call N, sh(1) runs a command; the program goes on when that has ended or
//                   has run for 50 ms, as it may be waiting for the program. A further -m is for the
//                   same N and starts at the same time.
//     -c NAME       call N is the first of that name from the Nth on: a run may be some calls shorter
//                   or longer than the one in which they were counted
//     -i N          the first N netlink dumps are marked as interrupted (NLM_F_DUMP_INTR)
//     -r FILE       adds what recvmsg(2) receives, each datagram after its length in two bytes
//     -l LOG        writes the name of each call, a line each
//
// Ends as the program did, be it by a signal; by SIGALRM if that took more than 30 s; 125 if interfering was not possible, 124 if a command of
// -m failed. Without one of the options it only counts.

#define _GNU_SOURCE
#include <errno.h>
#include <linux/netlink.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// The kernel's own: what a call returns that is to be made once more. Only tracers see it.
enum { ERESTARTSYS = 512, ERESTART_RESTARTBLOCK = 516 };

#ifndef __x86_64__
#error "a system call is made to fail through the registers of x86-64"
#endif

// Made from the kernel's header when this is compiled: [__NR_read] = "read", ...
static const char *const names[] = {
#include "syscall-names.h"
};
enum { name_count = sizeof names / sizeof *names, most_commands = 8, patience = 50, longest = 30 };

static struct {
    long call;  // the one to interfere with
    const char *name;  // which it must have, if any
    bool kills, fails, keeps_failing;
    int error;
    const char *commands[most_commands];
    int command_count;
    long dumps;
    const char *log;
    FILE *record;
} plan;

static pid_t commands[most_commands];
static long count;          // calls so far
static bool has_come;       // the one to interfere with
static long failing = -1;   // the number of the call that keeps failing
static FILE *trace;

static void fail(const char *what) {
    perror(what);
    exit(125);
}

static const char *name_of(unsigned long long number) {
    return number < name_count && names[number] ? names[number] : "unknown";
}

static long milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// Starts the commands and waits for them, as long as patience lasts.
static void run_commands(void) {
    for (int i = 0; i < plan.command_count; i++) {
        commands[i] = fork();
        if (commands[i] < 0) fail("fork");
        if (commands[i] == 0) {
            execl("/bin/sh", "sh", "-c", plan.commands[i], NULL);
            _exit(127);
        }
    }
    long end = milliseconds() + patience;
    for (int i = 0; i < plan.command_count; i++) {
        siginfo_t ended = {0};
        do {
            if (waitid(P_PID, (id_t)commands[i], &ended, WEXITED | WNOHANG | WNOWAIT) < 0)
                fail("waitid");
            if (!ended.si_pid) usleep(200);
        } while (!ended.si_pid && milliseconds() < end);
    }
}

static bool commands_succeeded(void) {
    bool succeeded = true;
    for (int i = 0; i < plan.command_count && commands[i]; i++) {
        int status;
        if (waitpid(commands[i], &status, 0) < 0) fail("waitpid");
        if (status != 0) {
            fprintf(stderr, "interfere: wait status %#x: %s\n", status, plan.commands[i]);
            succeeded = false;
        }
    }
    return succeeded;
}

static bool copy(pid_t process, void *there, void *here, size_t size, bool in) {
    struct iovec local = {here, size}, remote = {there, size};
    ssize_t copied = in ? process_vm_readv(process, &local, 1, &remote, 1, 0)
                        : process_vm_writev(process, &local, 1, &remote, 1, 0);
    return copied == (ssize_t)size;
}

// Records what recvmsg(2) has just received, and marks it as part of an interrupted dump if it is
// of a dump.
static void receive(pid_t process, void *message, long received) {
    static __u32 sequence;
    struct msghdr header;
    struct iovec vector;
    static char bytes[1 << 17];
    if (!copy(process, message, &header, sizeof header, true) || header.msg_iovlen != 1
        || !copy(process, header.msg_iov, &vector, sizeof vector, true)
        || received > (long)sizeof bytes || received > (long)vector.iov_len
        || !copy(process, vector.iov_base, bytes, (size_t)received, true))
        return;
    if (plan.record) {
        fputc((int)received & 255, plan.record);
        fputc((int)received >> 8, plan.record);
        fwrite(bytes, (size_t)received, 1, plan.record);
    }
    struct nlmsghdr *first = (struct nlmsghdr *)bytes;
    if (received < (long)sizeof *first || !(first->nlmsg_flags & NLM_F_MULTI)) return;
    if (first->nlmsg_seq != sequence) {
        if (plan.dumps == 0) return;
        plan.dumps--;
        sequence = first->nlmsg_seq;
    }
    unsigned left = (unsigned)received;
    for (struct nlmsghdr *each = first; NLMSG_OK(each, left); each = NLMSG_NEXT(each, left))
        each->nlmsg_flags |= NLM_F_DUMP_INTR;
    copy(process, vector.iov_base, bytes, (size_t)received, false);
}

// Whether the call that a process is about to make is to fail. Counts it.
static bool enter(pid_t process, const struct __ptrace_syscall_info *info, pid_t program) {
    count++;
    if (trace) fprintf(trace, "%s\n", name_of(info->entry.nr));
    if (failing >= 0 && (long)info->entry.nr == failing) return true;
    if (has_come || !plan.call || count < plan.call) return false;
    if (plan.name && strcmp(plan.name, name_of(info->entry.nr)) != 0) return false;
    has_come = true;
    if (plan.kills) {
        if (trace) fflush(trace);
        kill(program, SIGKILL);
        if (process != program) kill(process, SIGKILL);
    }
    if (plan.command_count) run_commands();
    if (plan.keeps_failing) failing = (long)info->entry.nr;
    return plan.fails;
}

// brk(2) returns no error but the end as it is, which is what it is made to be asked for.
static void set_registers(pid_t process, bool entering) {
    static unsigned long long asked_end;
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, process, NULL, &registers) < 0) return;
    if (registers.orig_rax == SYS_brk) {
        if (entering) asked_end = registers.rdi;
        registers.rdi = entering ? 0 : asked_end;
    } else if (entering)
        registers.orig_rax = (unsigned long long)-1;
    else
        registers.rax = (unsigned long long)-(long long)plan.error;
    ptrace(PTRACE_SETREGS, process, NULL, &registers);
}

struct tracee {
    pid_t process;
    bool is_failing;
    bool is_restarting;
    unsigned long long number;
    void *message;
};

static struct tracee *tracee_of(pid_t process) {
    static struct tracee tracees[64];
    for (int i = 0; i < 64; i++) {
        if (tracees[i].process == process) return &tracees[i];
        if (tracees[i].process == 0) {
            tracees[i].process = process;
            return &tracees[i];
        }
    }
    fprintf(stderr, "interfere: too many processes\n");
    exit(125);
}

static void at_system_call(pid_t process, pid_t program) {
    struct tracee *tracee = tracee_of(process);
    struct __ptrace_syscall_info info;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, process, sizeof info, &info) < 0) return;
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
        tracee->number = info.entry.nr;
        tracee->message = (void *)info.entry.args[1];
        if (!tracee->is_restarting) tracee->is_failing = enter(process, &info, program);
        tracee->is_restarting = false;
        if (tracee->is_failing) set_registers(process, true);
    } else if (info.op == PTRACE_SYSCALL_INFO_EXIT) {
        if (tracee->is_failing) set_registers(process, false);
        tracee->is_failing = false;
        tracee->is_restarting = info.exit.rval <= -ERESTARTSYS && info.exit.rval >= -ERESTART_RESTARTBLOCK;
        if (tracee->number == SYS_recvmsg && info.exit.rval > 0)
            receive(process, tracee->message, (long)info.exit.rval);
    }
}

// Whether nothing is left to do but to wait.
static bool is_done(void) {
    return has_come && failing < 0 && !trace && !plan.record && !plan.dumps;
}

static int trace_until_end(pid_t program) {
    int ended = 0;
    bool is_started = false;
    while (true) {
        int status;
        pid_t process = waitpid(-1, &status, __WALL);
        if (process < 0 && errno == EINTR) continue;
        if (process < 0) break;
        bool is_command = false;
        for (int i = 0; i < plan.command_count; i++) {
            if (commands[i] != process) continue;
            is_command = true;
            commands[i] = 0;
            if (status != 0) {
                fprintf(stderr, "interfere: wait status %#x: %s\n", status, plan.commands[i]);
                plan.commands[i] = NULL;
            }
        }
        if (is_command) continue;
        if (!WIFSTOPPED(status)) {
            if (process == program) {
                ended = status;
                break;
            }
            continue;
        }
        int signal = WSTOPSIG(status), delivered = 0;
        if (signal == (SIGTRAP | 0x80)) {
            if (is_started) at_system_call(process, program);
        } else if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXEC << 8)) {
            is_started = true;
        } else if (status >> 16 == 0 && signal != SIGSTOP) {
            delivered = signal;
        }
        bool leave = is_done() && !tracee_of(process)->is_failing;
        ptrace(leave ? PTRACE_CONT : PTRACE_SYSCALL, process, NULL, delivered);
    }
    return ended;
}

static long number(const char *text) {
    char *end;
    long value = strtol(text, &end, 10);
    if (*end || value < 0) {
        fprintf(stderr, "interfere: not a number: %s\n", text);
        exit(125);
    }
    return value;
}

int main(int argument_count, char **arguments) {
    int option;
    while ((option = getopt(argument_count, arguments, "+l:r:c:k:e:f:m:i:")) != -1) {
        switch (option) {
        case 'l': plan.log = optarg; continue;
        case 'r':
            if (!(plan.record = fopen(optarg, "ae"))) fail(optarg);
            continue;
        case 'c': plan.name = optarg; continue;
        case 'i': plan.dumps = number(optarg); continue;
        case 'k': plan.kills = true; break;
        case 'f': plan.keeps_failing = true; // falls through
        case 'e': plan.fails = true; break;
        case 'm': break;
        default: return 125;
        }
        plan.call = number(optarg);
        if (option != 'k' && optind >= argument_count) return 125;
        if (plan.fails) plan.error = (int)number(arguments[optind++]);
        if (option == 'm' && plan.command_count < most_commands)
            plan.commands[plan.command_count++] = arguments[optind++];
    }
    if (optind >= argument_count) {
        fprintf(stderr, "usage: interfere [OPTION]... PROGRAM [ARGUMENT]...\n");
        return 125;
    }
    if (plan.log && !(trace = fopen(plan.log, "we"))) fail(plan.log);

    sigset_t none_blocked;
    sigemptyset(&none_blocked);
    sigprocmask(SIG_SETMASK, &none_blocked, NULL);
    alarm(longest);
    pid_t program = fork();
    if (program < 0) fail("fork");
    if (program == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0) fail("ptrace");
        raise(SIGSTOP);
        // Where things are in memory decides how often more of it is asked for.
        if (personality(ADDR_NO_RANDOMIZE) < 0) fail("personality");
        execvp(arguments[optind], arguments + optind);
        fail(arguments[optind]);
    }
    int status;
    if (waitpid(program, &status, 0) < 0) fail("waitpid");
    if (!WIFSTOPPED(status)) {
        fprintf(stderr, "interfere: wait status %#x before the start\n", status);
        return 125;
    }
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL
                   | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE;
    if (ptrace(PTRACE_SETOPTIONS, program, NULL, options) < 0) fail("ptrace");
    ptrace(PTRACE_SYSCALL, program, NULL, 0);
    status = trace_until_end(program);
    if (trace) fclose(trace);
    if (plan.record) fclose(plan.record);

    bool succeeded = commands_succeeded();
    for (int i = 0; i < plan.command_count; i++) succeeded = succeeded && plan.commands[i];
    if (!succeeded) return 124;
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    signal(WTERMSIG(status), SIG_DFL);
    kill(getpid(), WTERMSIG(status));
    return 125;
}
