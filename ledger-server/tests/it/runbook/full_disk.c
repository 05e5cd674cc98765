/* A disk on which no file becomes longer while there is a file with the name in FULL_DISK. What preloads this needs neither a mount
   nor root. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t offset)
{
    const char *full = getenv("FULL_DISK");
    struct stat64 now;
    if (full && access(full, F_OK) == 0 && fstat64(file, &now) == 0 && offset + (off64_t)length > now.st_size) {
        errno = ENOSPC;
        return -1;
    }
    ssize_t (*next)(int, const void *, size_t, off64_t) =
        (ssize_t (*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    return next(file, bytes, length, offset);
}
