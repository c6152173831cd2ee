/* For LD_PRELOAD: appends a record to RECORD_LOG of each call that changes what lies below RECORD_ROOT, in the order in which
   the calls returned, of all processes that inherit it. RECORD_DIE_AT=n kills the process right after its n-th record.

   A record, little-endian: u32 length of the rest, u8 kind, u32 process, u64 inode, u64 number, u16 length and bytes of a path,
   u16 length and bytes of another path, data. Kinds, and what the number is:
     o opened to be made or written (flags)   w written (offset)           t cut or grown (size)
     f a sync begins (descriptor)             F it has ended (descriptor)  m has now this mode and owner (both)
     d folder made                            r renamed                    l linked          u removed
     ! a call that the record cannot tell (its name is the other path)
   The file -shm of SQLite is left out: SQLite makes it anew from the log. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define LOG_FD_LEAST 900 /* whoever closes all low descriptors leaves it open */

static int log_fd = -1;
static long die_at = -1, appended = 0;
static char root[PATH_MAX];
static size_t root_length;

__attribute__((constructor)) static void start(void) {
  const char *to = getenv("RECORD_LOG"), *below = getenv("RECORD_ROOT"), *die = getenv("RECORD_DIE_AT");
  if (to == NULL || below == NULL || realpath(below, root) == NULL) return;
  root_length = strlen(root);
  if (die != NULL) die_at = atol(die);
  unsetenv("RECORD_DIE_AT"); /* it is meant for this process, and for none that it starts */
  int fd = (int)syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) abort();
  log_fd = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, LOG_FD_LEAST);
  syscall(SYS_close, fd);
}

struct record {
  char kind;
  uint64_t inode, number;
  const char *path, *other;
  const struct iovec *data;
  int parts;
  size_t bytes;
};

static char *put(char *at, const void *from, size_t size) {
  if (size > 0) memcpy(at, from, size);
  return at + size;
}

/* One write(2) for each record, so that those of several processes and threads do not mix. */
static void append(struct record r) {
  uint32_t process = (uint32_t)syscall(SYS_getpid);
  uint16_t path_length = r.path ? (uint16_t)strlen(r.path) : 0, other_length = r.other ? (uint16_t)strlen(r.other) : 0;
  uint32_t length = (uint32_t)(1 + 4 + 8 + 8 + 2 + path_length + 2 + other_length + r.bytes);
  char *record = malloc(4 + length), *at = record;
  if (record == NULL) abort();
  at = put(at, &length, 4);
  at = put(at, &r.kind, 1);
  at = put(at, &process, 4);
  at = put(at, &r.inode, 8);
  at = put(at, &r.number, 8);
  at = put(at, &path_length, 2);
  at = put(at, r.path, path_length);
  at = put(at, &other_length, 2);
  at = put(at, r.other, other_length);
  size_t left = r.bytes;
  for (int i = 0; i < r.parts && left > 0; i++) {
    size_t some = r.data[i].iov_len < left ? r.data[i].iov_len : left;
    at = put(at, r.data[i].iov_base, some);
    left -= some;
  }
  if (syscall(SYS_write, log_fd, record, 4 + (long)length) != 4 + (long)length) abort();
  free(record);
  if (__atomic_add_fetch(&appended, 1, __ATOMIC_SEQ_CST) == die_at) syscall(SYS_kill, syscall(SYS_getpid), 9);
}

static int ends_in_shm(const char *path) {
  size_t length = strlen(path);
  return length > 4 && strcmp(path + length - 4, "-shm") == 0;
}

static int is_below(const char *path) {
  return strncmp(path, root, root_length) == 0 && (path[root_length] == '/' || path[root_length] == 0) && !ends_in_shm(path);
}

