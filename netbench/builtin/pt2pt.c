/* Messages between the first and the second half of the ranks: latency, bw, bibw, mbw_mr.
 *
 * Rank i of the first half talks to rank i of the second. latency: ping-pong, half the round trip. bw: a window of
 * non-blocking sends, then one short answer. bibw: windows in both directions at once. mbw_mr: bw on all pairs at once.
 * The received bytes are compared once per size, before the clock starts. */
#include "bench.h"

enum { DATA = 1, ANSWER = 2 };

static MPI_Request *requests;
static int rank, pairs, peer, sender;

static void ping_pong(char *out, char *in, int bytes) {
    if (sender) {
        MPI_Send(out, bytes, MPI_CHAR, peer, DATA, MPI_COMM_WORLD);
        MPI_Recv(in, bytes, MPI_CHAR, peer, DATA, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    } else {
        MPI_Recv(in, bytes, MPI_CHAR, peer, DATA, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        MPI_Send(out, bytes, MPI_CHAR, peer, DATA, MPI_COMM_WORLD);
    }
}

static void window_of_sends(char *out, char *in, int bytes, int window, int both) {
    int open = 0;
    char answer = 0;
    /* receives of one window share a buffer: their content is only checked in proof() */
    if (both || !sender)
        for (int i = 0; i < window; i++)
            MPI_Irecv(in, bytes, MPI_CHAR, peer, DATA, MPI_COMM_WORLD, &requests[open++]);
    if (both || sender)
        for (int i = 0; i < window; i++)
            MPI_Isend(out, bytes, MPI_CHAR, peer, DATA, MPI_COMM_WORLD, &requests[open++]);
    MPI_Waitall(open, requests, MPI_STATUSES_IGNORE);
    if (sender) MPI_Recv(&answer, 1, MPI_CHAR, peer, ANSWER, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    else MPI_Send(&answer, 1, MPI_CHAR, peer, ANSWER, MPI_COMM_WORLD);
}

static void proof(char *out, char *in, size_t size) {
    memset(out, rank & 0x7f, size);
    memset(in, 0xff, size);
    ping_pong(out, in, (int)size);
    for (size_t i = 0; i < size; i++)
        if (in[i] != (char)(peer & 0x7f)) fail("a message arrived damaged", NULL);
}

int main(int argc, char **argv) {
    int ranks;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    struct options o = read_options(argc, argv);
    int is_latency = !strcmp(o.kind, "latency"), is_both = !strcmp(o.kind, "bibw"), is_rate = !strcmp(o.kind, "mbw_mr");
    if (!is_latency && !is_both && !is_rate && strcmp(o.kind, "bw")) fail("unknown kind ", o.kind);
    if (ranks % 2) fail("needs an even number of ranks", NULL);
    if (!is_rate && ranks != 2) fail("needs exactly 2 ranks", NULL);
    pairs = ranks / 2;
    sender = rank < pairs;
    peer = sender ? rank + pairs : rank - pairs;
    requests = malloc(2 * (size_t)o.window * sizeof *requests);
    char *out = buffer(o.max, 1), *in = buffer(o.max, 2);
    header(o.kind, is_latency ? "size latency_us" : is_rate ? "size bandwidth_MBps messages_per_s" : "size bandwidth_MBps",
           rank);
    for (size_t size = o.min; size <= o.max; size *= 2) {
        long count = rounds(o.iterations, size), warmup = rounds(o.warmup, size);
        double start = 0, seconds, slowest;
        proof(out, in, size);
        for (long i = -warmup; i < count; i++) {
            if (i == 0) {
                MPI_Barrier(MPI_COMM_WORLD);
                start = MPI_Wtime();
            }
            if (is_latency) ping_pong(out, in, (int)size);
            else window_of_sends(out, in, (int)size, o.window, is_both);
        }
        seconds = MPI_Wtime() - start;
        MPI_Reduce(&seconds, &slowest, 1, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
        if (rank == 0 && is_latency) printf("%zu %.3f\n", size, seconds * 1e6 / (double)count / 2);
        if (rank == 0 && !is_latency) {
            double rate = (double)count * o.window * pairs * (is_both ? 2 : 1) / slowest;
            printf("%zu %.3f", size, rate * (double)size / 1e6);
            if (is_rate) printf(" %.2f", rate);
            printf("\n");
        }
        fflush(stdout);
    }
    MPI_Finalize();
    return 0;
}
