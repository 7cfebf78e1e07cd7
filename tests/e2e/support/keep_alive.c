// A web server for the scenario with a load balancer. It answers with the text of /www/index.html and keeps connections open;
// /slow gives the first half of the answer at once and the second one after a second. It ends at once when it is told to,
// whatever it is doing: whoever stops it too early sees truncated answers.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PORT = 80, BACKLOG = 512 };

static char body[256];
static int length;

static void end(int signal) {
    (void)signal;
    _exit(0);
}

static int all(int client, const char *from, int count) {
    return write(client, from, count) == count;
}

static void serve(int client) {
    char request[8192], head[128];
    int filled = 0;
    for (;;) {
        int got = read(client, request + filled, sizeof request - 1 - filled);
        if (got <= 0) return;
        request[filled += got] = 0;
        if (!strstr(request, "\r\n\r\n")) continue;
        int slow = strncmp(request, "GET /slow", 9) == 0, half = slow ? length / 2 : length;
        int closes = strcasestr(request, "connection: close") != NULL || strstr(request, "HTTP/1.0\r\n") != NULL;
        int size = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n", length,
                            closes ? "Connection: close\r\n" : "");
        if (!all(client, head, size) || !all(client, body, half)) return;
        if (slow) sleep(1);
        if (!all(client, body + half, length - half) || closes) return;
        filled = 0;
    }
}

int main(void) {
    int file = open("/www/index.html", O_RDONLY);
    if (file < 0 || (length = read(file, body, sizeof body)) <= 0) return 1;
    signal(SIGTERM, end);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, BACKLOG)) return 2;
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0) continue;
        if (fork() == 0) {
            close(listener);
            serve(client);
            _exit(0);
        }
        close(client);
    }
}