/* The path of an entry: its folder resolved, itself not followed. NULL where it lies elsewhere. */
static const char *entry(int dir, const char *path, char *to) {
  char joined[PATH_MAX], folder[PATH_MAX], name[NAME_MAX + 1];
  if (log_fd < 0 || path == NULL) return NULL;
  int isAbsolute = path[0] == '/', n;
  if (isAbsolute) n = snprintf(joined, sizeof joined, "%s", path);
  else if (dir == AT_FDCWD) n = snprintf(joined, sizeof joined, "./%s", path);
  else n = snprintf(joined, sizeof joined, "/proc/self/fd/%d/%s", dir, path);
  char *slash = strrchr(joined, '/');
  if (n >= PATH_MAX || slash == NULL || strlen(slash + 1) > NAME_MAX) return NULL;
  snprintf(name, sizeof name, "%s", slash + 1);
  *slash = 0;
  if (realpath(slash == joined ? "/" : joined, folder) == NULL) return NULL;
  if (snprintf(to, PATH_MAX, "%s/%s", folder, name) >= PATH_MAX) return NULL;
  return is_below(to) ? to : NULL;
}

/* The path of an open file; NULL where it lies elsewhere. */
static const char *path_of(int fd, char *to) {
  char link[40];
  if (log_fd < 0 || fd < 0 || fd == log_fd) return NULL;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, to, PATH_MAX - 1);
  if (length < 0) return NULL;
  to[length] = 0;
  return is_below(to) ? to : NULL;
}

static uint64_t inode_of(int fd) {
  struct stat s;
  return syscall(SYS_fstat, fd, &s) == 0 ? s.st_ino : 0;
}

static uint64_t mode_and_owner(const struct stat *s) {
  return (uint64_t)(s->st_mode & 07777) | (uint64_t)s->st_uid << 16;
}

static void untold(const char *path, const char *call) { append((struct record){.kind = '!', .path = path, .other = call}); }
static void untold_fd(int fd, const char *call) {
  char path[PATH_MAX];
  if (path_of(fd, path)) untold(path, call);
}
static void untold_entry(int dir, const char *name, const char *call) {
  char path[PATH_MAX];
  if (entry(dir, name, path)) untold(path, call);
}

/* The function that would have been called without us. */
#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, #name)
/* Notes what a call did without a trace in errno. */
#define NOTE(...) do { int kept = errno; __VA_ARGS__; errno = kept; } while (0)

static void changed(int fd, const char *path) {
  struct stat s;
  if (syscall(SYS_fstat, fd, &s) == 0) append((struct record){.kind = 'm', .inode = s.st_ino, .number = mode_and_owner(&s), .path = path});
}

static void opened(int dir, const char *path, int flags, int fd) {
  char at[PATH_MAX];
  int writes = (flags & (O_CREAT | O_TRUNC)) != 0 || (flags & O_ACCMODE) != O_RDONLY;
  if (fd < 0 || !writes || (flags & O_DIRECTORY) || path_of(fd, at) == NULL) return;
  if (entry(dir, path, at) == NULL) { path_of(fd, at); untold(at, "open through a link"); return; }
  if (flags & (O_DSYNC | O_SYNC)) untold(at, "open with O_SYNC");
  append((struct record){.kind = 'o', .inode = inode_of(fd), .number = (uint64_t)flags, .path = at});
  if (flags & O_CREAT) changed(fd, at);
}

static int open_noted(int dir, const char *path, int flags, mode_t mode) {
  int result = (int)syscall(SYS_openat, dir, path, flags, mode);
  NOTE(opened(dir, path, flags, result));
  return result;
}
#define MODE mode_t mode = 0; if (flags & (O_CREAT | O_TMPFILE)) { va_list l; va_start(l, flags); mode = va_arg(l, mode_t); va_end(l); }
int open(const char *path, int flags, ...) { MODE return open_noted(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return open_noted(AT_FDCWD, path, flags, mode); }
int openat(int dir, const char *path, int flags, ...) { MODE return open_noted(dir, path, flags, mode); }
int openat64(int dir, const char *path, int flags, ...) { MODE return open_noted(dir, path, flags, mode); }
int creat(const char *path, mode_t mode) { return open_noted(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

static void wrote(int fd, int64_t offset, const struct iovec *data, int parts, ssize_t count) {
  char path[PATH_MAX];
  struct stat s;
  if (count <= 0 || path_of(fd, path) == NULL || syscall(SYS_fstat, fd, &s) != 0 || !S_ISREG(s.st_mode)) return;
  if (offset < 0) offset = lseek(fd, 0, SEEK_CUR) - count;
  append((struct record){.kind = 'w', .inode = s.st_ino, .number = (uint64_t)offset, .path = path, .data = data, .parts = parts, .bytes = (size_t)count});
}
ssize_t write(int fd, const void *from, size_t count) {
  REAL(write);
  ssize_t result = real(fd, from, count);
  struct iovec one = {(void *)from, count};
  NOTE(wrote(fd, -1, &one, 1, result));
  return result;
}
ssize_t writev(int fd, const struct iovec *v, int n) {
  REAL(writev);
  ssize_t result = real(fd, v, n);
  NOTE(wrote(fd, -1, v, n, result));
  return result;
}
#define PWRITE(name, type) ssize_t name(int fd, const void *from, size_t count, type at) { \
  REAL(name); \
  ssize_t result = real(fd, from, count, at); \
  struct iovec one = {(void *)from, count}; \
  NOTE(wrote(fd, at, &one, 1, result)); \
  return result; \
}
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)
#define PWRITEV(name, type) ssize_t name(int fd, const struct iovec *v, int n, type at) { \
  REAL(name); \
  ssize_t result = real(fd, v, n, at); \
  NOTE(wrote(fd, at, v, n, result)); \
  return result; \
}
PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)

