// race WARMUP ROUNDS [NAME VERBS PROGRAM CONFIG NETNS]...
//
// Calls CNI plugins in turns and times each call from fork to the end of the wait. A round goes
// through the verbs ADD, CHECK, DEL and VERSION and, in each, through the contestants that list
// it (VERBS is as `ADD,DEL`); each round another contestant begins. CHECK and DEL get the
// configuration with the result of the ADD before as prevResult, as a runtime gives it.
//
// Prints a line for each verb and contestant, separated by tabs: verb, name, least and median
// time in microseconds, greatest peak memory in KiB. A call that fails ends everything.

#define _GNU_SOURCE
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { most_contestants = 8, answer_size = 65536 };
static const char *const verbs[] = {"ADD", "CHECK", "DEL", "VERSION"};
enum { verb_count = sizeof verbs / sizeof *verbs };

struct contestant {
    const char *name, *verbs, *program, *config;
    char *environment[verb_count][6];
    char *previous;  // the configuration with prevResult, after an ADD
    double *times[verb_count];
    long memory[verb_count];
};

static int input, output;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

__attribute__((format(printf, 1, 2))) static char *format(const char *pattern, ...) {
    char *text;
    va_list values;
    va_start(values, pattern);
    if (vasprintf(&text, pattern, values) < 0) fail("vasprintf");
    va_end(values);
    return text;
}

static char *read_all(int file) {
    char *text = calloc(1, answer_size);
    if (!text || pread(file, text, answer_size - 1, 0) < 0) fail("read");
    return text;
}

static char *read_config(const char *path) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) fail(path);
    char *text = read_all(file);
    close(file);
    return text;
}

static void refill(int file, const char *text) {
    size_t length = strlen(text);
    if (ftruncate(file, 0) < 0 || pwrite(file, text, length, 0) != (ssize_t)length
        || lseek(file, 0, SEEK_SET) < 0)
        fail("memfd");
}

static int takes_part(const struct contestant *contestant, int verb) {
    return strstr(contestant->verbs, verbs[verb]) != NULL;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

// Replaces the closing brace of the configuration by the result.
static char *with_previous_result(const char *config, const char *result) {
    char *open = strdup(config);
    char *brace = strrchr(open, '}');
    if (brace) *brace = 0;
    char *text = format("%s,\"prevResult\":%s}", open, result);
    free(open);
    return text;
}

static double call(struct contestant *contestant, int verb) {
    const char *config = contestant->config;
    if (contestant->previous && verb != 0) config = contestant->previous;
    refill(input, config);
    refill(output, "");

    struct rusage usage;
    int status;
    double start = now();
    pid_t child = fork();
    if (child == 0) {
        char *arguments[] = {(char *)contestant->program, NULL};
        if (dup2(input, 0) < 0 || dup2(output, 1) < 0) _exit(126);
        execve(contestant->program, arguments, contestant->environment[verb]);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) < 0) fail("fork");
    double time = now() - start;

    char *answer = read_all(output);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "race: %s: %s ended with wait status %#x\n%s\n", contestant->name,
                verbs[verb], status, answer);
        exit(1);
    }
    if (usage.ru_maxrss > contestant->memory[verb]) contestant->memory[verb] = usage.ru_maxrss;
    if (verb == 0 && *answer) {
        free(contestant->previous);
        contestant->previous = with_previous_result(contestant->config, answer);
    }
    free(answer);
    return time;
}

static int compare(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static void report(struct contestant *contestant, int verb, int rounds) {
    double *times = contestant->times[verb];
    qsort(times, (size_t)rounds, sizeof *times, compare);
    double median = (times[(rounds - 1) / 2] + times[rounds / 2]) / 2;
    printf("%s\t%s\t%.0f\t%.0f\t%ld\n", verbs[verb], contestant->name, times[0], median,
           contestant->memory[verb]);
}

static void prepare(struct contestant *contestant, char **fields, int rounds) {
    contestant->name = fields[0];
    contestant->verbs = fields[1];
    contestant->program = fields[2];
    contestant->config = read_config(fields[3]);
    char *directory = dirname(strdup(fields[2]));
    for (int verb = 0; verb < verb_count; verb++) {
        char **environment = contestant->environment[verb];
        environment[0] = format("CNI_COMMAND=%s", verbs[verb]);
        environment[1] = format("CNI_CONTAINERID=bench-%s", fields[0]);
        environment[2] = "CNI_IFNAME=eth0";
        environment[3] = format("CNI_NETNS=%s", fields[4]);
        environment[4] = format("CNI_PATH=%s", directory);
        contestant->times[verb] = calloc((size_t)rounds, sizeof(double));
    }
}

int main(int count, char **arguments) {
    static struct contestant contestants[most_contestants];
    int racing = (count - 3) / 5;
    if (count < 8 || (count - 3) % 5 != 0 || racing > most_contestants) {
        fprintf(stderr, "usage: race WARMUP ROUNDS [NAME VERBS PROGRAM CONFIG NETNS]...\n");
        return 2;
    }
    int warmup = atoi(arguments[1]), rounds = atoi(arguments[2]);
    input = memfd_create("stdin", MFD_CLOEXEC);
    output = memfd_create("stdout", MFD_CLOEXEC);
    if (input < 0 || output < 0) fail("memfd_create");
    for (int i = 0; i < racing; i++) prepare(&contestants[i], arguments + 3 + i * 5, rounds);

    for (int round = -warmup; round < rounds; round++) {
        for (int verb = 0; verb < verb_count; verb++) {
            for (int turn = 0; turn < racing; turn++) {
                struct contestant *contestant = &contestants[(round + warmup + turn) % racing];
                if (!takes_part(contestant, verb)) continue;
                double time = call(contestant, verb);
                if (round >= 0) contestant->times[verb][round] = time;
            }
        }
    }
    for (int verb = 0; verb < verb_count; verb++)
        for (int i = 0; i < racing; i++)
            if (takes_part(&contestants[i], verb)) report(&contestants[i], verb, rounds);
    return 0;
}
