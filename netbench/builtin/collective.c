/* One operation of all ranks: allreduce, alltoall, bcast, barrier.
 *
 * Each round is timed on its own with a barrier between rounds (but for barrier itself), so that no rank runs ahead;
 * the figure is the mean over rounds and ranks. Results are checked once per size, before the clock starts. */
#include "bench.h"

static int rank, ranks;
static const char *kind;

static void operate(char *out, char *in, size_t size) {
    int bytes = (int)size;
    if (!strcmp(kind, "allreduce"))
        MPI_Allreduce(out, in, bytes / (int)sizeof(float), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    else if (!strcmp(kind, "alltoall"))
        MPI_Alltoall(out, bytes, MPI_CHAR, in, bytes, MPI_CHAR, MPI_COMM_WORLD);
    else if (!strcmp(kind, "bcast"))
        MPI_Bcast(in, bytes, MPI_CHAR, 0, MPI_COMM_WORLD);
    else
        MPI_Barrier(MPI_COMM_WORLD);
}

static void proof(char *out, char *in, size_t size) {
    size_t all = size * (size_t)ranks;
    if (!strcmp(kind, "allreduce")) {
        for (size_t i = 0; i < size / sizeof(float); i++) ((float *)(void *)out)[i] = (float)(rank + 1);
        operate(out, in, size);
        for (size_t i = 0; i < size / sizeof(float); i++)
            if (((float *)(void *)in)[i] != (float)ranks * (float)(ranks + 1) / 2) fail("allreduce gave a wrong sum", NULL);
    } else if (!strcmp(kind, "alltoall")) {
        memset(out, rank & 0x7f, all);
        operate(out, in, size);
        for (size_t i = 0; i < all; i++)
            if (in[i] != (char)((i / size) & 0x7f)) fail("alltoall mixed up the blocks", NULL);
    } else if (!strcmp(kind, "bcast")) {
        memset(in, rank ? 0 : 42, size);
        operate(out, in, size);
        for (size_t i = 0; i < size; i++)
            if (in[i] != 42) fail("bcast arrived damaged", NULL);
    }
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    struct options o = read_options(argc, argv);
    kind = o.kind;
    int is_barrier = !strcmp(kind, "barrier"), is_reduction = !strcmp(kind, "allreduce");
    if (!is_barrier && !is_reduction && strcmp(kind, "alltoall") && strcmp(kind, "bcast")) fail("unknown kind ", kind);
    if (ranks < 2) fail("needs at least 2 ranks", NULL);
    if (is_reduction && o.min < sizeof(float)) o.min = sizeof(float);
    if (is_barrier) o.min = o.max = 1;
    char *out = buffer(o.max * (size_t)ranks, 0), *in = buffer(o.max * (size_t)ranks, 0);
    header(kind, is_barrier ? "latency_us" : "size latency_us", rank);
    for (size_t size = o.min; size <= o.max; size *= 2) {
        long count = rounds(o.iterations, size), warmup = rounds(o.warmup, size);
        double spent = 0, all = 0;
        proof(out, in, size);
        for (long i = -warmup; i < count; i++) {
            double start = MPI_Wtime();
            operate(out, in, size);
            if (i >= 0) spent += MPI_Wtime() - start;
            if (!is_barrier) MPI_Barrier(MPI_COMM_WORLD);
        }
        MPI_Reduce(&spent, &all, 1, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
        double mean = all * 1e6 / (double)count / ranks;
        if (rank == 0 && is_barrier) printf("%.3f\n", mean);
        else if (rank == 0) printf("%zu %.3f\n", size, mean);
        fflush(stdout);
    }
    MPI_Finalize();
    return 0;
}
