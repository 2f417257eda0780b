/* A vector is summed over all ranks, and all have the sum. */
#include <mpi.h>
#include <stdio.h>

enum { LENGTH = 1 << 16 };

static double mine[LENGTH], sum[LENGTH];

int main(int argc, char **argv)
{
    int rank, size, wrong = 0, wrong_anywhere = 0;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int i = 0; i < LENGTH; i++)
        mine[i] = rank + 1.0 + i;
    MPI_Allreduce(mine, sum, LENGTH, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    for (int i = 0; i < LENGTH; i++)
        wrong += sum[i] != size * (size + 1) / 2.0 + (double)size * i;
    MPI_Allreduce(&wrong, &wrong_anywhere, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0)
        printf("allreduce size=%d sum=%g %s\n", size, sum[0], wrong_anywhere ? "WRONG" : "ok");
    MPI_Finalize();
    return wrong_anywhere ? 1 : 0;
}
