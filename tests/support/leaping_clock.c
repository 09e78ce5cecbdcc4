/* Preloaded, shifts the wall clock of a process by the seconds in the file that LEAPING_CLOCK names.
 *
 * Waits until a moment of the wall clock follow its leaps, as the kernel's do: they are cut into slices.
 * The monotonic clock stays as it is: when an administrator sets the time, it does so too.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { SLICE_NS = 20 * 1000 * 1000, SECOND_NS = 1000 * 1000 * 1000 };

static const int64_t none = 0;
static const volatile int64_t *shift = &none;
static long (*real_syscall)(long, ...);

__attribute__((constructor)) static void begin(void) {
    *(void **)&real_syscall = dlsym(RTLD_NEXT, "syscall");
    const char *path = getenv("LEAPING_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) shift = mapped;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = (int)real_syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *shift;
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec precise;
    int result = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return result;
}

time_t time(time_t *also) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (also) *also = now.tv_sec;
    return now.tv_sec;
}

/* Until the deadline or the end of a slice, after which whoever waits looks again. */
static long wait_for_wall_clock(long args[6]) {
    const struct timespec *deadline = (const struct timespec *)args[3];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t seconds = deadline->tv_sec - now.tv_sec, left = seconds < 0 ? -1 : SLICE_NS + 1;
    if (seconds >= -1 && seconds < 2) left = seconds * SECOND_NS + deadline->tv_nsec - now.tv_nsec;
    int64_t slice = left < 0 ? 0 : left < SLICE_NS ? left : SLICE_NS;
    real_syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
    int64_t end = now.tv_nsec + slice;
    struct timespec until = {now.tv_sec + end / SECOND_NS, end % SECOND_NS};
    long result = real_syscall(SYS_futex, args[0], args[1], args[2], &until, args[4], args[5]);
    if (result == -1 && errno == ETIMEDOUT && left > SLICE_NS) errno = EINTR;
    return result;
}

long syscall(long number, ...) {
    long args[6];
    va_list given;
    va_start(given, number);
    for (int i = 0; i < 6; i++) args[i] = va_arg(given, long);
    va_end(given);
    if (number == SYS_futex && (args[1] & FUTEX_CLOCK_REALTIME) && args[3]) return wait_for_wall_clock(args);
    return real_syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]);
}
