/* Records what a process does to the files below a folder, in the order in which it took effect.

   Loaded by LD_PRELOAD; RECORDED_FOLDER is the folder, RECORDED_TO the file of records. Each record is
   written once its call has succeeded, under one lock around both, so that every prefix of the records
   is a state that the disk went through. `support/power_cuts.py` reads them.

   Files in `spool/` are also written by child processes without this recorder: their content is
   recorded when they are synced (F). Writes through mmap(2) are not seen: SQLite makes none but to its `-shm`. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

struct record {
    char kind[8];
    uint64_t inode, offset, size;
    uint32_t path_size, other_size;
};

#define SHARED "/spool/"
static char folder[PATH_MAX];
static size_t folder_size;
static int records = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void)
{
    const char *where = getenv("RECORDED_FOLDER"), *to = getenv("RECORDED_TO");
    if (where == NULL || to == NULL)
        return;
    folder_size = (size_t)snprintf(folder, sizeof folder, "%s", where);
    records = REAL(open)(to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int is_inside(const char *path)
{
    return records >= 0 && strncmp(path, folder, folder_size) == 0 &&
           (path[folder_size] == '/' || path[folder_size] == 0);
}

/* The absolute path that `path` means beside `at`, or an empty one if it lies elsewhere. */
static void find(int at, const char *path, char *found)
{
    char link[64];
    ssize_t size = 0;
    if (path[0] != '/') {
        snprintf(link, sizeof link, at == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", at);
        size = readlink(link, found, PATH_MAX - 1);
        if (size < 0)
            size = 0;
        found[size++] = '/';
    }
    snprintf(found + size, PATH_MAX - (size_t)size, "%s", path);
    if (!is_inside(found))
        found[0] = 0;
}

/* Whether `fd` is a file or a folder in there; its path and status. */
static int find_open(int fd, char *found, struct stat *status)
{
    char link[64];
    ssize_t size;
    if (records < 0 || fstat(fd, status) != 0)
        return 0;
    if (!S_ISREG(status->st_mode) && !S_ISDIR(status->st_mode))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    size = readlink(link, found, PATH_MAX - 1);
    if (size < 0)
        return 0;
    found[size] = 0;
    return is_inside(found);
}

static void put(char kind, uint64_t inode, uint64_t offset, const void *data, size_t size,
                const char *path, const char *other)
{
    struct record head = {{kind}, inode, offset, size, 0, 0};
    struct iovec parts[4];
    head.path_size = (uint32_t)strlen(path);
    head.other_size = (uint32_t)strlen(other);
    parts[0] = (struct iovec){&head, sizeof head};
    parts[1] = (struct iovec){(void *)path, head.path_size};
    parts[2] = (struct iovec){(void *)other, head.other_size};
    parts[3] = (struct iovec){(void *)data, size};
    if (REAL(writev)(records, parts, 4) < 0)
        abort();
}

static int opened(int at, const char *path, int flags, mode_t mode)
{
    char found[PATH_MAX * 2];
    struct stat status;
    int fd, was_there;
    find(at, path, found);
    if (!found[0] || !(flags & (O_CREAT | O_TRUNC)))
        return REAL(openat)(at, path, flags, mode);
    pthread_mutex_lock(&lock);
    was_there = lstat(found, &status) == 0;
    fd = REAL(openat)(at, path, flags, mode);
    if (fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
        if (!was_there) {
            put('C', status.st_ino, 0, NULL, 0, found, "");
        } else if (flags & O_TRUNC) {
            put('T', status.st_ino, 0, NULL, 0, found, "");
        }
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

#define MODE(flags, last, mode)                    \
    mode_t mode = 0;                               \
    if ((flags) & (O_CREAT | O_TMPFILE)) {         \
        va_list rest;                              \
        va_start(rest, last);                      \
        mode = va_arg(rest, mode_t);               \
        va_end(rest);                              \
    }

int open(const char *path, int flags, ...)
{
    MODE(flags, flags, mode)
    return opened(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    MODE(flags, flags, mode)
    return opened(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

int openat(int at, const char *path, int flags, ...)
{
    MODE(flags, flags, mode)
    return opened(at, path, flags, mode);
}

int openat64(int at, const char *path, int flags, ...)
{
    MODE(flags, flags, mode)
    return opened(at, path, flags | O_LARGEFILE, mode);
}

static ssize_t written(int fd, const void *data, size_t size, off_t offset, int has_offset)
{
    char found[PATH_MAX];
    struct stat status;
    ssize_t done;
    if (!find_open(fd, found, &status))
        return has_offset ? REAL(pwrite64)(fd, data, size, offset) : REAL(write)(fd, data, size);
    pthread_mutex_lock(&lock);
    if (!has_offset) {
        fstat(fd, &status);
        offset = fcntl(fd, F_GETFL) & O_APPEND ? status.st_size : lseek(fd, 0, SEEK_CUR);
    }
    done = has_offset ? REAL(pwrite64)(fd, data, size, offset) : REAL(write)(fd, data, size);
    if (done > 0)
        put('W', status.st_ino, (uint64_t)offset, data, (size_t)done, found, "");
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t write(int fd, const void *data, size_t size) { return written(fd, data, size, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return written(fd, data, size, at, 1); }
ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) { return written(fd, data, size, at, 1); }

static int truncated(int fd, off_t size)
{
    char found[PATH_MAX];
    struct stat status;
    int done;
    if (!find_open(fd, found, &status))
        return REAL(ftruncate64)(fd, size);
    pthread_mutex_lock(&lock);
    done = REAL(ftruncate64)(fd, size);
    if (done == 0)
        put('T', status.st_ino, (uint64_t)size, NULL, 0, found, "");
    pthread_mutex_unlock(&lock);
    return done;
}

int ftruncate(int fd, off_t size) { return truncated(fd, size); }
int ftruncate64(int fd, off_t size) { return truncated(fd, size); }

/* What another process has written there, whole. */
static void put_content(int fd, const char *path, const struct stat *status)
{
    char *content = malloc((size_t)status->st_size + 1);
    if (content == NULL || pread(fd, content, (size_t)status->st_size, 0) != status->st_size)
        abort();
    put('F', status->st_ino, 0, content, (size_t)status->st_size, path, "");
    free(content);
}

static int synced(int fd, int (*real)(int))
{
    char found[PATH_MAX];
    struct stat status;
    int done;
    if (!find_open(fd, found, &status))
        return real(fd);
    pthread_mutex_lock(&lock);
    done = real(fd);
    if (done == 0 && S_ISDIR(status.st_mode)) {
        put('D', status.st_ino, 0, NULL, 0, found, "");
    } else if (done == 0) {
        if (strncmp(found + folder_size, SHARED, strlen(SHARED)) == 0)
            put_content(fd, found, &status);
        put('S', status.st_ino, 0, NULL, 0, found, "");
    }
    pthread_mutex_unlock(&lock);
    return done;
}

int fsync(int fd) { return synced(fd, REAL(fsync)); }
int fdatasync(int fd) { return synced(fd, REAL(fdatasync)); }

void sync(void)
{
    pthread_mutex_lock(&lock);
    REAL(sync)();
    if (records >= 0)
        put('Y', 0, 0, NULL, 0, "", "");
    pthread_mutex_unlock(&lock);
}

static int renamed(int from, const char *old, int to, const char *new)
{
    char found[PATH_MAX * 2], target[PATH_MAX * 2];
    struct stat status;
    int done;
    find(from, old, found);
    find(to, new, target);
    if (!found[0] || !target[0])
        return REAL(renameat)(from, old, to, new);
    pthread_mutex_lock(&lock);
    done = REAL(renameat)(from, old, to, new);
    if (done == 0 && lstat(target, &status) == 0)
        put('R', status.st_ino, 0, NULL, 0, found, target);
    pthread_mutex_unlock(&lock);
    return done;
}

int rename(const char *old, const char *new) { return renamed(AT_FDCWD, old, AT_FDCWD, new); }
int renameat(int from, const char *old, int to, const char *new) { return renamed(from, old, to, new); }

static int removed(int at, const char *path, int flags)
{
    char found[PATH_MAX * 2];
    int done;
    find(at, path, found);
    if (!found[0])
        return REAL(unlinkat)(at, path, flags);
    pthread_mutex_lock(&lock);
    done = REAL(unlinkat)(at, path, flags);
    if (done == 0)
        put(flags & AT_REMOVEDIR ? 'X' : 'U', 0, 0, NULL, 0, found, "");
    pthread_mutex_unlock(&lock);
    return done;
}

int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int unlinkat(int at, const char *path, int flags) { return removed(at, path, flags); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdir(const char *path, mode_t mode)
{
    char found[PATH_MAX * 2];
    int done;
    find(AT_FDCWD, path, found);
    if (!found[0])
        return REAL(mkdir)(path, mode);
    pthread_mutex_lock(&lock);
    done = REAL(mkdir)(path, mode);
    if (done == 0)
        put('M', 0, 0, NULL, 0, found, "");
    pthread_mutex_unlock(&lock);
    return done;
}

static int linked(int from, const char *old, int to, const char *new, int flags)
{
    char found[PATH_MAX * 2], target[PATH_MAX * 2];
    struct stat status;
    int done;
    find(from, old, found);
    find(to, new, target);
    if (!found[0] || !target[0])
        return REAL(linkat)(from, old, to, new, flags);
    pthread_mutex_lock(&lock);
    done = REAL(linkat)(from, old, to, new, flags);
    if (done == 0 && lstat(target, &status) == 0)
        put('L', status.st_ino, 0, NULL, 0, found, target);
    pthread_mutex_unlock(&lock);
    return done;
}

int link(const char *old, const char *new) { return linked(AT_FDCWD, old, AT_FDCWD, new, 0); }
int linkat(int from, const char *old, int to, const char *new, int flags)
{
    return linked(from, old, to, new, flags);
}
