/* Who is here: one line from each rank. With a number as argument: fails unless that many are. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The CPUs this process may use, as the kernel tells them. */
static void cpus(char *out, size_t size)
{
    char line[4096];
    FILE *status = fopen("/proc/self/status", "r");
    snprintf(out, size, "?");
    while (status && fgets(line, sizeof line, status)) {
        if (strncmp(line, "Cpus_allowed_list:", 18) == 0) {
            char *list = line + 18 + strspn(line + 18, " \t");
            list[strcspn(list, "\n")] = '\0';
            snprintf(out, size, "%s", list);
        }
    }
    if (status)
        fclose(status);
}

int main(int argc, char **argv)
{
    int rank, size, length;
    char host[MPI_MAX_PROCESSOR_NAME], list[1024];

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Get_processor_name(host, &length);
    cpus(list, sizeof list);
    printf("hello rank=%d size=%d host=%s cpus=%s\n", rank, size, host, list);
    fflush(stdout);
    MPI_Finalize();
    return argc > 1 && atoi(argv[1]) != size ? 3 : 0;
}
