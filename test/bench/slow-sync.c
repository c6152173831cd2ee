/* For LD_PRELOAD: a disk whose syncs take SLOW_SYNC_US microseconds longer. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

static void wait_longer(void) {
  const char *set = getenv("SLOW_SYNC_US");
  long us = set == NULL ? 5000 : atol(set);
  struct timespec wait = {us / 1000000, us % 1000000 * 1000};
  nanosleep(&wait, NULL);
}

static int slowly(const char *name, int file) {
  int (*sync)(int) = dlsym(RTLD_NEXT, name);
  int answer = sync(file);
  wait_longer();
  return answer;
}

int fsync(int file) { return slowly("fsync", file); }

int fdatasync(int file) { return slowly("fdatasync", file); }
