// The smallest web server that is worth a container: ready at once, gone at once. It answers every request with the text of
// the file /www/index.html and closes. As the first process of a container it must ask for the signal that ends it.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PORT = 80, BACKLOG = 4096, ANSWER_BYTES = 512 };

static void end(int signal) {
    (void)signal;
    _exit(0);
}

int main(void) {
    char body[ANSWER_BYTES / 2] = "", answer[ANSWER_BYTES], request[4096];
    int file = open("/www/index.html", O_RDONLY);
    if (file < 0 || read(file, body, sizeof body - 1) <= 0) return 1;
    int length = snprintf(answer, sizeof answer, "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n%s", body);
    signal(SIGTERM, end);
    signal(SIGPIPE, SIG_IGN);
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, BACKLOG)) return 2;
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0) continue;
        // A client that sends nothing must not keep the others waiting.
        struct timeval patience = {.tv_usec = 20000};
        setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        if (read(client, request, sizeof request) > 0 && write(client, answer, length) < 0) { /* it went away */ }
        close(client);
    }
}
