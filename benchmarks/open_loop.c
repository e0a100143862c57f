/* An open-loop load of GET requests over kept connections: each request has a time at which it must leave, fixed beforehand.

   open_loop HOST PORT RATE SECONDS CONNECTIONS REQUEST_FILE

   Latency counts from that time, whether the request could leave then or had to wait for a free connection, so a service that
   stalls is not forgiven (no coordinated omission). REQUEST_FILE holds requests, each ended by an empty line, taken in turn.
   Prints one line of JSON; milliseconds. One thread, epoll; it answers for its own share of the CPU in cpu_s. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { READ_BYTES = 65536, MOST_EVENTS = 256, GRACE_S = 20 };

typedef struct {
  int fd;
  long request; /* number of the request under way; -1: free */
  size_t got, wanted; /* bytes of the answer; wanted 0: its head is not whole yet */
  int status;
  char head[READ_BYTES];
} Connection;

static struct sockaddr_in place;
static int poller;
static Connection *connections;
static int connection_count;
static char **requests;
static size_t *request_sizes;
static long request_count, total, next_to_leave, answered, failed, refused, reconnected, late_leaves;
static double begun, rate, *latencies;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double due(long number) { return begun + (double)number / rate; }

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void open_connection(Connection *c) {
  int yes = 1;
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&place, sizeof place) < 0) die("connect");
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
  if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event) < 0) die("epoll_ctl");
  c->request = -1;
  c->got = c->wanted = 0;
}

static void close_connection(Connection *c) {
  if (c->request >= 0) {
    latencies[c->request] = (now() - due(c->request)) * 1e3;
    failed++;
    answered++;
  }
  close(c->fd);
  reconnected++;
  open_connection(c);
}

static void leave(Connection *c, long number) {
  size_t which = (size_t)(number % request_count);
  c->request = number;
  c->got = c->wanted = 0;
  if (now() - due(number) > 1e-3) late_leaves++;
  if (send(c->fd, requests[which], request_sizes[which], MSG_NOSIGNAL) != (ssize_t)request_sizes[which]) close_connection(c);
}

/* Free connections take the requests whose time has come, in their order. */
static void leave_due(void) {
  double t = now();
  for (int i = 0; i < connection_count && next_to_leave < total && due(next_to_leave) <= t; i++)
    if (connections[i].request < 0) leave(&connections[i], next_to_leave++);
}

static void read_head(Connection *c) {
  c->head[c->got < READ_BYTES ? c->got : READ_BYTES - 1] = 0;
  char *end = strstr(c->head, "\r\n\r\n");
  if (end == NULL) return;
  char *length = strcasestr(c->head, "\r\ncontent-length:");
  c->status = atoi(c->head + 9);
  c->wanted = (size_t)(end - c->head) + 4 + (length != NULL && length < end ? strtoul(length + 17, NULL, 10) : 0);
}

static void receive(Connection *c) {
  ssize_t n = recv(c->fd, c->head + c->got, READ_BYTES - 1 - c->got, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    close_connection(c);
    return;
  }
  c->got += (size_t)n;
  if (c->wanted == 0) read_head(c);
  if (c->wanted == 0 || c->got < c->wanted) {
    if (c->got >= READ_BYTES - 1) close_connection(c); /* an answer larger than it can be */
    return;
  }
  latencies[c->request] = (now() - due(c->request)) * 1e3;
  if (c->status < 200 || c->status >= 400) refused++;
  answered++;
  c->request = -1;
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double quantile(double q) {
  long at = (long)(q * (double)answered);
  return answered ? latencies[at < answered ? at : answered - 1] : 0.0;
}

static void read_requests(const char *path) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) die(path);
  static char text[1 << 24];
  size_t size = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[size] = 0;
  for (char *at = text, *end; (end = strstr(at, "\r\n\r\n")) != NULL; at = end + 4) {
    requests = realloc(requests, (size_t)(request_count + 1) * sizeof *requests);
    request_sizes = realloc(request_sizes, (size_t)(request_count + 1) * sizeof *request_sizes);
    requests[request_count] = at;
    request_sizes[request_count++] = (size_t)(end + 4 - at);
  }
  if (request_count == 0) exit(2);
}

int main(int argc, char **argv) {
  if (argc != 7) {
    fprintf(stderr, "usage: open_loop HOST PORT RATE SECONDS CONNECTIONS REQUEST_FILE\n");
    return 2;
  }
  place.sin_family = AF_INET;
  place.sin_port = htons((uint16_t)atoi(argv[2]));
  inet_pton(AF_INET, argv[1], &place.sin_addr);
  rate = atof(argv[3]);
  total = (long)(rate * atof(argv[4]));
  connection_count = atoi(argv[5]);
  read_requests(argv[6]);
  latencies = calloc((size_t)total, sizeof *latencies);
  connections = calloc((size_t)connection_count, sizeof *connections);
  poller = epoll_create1(EPOLL_CLOEXEC);
  for (int i = 0; i < connection_count; i++) open_connection(&connections[i]);
  int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
  epoll_ctl(poller, EPOLL_CTL_ADD, timer, &event);
  begun = now() + 0.05;
  while (answered < total && now() < due(total) + GRACE_S) {
    leave_due();
    double wait = next_to_leave < total ? due(next_to_leave) - now() : 0.1;
    if (wait < 1e-6) wait = next_to_leave < total ? 1e-3 : 0.1; /* overdue: no connection is free, an answer will wake us */
    struct itimerspec alarm = {.it_value = {(time_t)wait, (long)((wait - (double)(time_t)wait) * 1e9)}};
    timerfd_settime(timer, 0, &alarm, NULL);
    struct epoll_event events[MOST_EVENTS];
    int count = epoll_wait(poller, events, MOST_EVENTS, 1000);
    for (int i = 0; i < count; i++) {
      if (events[i].data.ptr != NULL) {
        receive(events[i].data.ptr);
      } else {
        uint64_t times;
        if (read(timer, &times, sizeof times) < 0 && errno != EAGAIN) die("timer");
      }
    }
  }
  double seconds = now() - begun;
  long missing = total - answered; /* they count as the slowest of all */
  for (int i = 0; i < connection_count; i++)
    if (connections[i].request >= 0) latencies[connections[i].request] = (now() - due(connections[i].request)) * 1e3;
  for (long i = next_to_leave; i < total; i++) latencies[i] = (now() - due(i)) * 1e3;
  answered = total;
  qsort(latencies, (size_t)total, sizeof *latencies, by_size);
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
  printf("{\"sent\": %ld, \"seconds\": %.3f, \"p50\": %.3f, \"p95\": %.3f, \"p99\": %.3f, \"p999\": %.3f, \"max\": %.3f, "
         "\"refused\": %ld, \"failed\": %ld, \"missing\": %ld, \"reconnected\": %ld, \"late\": %ld, \"cpu_s\": %.3f}\n",
         total, seconds, quantile(0.5), quantile(0.95), quantile(0.99), quantile(0.999), latencies[total - 1], refused, failed,
         missing, reconnected, late_leaves, cpu);
  return 0;
}
