/* A slow disk, for LD_PRELOAD: what has to reach the disk takes 4 ms, what changes a folder 1 ms. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define SLOW(result, name, parameters, arguments, microseconds)                                                        \
    result name parameters {                                                                                           \
        static result(*real) parameters;                                                                               \
        if (!real)                                                                                                     \
            real = dlsym(RTLD_NEXT, #name);                                                                            \
        usleep(microseconds);                                                                                          \
        return real arguments;                                                                                         \
    }

SLOW(int, fsync, (int file), (file), 4000)
SLOW(int, fdatasync, (int file), (file), 4000)
SLOW(int, rename, (const char *from, const char *to), (from, to), 1000)
SLOW(int, unlink, (const char *path), (path), 1000)
SLOW(int, mkdir, (const char *path, mode_t mode), (path, mode), 1000)
SLOW(int, ftruncate64, (int file, off64_t length), (file, length), 1000)
SLOW(ssize_t, pwrite64, (int file, const void *data, size_t length, off64_t where), (file, data, length, where), 200)
