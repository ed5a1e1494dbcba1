/* Preloaded into a node: its disk forgets what was not synced, stalls and fails, its clock jumps, all as told.

   Law: without an order everything is as without the shim. Orders are in a page of memory shared with the chaos tool
   (CHAOS_CONTROL). The files CHAOS_DISK_0 and CHAOS_DISK_1 are the node's disk. Before one is changed, what was there
   goes to a log of what is to be undone (CHAOS_UNDO_0, CHAOS_UNDO_1) as records of {u64 offset, u64 old file size,
   u64 length, old bytes}; a sync of that file that succeeds empties it. A power failure is a SIGKILL after which some of
   that is put back. A write through a descriptor with O_DSYNC is synced when it returns, and nothing else with it. The
   machine was started when the file CHAOS_BOOT says. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct control {
    volatile int32_t stalled;  /* syncs wait while it is not 0 */
    volatile int32_t delay_us; /* each sync takes so much longer */
    volatile int32_t failing;  /* errno of every sync and write; 0: none fails */
    volatile int32_t unused;
    volatile int64_t clock_ns; /* added to the wall clock */
};

#define FDS 4096
static struct control quiet;
static struct control *control = &quiet;
#define DISKS 2
static char disks[DISKS][1024];
static int undo[DISKS] = {-1, -1};
static char boot[1024];
static unsigned char watched[FDS]; /* 0: not the disk; else 1 + its file's number */
static unsigned char at_once[FDS]; /* with O_DSYNC */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pread)(int, void *, size_t, off_t);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_close)(int);
static int (*real_open)(const char *, int, ...);
static int (*real_clock_gettime)(clockid_t, struct timespec *);

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

