/* Let one call fail: the FAULT_AT-th FAULT_CALL (rename, link, fsync or write) below the folder FAULT_UNDER, with the
   error number FAULT_ERRNO. Asked at each call, so that a process may set them late; nothing is done without them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int seen;

static int is_below(const char *path) {
    const char *folder = getenv("FAULT_UNDER");
    return folder && path && !strncmp(path, folder, strlen(folder));
}

static int fails(const char *call, const char *path) {
    const char *wanted = getenv("FAULT_CALL");
    if (!wanted || strcmp(wanted, call) || !is_below(path)) return 0;
    if (__sync_add_and_fetch(&seen, 1) != atoi(getenv("FAULT_AT"))) return 0;
    errno = atoi(getenv("FAULT_ERRNO"));
    return 1;
}

static int descriptor_fails(const char *call, int descriptor) {
    char link[64], path[PATH_MAX];
    int before = errno;
    if (!getenv("FAULT_CALL")) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length < 0) return 0;
    path[length] = 0;
    return fails(call, path);
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

int rename(const char *from, const char *to) {
    REAL(rename);
    return fails("rename", to) ? -1 : real(from, to);
}
int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    REAL(renameat);
    return fails("rename", to) ? -1 : real(from_folder, from, to_folder, to);
}
int link(const char *from, const char *to) {
    REAL(link);
    return fails("link", to) ? -1 : real(from, to);
}
int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    REAL(linkat);
    return fails("link", to) ? -1 : real(from_folder, from, to_folder, to, flags);
}
int fsync(int descriptor) {
    REAL(fsync);
    return descriptor_fails("fsync", descriptor) ? -1 : real(descriptor);
}
ssize_t write(int descriptor, const void *data, size_t size) {
    REAL(write);
    return descriptor_fails("write", descriptor) ? -1 : real(descriptor, data, size);
}
