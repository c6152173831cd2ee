/*
 * The limit beside our delivery bench: two processes that do what durability demands of ours, and nothing else. One takes 400
 * bytes over TCP, writes 16 KiB of a log in place, syncs it, answers, and sends the bytes on over TCP; the other makes a file of
 * them, syncs it, and gives it its name.
 *
 *   delivery-limit FOLDER     prints its port; FOLDER/inbox has the files, 1.json first; ends when the sender lets go
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGE 400
#define FRAMES 16384
#define LOG_SIZE (FRAMES * 256)

static char message[MESSAGE];
static char frames[FRAMES];

static void demand(int is_so, const char *what) {
  if (is_so) return;
  perror(what);
  exit(1);
}

static int receive(int socket) {
  for (size_t have = 0; have < MESSAGE;) {
    ssize_t got = recv(socket, message + have, MESSAGE - have, 0);
    if (got <= 0) return 0;
    have += (size_t)got;
  }
  return 1;
}

static void at_once(int socket) {
  int on = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void deliver(struct sockaddr_in address) {
  int bridge = socket(AF_INET, SOCK_STREAM, 0);
  demand(connect(bridge, (struct sockaddr *)&address, sizeof address) == 0, "connect");
  at_once(bridge);
  for (long count = 1; receive(bridge); count += 1) {
    char name[64];
    snprintf(name, sizeof name, "inbox/%ld.json", count);
    int file = open("inbox/.draft", O_WRONLY | O_CREAT | O_EXCL, 0600);
    demand(file >= 0, "open");
    demand(write(file, message, MESSAGE) == MESSAGE, "write");
    demand(fsync(file) == 0, "fsync");
    close(file);
    demand(rename("inbox/.draft", name) == 0, "rename");
  }
  exit(0);
}

static int open_log(void) {
  int log = open("log", O_RDWR | O_CREAT, 0600);
  demand(log >= 0, "log");
  for (long at = 0; at < LOG_SIZE; at += FRAMES) demand(pwrite(log, frames, FRAMES, at) == FRAMES, "log");
  fsync(log);
  return log;
}

int main(int argc, char **argv) {
  if (argc != 2) return 64;
  demand(chdir(argv[1]) == 0, "chdir");
  int log = open_log();
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  demand(bind(listener, (struct sockaddr *)&address, length) == 0, "bind");
  demand(getsockname(listener, (struct sockaddr *)&address, &length) == 0, "getsockname");
  demand(listen(listener, 2) == 0, "listen");
  if (fork() == 0) deliver(address);
  int host = accept(listener, NULL, NULL);
  at_once(host);
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  int sender = accept(listener, NULL, NULL);
  at_once(sender);
  for (long at = 0; receive(sender); at = (at + FRAMES) % LOG_SIZE) {
    memcpy(frames, message, MESSAGE);
    demand(pwrite(log, frames, FRAMES, at) == FRAMES, "pwrite");
    demand(fdatasync(log) == 0, "fdatasync");
    demand(send(sender, "k", 1, 0) == 1, "answer");
    demand(send(host, message, MESSAGE, 0) == MESSAGE, "send");
  }
  return 0;
}