__attribute__((constructor)) static void begin(void) {
    real_pwrite = real("pwrite");
    real_pread = real("pread");
    real_write = real("write");
    real_writev = real("writev");
    real_pwritev = real("pwritev");
    real_fsync = real("fsync");
    real_fdatasync = real("fdatasync");
    real_close = real("close");
    real_open = real("open");
    real_clock_gettime = real("clock_gettime");
    const char *path = getenv("CHAOS_CONTROL");
    if (path) {
        int fd = real_open(path, O_RDWR | O_CLOEXEC);
        if (fd >= 0) {
            void *page = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            if (page != MAP_FAILED) control = page;
            real_close(fd);
        }
    }
    for (int number = 0; number < DISKS; number++) {
        char name[32];
        snprintf(name, sizeof name, "CHAOS_DISK_%d", number);
        const char *file = getenv(name);
        if (file) snprintf(disks[number], sizeof disks[number], "%s", file);
        snprintf(name, sizeof name, "CHAOS_UNDO_%d", number);
        const char *where = getenv(name);
        if (where) undo[number] = real_open(where, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
    const char *booted = getenv("CHAOS_BOOT");
    if (booted) snprintf(boot, sizeof boot, "%s", booted);
}

static void opened(int fd, const char *path, int flags) {
    if (fd < 0 || fd >= FDS || (flags & O_ACCMODE) == O_RDONLY) return;
    for (int number = 0; number < DISKS; number++) {
        if (strcmp(path, disks[number])) continue;
        watched[fd] = 1 + number;
        at_once[fd] = (flags & O_DSYNC) != 0;
    }
}

static int is_watched(int fd) { return fd >= 0 && fd < FDS && watched[fd]; }

/* Take down what stands where `length` bytes are about to be written. Returns where the record begins. */
static off_t keep(int fd, size_t length, off_t offset) {
    struct stat status;
    int log = undo[watched[fd] - 1];
    if (log < 0) return 0;
    off_t began = lseek(log, 0, SEEK_END);
    if (fstat(fd, &status)) abort();
    struct { uint64_t offset, size, length; } head = {offset, status.st_size, 0};
    if (offset < status.st_size) {
        off_t rest = status.st_size - offset;
        head.length = (off_t)length < rest ? (off_t)length : rest;
    }
    char *old = malloc(head.length + 1);
    /* Read through another descriptor: the writer's may not allow it. */
    int reader = real_open(disks[watched[fd] - 1], O_RDONLY | O_CLOEXEC);
    ssize_t got = reader >= 0 ? real_pread(reader, old, head.length, offset) : -1;
    if (reader >= 0) real_close(reader);
    if (got != (ssize_t)head.length) abort();
    struct iovec parts[2] = {{&head, sizeof head}, {old, head.length}};
    if (real_writev(log, parts, 2) < 0) abort();
    free(old);
    return began;
}

static int waits_and_fails(void) {
    while (control->stalled) usleep(2000);
    if (control->delay_us) usleep(control->delay_us);
    return control->failing;
}

static ssize_t write_out(int fd, const struct iovec *parts, int count, off_t offset) {
    size_t length = 0;
    for (int part = 0; part < count; part++) length += parts[part].iov_len;
    if (control->failing) { errno = control->failing; return -1; }
    pthread_mutex_lock(&mutex);
    off_t began = keep(fd, length, offset);
    ssize_t result = real_pwritev(fd, parts, count, offset);
    int error = errno;
    pthread_mutex_unlock(&mutex);
    int log = undo[watched[fd] - 1];
    if (at_once[fd] && result >= 0) {
        int failure = waits_and_fails();
        if (failure) { errno = failure; return -1; }
        pthread_mutex_lock(&mutex);
        if (log >= 0 && ftruncate(log, began)) abort();
        pthread_mutex_unlock(&mutex);
    }
    errno = error;
    return result;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    if (!is_watched(fd)) return real_pwrite(fd, bytes, length, offset);
    struct iovec part = {(void *)bytes, length};
    return write_out(fd, &part, 1, offset);
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) { return pwrite(fd, bytes, length, offset); }

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    return is_watched(fd) ? write_out(fd, parts, count, offset) : real_pwritev(fd, parts, count, offset);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset) { return pwritev(fd, parts, count, offset); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (!is_watched(fd)) return real_writev(fd, parts, count);
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t result = write_out(fd, parts, count, at);
    if (result > 0) lseek(fd, at + result, SEEK_SET);
    return result;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    if (!is_watched(fd)) return real_write(fd, bytes, length);
    struct iovec part = {(void *)bytes, length};
    return writev(fd, &part, 1);
}

static int sync_with(int (*how)(int), int fd) {
    if (!is_watched(fd)) return how(fd);
    int failure = waits_and_fails();
    if (failure) { errno = failure; return -1; }
    int log = undo[watched[fd] - 1];
    pthread_mutex_lock(&mutex);
    int result = how(fd);
    if (!result && log >= 0 && ftruncate(log, 0)) abort();
    pthread_mutex_unlock(&mutex);
    return result;
}
int fsync(int fd) { return sync_with(real_fsync, fd); }
int fdatasync(int fd) { return sync_with(real_fdatasync, fd); }

static const char *redirected(const char *path) {
    return boot[0] && !strcmp(path, "/proc/sys/kernel/random/boot_id") ? boot : path;
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    int fd = real_open(redirected(path), flags, mode);
    opened(fd, path, flags);
    return fd;
}
int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    int fd = real_open(redirected(path), flags, mode);
    opened(fd, path, flags);
    return fd;
}

int close(int fd) {
    if (fd >= 0 && fd < FDS) watched[fd] = 0;
    return real_close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = real_clock_gettime(clock, now);
    if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) && control->clock_ns) {
        int64_t sum = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec + control->clock_ns;
        now->tv_sec = sum / 1000000000;
        now->tv_nsec = sum % 1000000000;
    }
    return result;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec exact;
    int result = clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return result;
}
time_t time(time_t *where) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (where) *where = exact.tv_sec;
    return exact.tv_sec;
}