static void sized(int fd, int64_t size) {
  char path[PATH_MAX];
  if (path_of(fd, path)) append((struct record){.kind = 't', .inode = inode_of(fd), .number = (uint64_t)size, .path = path});
}
int ftruncate(int fd, off_t size) { REAL(ftruncate); int result = real(fd, size); if (result == 0) NOTE(sized(fd, size)); return result; }
int ftruncate64(int fd, off64_t size) { REAL(ftruncate64); int result = real(fd, size); if (result == 0) NOTE(sized(fd, size)); return result; }

static int synced(int fd, int (*real)(int)) {
  char path[PATH_MAX];
  struct record r = {.kind = 'f', .number = (uint64_t)fd};
  if (path_of(fd, path) == NULL) return real(fd);
  r.inode = inode_of(fd);
  r.path = path;
  append(r);
  int result = real(fd);
  r.kind = 'F';
  if (result == 0) NOTE(append(r));
  return result;
}
int fsync(int fd) { REAL(fsync); return synced(fd, real); }
int fdatasync(int fd) { REAL(fdatasync); return synced(fd, real); }

static void moved(char kind, int from_dir, const char *from, int to_dir, const char *to) {
  char a[PATH_MAX], b[PATH_MAX];
  const char *source = entry(from_dir, from, a), *target = entry(to_dir, to, b);
  if (source && target) append((struct record){.kind = kind, .path = source, .other = target});
  else if (source || target) untold(source ? source : target, "rename or link over the edge of the record");
}
int rename(const char *from, const char *to) { REAL(rename); int result = real(from, to); if (result == 0) NOTE(moved('r', AT_FDCWD, from, AT_FDCWD, to)); return result; }
int renameat(int a, const char *from, int b, const char *to) { REAL(renameat); int result = real(a, from, b, to); if (result == 0) NOTE(moved('r', a, from, b, to)); return result; }
int link(const char *from, const char *to) { REAL(link); int result = real(from, to); if (result == 0) NOTE(moved('l', AT_FDCWD, from, AT_FDCWD, to)); return result; }
int linkat(int a, const char *from, int b, const char *to, int flags) { REAL(linkat); int result = real(a, from, b, to, flags); if (result == 0) NOTE(moved('l', a, from, b, to)); return result; }

static void removed(int dir, const char *name) {
  char path[PATH_MAX];
  if (entry(dir, name, path)) append((struct record){.kind = 'u', .path = path});
}
int unlink(const char *path) { REAL(unlink); int result = real(path); if (result == 0) NOTE(removed(AT_FDCWD, path)); return result; }
int rmdir(const char *path) { REAL(rmdir); int result = real(path); if (result == 0) NOTE(removed(AT_FDCWD, path)); return result; }
int remove(const char *path) { REAL(remove); int result = real(path); if (result == 0) NOTE(removed(AT_FDCWD, path)); return result; }
int unlinkat(int dir, const char *path, int flags) { REAL(unlinkat); int result = real(dir, path, flags); if (result == 0) NOTE(removed(dir, path)); return result; }

