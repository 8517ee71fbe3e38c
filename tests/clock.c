/* A clock for a server under test: a preloaded library that adds the seconds in the file named by TEST_CLOCK to the real time.

   libfaketime does not reach the worker: PostgreSQL 15 starts it from a signal handler that interrupts select(), and there
   libfaketime gives the real time for good. The monotonic clock stays as it is, as when the clock of a machine is set. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile long long *ahead;

__attribute__((constructor)) static void find_clock(void)
{
    const char *name = getenv("TEST_CLOCK");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    void *mapped = mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);

    if (mapped == MAP_FAILED)
        abort();
    close(file);
    ahead = mapped;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = syscall(SYS_clock_gettime, clock, now);

    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += *ahead;
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec precise;

    (void) zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    *now = (struct timeval) {precise.tv_sec, precise.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *copy)
{
    struct timespec precise;

    clock_gettime(CLOCK_REALTIME, &precise);
    if (copy)
        *copy = precise.tv_sec;
    return precise.tv_sec;
}
