// What a client sees: asks a web server once every millisecond, each time on a new connection, and does not wait for the
// answer before it asks again. So an answer that hangs hides nothing.
//
//     prober ADDRESS PORT FILE
//
// Whenever the text that is answered changes, and when it ends (SIGTERM), it writes into FILE (whole, by a rename) one line:
//     ASKED ANSWERED LONGEST_GAP_MICROSECONDS LAST_TEXT
// The gap is the longest time between the ends of two answers that followed each other.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

// One question each millisecond, given up after two seconds: so many can be open at most.
enum { EVERY_NS = 1000000, OPEN_LIMIT = 4096, TEXT_BYTES = 64 };
static const long long GIVE_UP_NS = 2000000000LL;
static const char REQUEST[] = "GET / HTTP/1.0\r\n\r\n";

struct question {
    int socket, sent, got;
    long long since;
    char answer[512];
};
static struct question questions[OPEN_LIMIT];
static volatile sig_atomic_t ending;
static long long asked, answered, last_ns, gap_ns;
static char text[TEXT_BYTES];
static const char *file;

static long long now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void tell(void) {
    char part[4096];
    snprintf(part, sizeof part, "%s.part", file);
    FILE *out = fopen(part, "w");
    if (!out) exit(3);
    fprintf(out, "%lld %lld %lld %s\n", asked, answered, gap_ns / 1000, text);
    if (fclose(out) || rename(part, file)) exit(3);
}

static void give_up(struct question *question) {
    close(question->socket);
    question->socket = -1;
}

static void ask(int poll, const struct sockaddr_in *to) {
    static int next;
    struct question *question = &questions[next++ % OPEN_LIMIT];
    if (question->socket >= 0) give_up(question);
    asked++;
    int handle = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (handle < 0) return;
    *question = (struct question){.socket = handle, .since = now_ns()};
    if (connect(handle, (const struct sockaddr *)to, sizeof *to) && errno != EINPROGRESS) {
        give_up(question);
        return;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = question};
    epoll_ctl(poll, EPOLL_CTL_ADD, handle, &event);
}

// A whole answer has come.
static void take(const struct question *question) {
    const char *body = strstr(question->answer, "\r\n\r\n");
    if (!body || strncmp(question->answer, "HTTP/1.0 200", 12)) return;
    long long now = now_ns();
    answered++;
    if (last_ns && now - last_ns > gap_ns) gap_ns = now - last_ns;
    last_ns = now;
    char found[TEXT_BYTES];
    snprintf(found, sizeof found, "%.*s", (int)strcspn(body + 4, "\n"), body + 4);
    if (strcmp(found, text)) {
        strcpy(text, found);
        tell();
    }
}

static void go_on(int poll, struct question *question) {
    if (question->socket < 0) return;
    if (!question->sent) {
        if (write(question->socket, REQUEST, sizeof REQUEST - 1) < 0) {
            if (errno != EAGAIN) give_up(question);
            return;
        }
        question->sent = 1;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = question};
        epoll_ctl(poll, EPOLL_CTL_MOD, question->socket, &event);
        return;
    }
    int room = sizeof question->answer - 1 - question->got;
    int length = read(question->socket, question->answer + question->got, room);
    if (length > 0) {
        question->got += length;
    } else if (length == 0) {
        take(question);
        give_up(question);
    } else if (errno != EAGAIN) {
        give_up(question);
    }
}

static void end(int signal) {
    (void)signal;
    ending = 1;
}

int main(int count, char **arguments) {
    if (count != 4) return 2;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[2]))};
    if (inet_pton(AF_INET, arguments[1], &to.sin_addr) != 1) return 2;
    file = arguments[3];
    struct rlimit files = {2 * OPEN_LIMIT, 2 * OPEN_LIMIT};
    if (setrlimit(RLIMIT_NOFILE, &files)) return 3;
    for (int i = 0; i < OPEN_LIMIT; i++) questions[i].socket = -1;
    signal(SIGTERM, end);
    signal(SIGPIPE, SIG_IGN);
    int poll = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct itimerspec every = {.it_interval.tv_nsec = EVERY_NS, .it_value.tv_nsec = EVERY_NS};
    struct epoll_event tick = {.events = EPOLLIN, .data.ptr = NULL};
    timerfd_settime(timer, 0, &every, NULL);
    epoll_ctl(poll, EPOLL_CTL_ADD, timer, &tick);
    while (!ending) {
        struct epoll_event events[256];
        int ready = epoll_wait(poll, events, 256, 100);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr) {
                go_on(poll, events[i].data.ptr);
                continue;
            }
            unsigned long long ticks;
            // Ticks that the machine was too busy for are not made up for: the load stays what it is.
            if (read(timer, &ticks, sizeof ticks) > 0) ask(poll, &to);
        }
        long long now = now_ns();
        for (int i = 0; i < OPEN_LIMIT; i++)
            if (questions[i].socket >= 0 && now - questions[i].since > GIVE_UP_NS) give_up(&questions[i]);
    }
    tell();
    return 0;
}