static void made(int dir, const char *name) {
  char path[PATH_MAX];
  struct stat s;
  if (entry(dir, name, path) == NULL || syscall(SYS_newfstatat, AT_FDCWD, path, &s, AT_SYMLINK_NOFOLLOW) != 0) return;
  append((struct record){.kind = 'd', .inode = s.st_ino, .path = path});
  append((struct record){.kind = 'm', .inode = s.st_ino, .number = mode_and_owner(&s), .path = path});
}
int mkdir(const char *path, mode_t mode) { REAL(mkdir); int result = real(path, mode); if (result == 0) NOTE(made(AT_FDCWD, path)); return result; }
int mkdirat(int dir, const char *path, mode_t mode) { REAL(mkdirat); int result = real(dir, path, mode); if (result == 0) NOTE(made(dir, path)); return result; }

static void changed_fd(int fd) {
  char path[PATH_MAX];
  if (path_of(fd, path)) changed(fd, path);
}
static void changed_entry(const char *name) {
  char path[PATH_MAX];
  struct stat s;
  if (entry(AT_FDCWD, name, path) == NULL || syscall(SYS_newfstatat, AT_FDCWD, path, &s, AT_SYMLINK_NOFOLLOW) != 0) return;
  append((struct record){.kind = 'm', .inode = s.st_ino, .number = mode_and_owner(&s), .path = path});
}
int chmod(const char *path, mode_t mode) { REAL(chmod); int result = real(path, mode); if (result == 0) NOTE(changed_entry(path)); return result; }
int fchmod(int fd, mode_t mode) { REAL(fchmod); int result = real(fd, mode); if (result == 0) NOTE(changed_fd(fd)); return result; }
int chown(const char *path, uid_t u, gid_t g) { REAL(chown); int result = real(path, u, g); if (result == 0) NOTE(changed_entry(path)); return result; }
int lchown(const char *path, uid_t u, gid_t g) { REAL(lchown); int result = real(path, u, g); if (result == 0) NOTE(changed_entry(path)); return result; }
int fchown(int fd, uid_t u, gid_t g) { REAL(fchown); int result = real(fd, u, g); if (result == 0) NOTE(changed_fd(fd)); return result; }

/* What the record cannot tell fails the run, so that nobody takes half a record for the whole. */
int truncate(const char *path, off_t size) { REAL(truncate); NOTE(untold_entry(AT_FDCWD, path, "truncate")); return real(path, size); }
int symlink(const char *to, const char *path) { REAL(symlink); NOTE(untold_entry(AT_FDCWD, path, "symlink")); return real(to, path); }
int symlinkat(const char *to, int dir, const char *path) { REAL(symlinkat); NOTE(untold_entry(dir, path, "symlinkat")); return real(to, dir, path); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { REAL(renameat2); NOTE(untold_entry(b, to, "renameat2")); return real(a, from, b, to, flags); }
int posix_fallocate(int fd, off_t at, off_t size) { REAL(posix_fallocate); NOTE(untold_fd(fd, "posix_fallocate")); return real(fd, at, size); }
int fallocate(int fd, int mode, off_t at, off_t size) { REAL(fallocate); NOTE(untold_fd(fd, "fallocate")); return real(fd, mode, at, size); }
ssize_t copy_file_range(int a, off64_t *b, int c, off64_t *d, size_t e, unsigned f) { REAL(copy_file_range); NOTE(untold_fd(c, "copy_file_range")); return real(a, b, c, d, e, f); }
ssize_t sendfile(int to, int from, off_t *at, size_t size) {
  static ssize_t (*real)(int, int, off_t *, size_t);
  if (!real) real = (ssize_t(*)(int, int, off_t *, size_t))dlsym(RTLD_NEXT, "sendfile");
  NOTE(untold_fd(to, "sendfile"));
  return real(to, from, at, size);
}
static void *mapped(void *at, size_t size, int protection, int flags, int fd, int64_t offset) {
  if (fd >= 0 && (protection & PROT_WRITE) && (flags & MAP_SHARED)) NOTE(untold_fd(fd, "mmap"));
  return (void *)syscall(SYS_mmap, at, size, protection, flags, fd, offset);
}
void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) { return mapped(at, size, protection, flags, fd, offset); }
void *mmap64(void *at, size_t size, int protection, int flags, int fd, off64_t offset) { return mapped(at, size, protection, flags, fd, offset); }
