/* What the system takes from an application: the same small piece of work again and again, each time with a clock.
 *
 * Every rank does QUANTA pieces of WORK steps; on an undisturbed CPU all take the same time. MPI is used only to start
 * together and to collect the figures. Usage: noise WORK QUANTA */
#include "bench.h"

#include <stdint.h>

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* A dependent chain: it cannot be vectorised or left out, and touches no memory. */
static uint64_t work(uint64_t state, long steps) {
    for (long i = 0; i < steps; i++) state = state * 6364136223846793005u + 1442695040888963407u;
    return state;
}

int main(int argc, char **argv) {
    int rank, ranks;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (argc != 3) fail("usage: noise WORK QUANTA", NULL);
    long steps = whole_number(argv[1], 1), quanta = whole_number(argv[2], 10);
    double *took = (double *)(void *)buffer((size_t)quanta * sizeof(double), 0);
    volatile uint64_t state = work(1, steps * 100);
    MPI_Barrier(MPI_COMM_WORLD);
    for (long i = 0; i < quanta; i++) {
        double start = MPI_Wtime();
        state = work(state, steps);
        took[i] = (MPI_Wtime() - start) * 1e6;
    }
    double total = 0;
    for (long i = 0; i < quanta; i++) total += took[i];
    qsort(took, (size_t)quanta, sizeof *took, ascending);
    double mine[4] = {total / (double)quanta, took[0], took[quanta * 99 / 100], took[quanta - 1]};
    double *all = (double *)(void *)buffer((size_t)ranks * sizeof mine, 0);
    MPI_Gather(mine, 4, MPI_DOUBLE, all, 4, MPI_DOUBLE, 0, MPI_COMM_WORLD);
    header("noise", "rank mean_us min_us p99_us max_us", rank);
    for (int i = 0; rank == 0 && i < ranks; i++)
        printf("%d %.3f %.3f %.3f %.3f\n", i, all[4 * i], all[4 * i + 1], all[4 * i + 2], all[4 * i + 3]);
    MPI_Finalize();
    return 0;
}
