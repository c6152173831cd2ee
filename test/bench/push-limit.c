/*
 * The limit beside our reader in the push bench: C on raw inotify. At an event of the write-ahead log it reads, tries the write
 * lock, and naps until nobody writes and all is read; at the doorbell one read is enough.
 *
 *   push-limit DATABASE wal|bell     "arrivals" on a line: [[id, "monotonic ns when the row was there"], ...] on a line
 *
 * Needs no headers of SQLite, only its library; exits with 2 where there is none.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

#define ROW 100
#define DONE 101
#define ARRIVALS_MAX 1000000
#define POLL_MS 250
#define NAP_NS 50000
#define EPISODE_NS 20000000

typedef struct sqlite3 sqlite3;
typedef struct sqlite3_stmt statement;

static int (*open_database)(const char *, sqlite3 **);
static int (*prepare_v2)(sqlite3 *, const char *, int, statement **, const char **);
static int (*step)(statement *);
static int (*reset)(statement *);
static long long (*column)(statement *, int);
static int (*bind)(statement *, int, long long);

static sqlite3 *database;
static statement *version, *rows, *begin, *rollback;
static long long last, seen = -1;
static struct {
  long long id;
  int64_t ns;
} arrivals[ARRIVALS_MAX];
static int count;

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void *symbol(void *library, const char *name) {
  void *found = dlsym(library, name);
  if (found == NULL) exit(2);
  return found;
}

static void load(void) {
  void *library = dlopen("libsqlite3.so.0", RTLD_NOW);
  if (library == NULL) exit(2);
  open_database = symbol(library, "sqlite3_open");
  prepare_v2 = symbol(library, "sqlite3_prepare_v2");
  step = symbol(library, "sqlite3_step");
  reset = symbol(library, "sqlite3_reset");
  column = symbol(library, "sqlite3_column_int64");
  bind = symbol(library, "sqlite3_bind_int64");
}

static statement *prepare(const char *sql) {
  statement *made;
  if (prepare_v2(database, sql, -1, &made, NULL) == 0) return made;
  fprintf(stderr, "push-limit: cannot prepare %s\n", sql);
  exit(1);
}

static void read_rows(void) {
  if (step(version) != ROW) {
    reset(version);
    return;
  }
  long long present = column(version, 0);
  reset(version);
  if (present == seen) return;
  int64_t at = 0;
  int answer;
  bind(rows, 1, last);
  while ((answer = step(rows)) == ROW) {
    if (at == 0) at = now();
    last = column(rows, 0);
    if (count < ARRIVALS_MAX) {
      arrivals[count].id = last;
      arrivals[count++].ns = at;
    }
  }
  reset(rows);
  if (answer == DONE) seen = present;
}

static int is_quiet(void) {
  int answer = step(begin);
  reset(begin);
  if (answer != DONE) return 0;
  step(rollback);
  reset(rollback);
  return 1;
}

static void await_commit(void) {
  for (int64_t end = now() + EPISODE_NS; now() < end;) {
    read_rows();
    if (is_quiet()) {
      read_rows();
      return;
    }
    struct timespec nap = {0, NAP_NS};
    nanosleep(&nap, NULL);
  }
}

/* Answers whether the queue had an event of the file. */
static int heard(int events, const char *file) {
  char buffer[65536] __attribute__((aligned(8)));
  int is_heard = 0;
  for (ssize_t length; (length = read(events, buffer, sizeof buffer)) > 0;) {
    for (char *at = buffer; at < buffer + length;) {
      struct inotify_event *event = (struct inotify_event *)at;
      if (event->len > 0 && strcmp(event->name, file) == 0) is_heard = 1;
      at += sizeof *event + event->len;
    }
  }
  return is_heard;
}

static void answer(void) {
  char line[64];
  if (read(0, line, sizeof line) <= 0) exit(0);
  putchar('[');
  for (int each = 0; each < count; each += 1)
    printf("%s[%lld,\"%lld\"]", each > 0 ? "," : "", arrivals[each].id, (long long)arrivals[each].ns);
  puts("]");
  fflush(stdout);
  count = 0;
}

int main(int argc, char **argv) {
  if (argc != 3) return 64;
  load();
  const char *path = argv[1];
  int is_bell = strcmp(argv[2], "bell") == 0;
  if (open_database(path, &database) != 0) return 1;
  version = prepare("PRAGMA data_version");
  rows = prepare("SELECT id, conversation_id, to_session, message FROM messages WHERE id > ? ORDER BY id");
  begin = prepare("BEGIN IMMEDIATE");
  rollback = prepare("ROLLBACK");

  char folder[4096], file[4096];
  const char *name = strrchr(path, '/') + 1;
  snprintf(folder, sizeof folder, "%.*s", (int)(name - path), path);
  snprintf(file, sizeof file, "%s%s", name, is_bell ? "-bell" : "-wal");
  int events = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  inotify_add_watch(events, folder, IN_MODIFY | IN_CREATE | IN_DELETE);
  read_rows();
  puts("\"ready\"");
  fflush(stdout);
  struct pollfd waits[2] = {{events, POLLIN, 0}, {0, POLLIN, 0}};
  for (;;) {
    poll(waits, 2, POLL_MS);
    if (waits[1].revents != 0) answer();
    if (waits[0].revents != 0 && heard(events, file) && !is_bell) await_commit();
    else read_rows();
  }
}
