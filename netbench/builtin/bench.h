/* Options, timing and the header line that our own micro-benchmarks share. */
#ifndef NETBENCH_BENCH_H
#define NETBENCH_BENCH_H

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NETBENCH_VERSION "1"

struct options {
    const char *kind;
    size_t min, max;      /* message sizes in bytes, doubled from min to max */
    long iterations;      /* timed rounds a size; a tenth of it above LARGE bytes */
    long warmup;          /* rounds before the clock starts */
    int window;           /* messages in flight in the bandwidth kinds */
};

enum { LARGE = 8192 };

static inline void fail(const char *why, const char *what) {
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank == 0) fprintf(stderr, "netbench builtin: %s%s\n", why, what ? what : "");
    MPI_Abort(MPI_COMM_WORLD, 2);
    exit(2);
}

static inline long whole_number(const char *text, long least) {
    char *end;
    long value = strtol(text, &end, 10);
    if (*text == '\0' || *end != '\0' || value < least) fail("not a usable number: ", text);
    return value;
}

/* Reads: KIND [-m MIN:MAX] [-i ITERATIONS] [-x WARMUP] [-W WINDOW] */
static inline struct options read_options(int argc, char **argv) {
    struct options o = {argc > 1 ? argv[1] : "", 1, 1 << 20, 1000, 100, 64};
    for (int i = 2; i < argc; i += 2) {
        if (i + 1 == argc) fail("no value for ", argv[i]);
        char *value = argv[i + 1], *colon = strchr(value, ':');
        if (!strcmp(argv[i], "-m") && colon) {
            *colon = '\0';
            o.min = (size_t)whole_number(value, 1);
            o.max = (size_t)whole_number(colon + 1, (long)o.min);
        } else if (!strcmp(argv[i], "-i")) o.iterations = whole_number(value, 1);
        else if (!strcmp(argv[i], "-x")) o.warmup = whole_number(value, 0);
        else if (!strcmp(argv[i], "-W")) o.window = (int)whole_number(value, 1);
        else fail("unknown option ", argv[i]);
    }
    return o;
}

static inline long rounds(long asked, size_t size) {
    return size > LARGE && asked >= 10 ? asked / 10 : asked;
}

/* Memory whose pages are all touched, so that the first round does not pay for them. */
static inline char *buffer(size_t bytes, int value) {
    char *memory = malloc(bytes ? bytes : 1);
    if (!memory) fail("out of memory", NULL);
    memset(memory, value, bytes ? bytes : 1);
    return memory;
}

static inline void header(const char *kind, const char *columns, int rank) {
    if (rank == 0) printf("# netbench builtin %s %s\n# %s\n", kind, NETBENCH_VERSION, columns);
}

#endif
