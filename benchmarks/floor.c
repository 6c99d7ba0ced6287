// The minimum work of a server: answer the handshake, and send() the same frame to every client at a fixed rate.
//
//   floor PORT
//
// Reads commands from its standard input: `publish HERTZ COUNT BYTES` sends COUNT frames of BYTES on the wire to each
// client and then prints how many. The answer to the handshake fits the one key that load_client uses.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char ANSWER[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
static int poller, *sockets, socket_count;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + 1e-9 * time.tv_nsec;
}

static void forget(int fd) {
    for (int i = 0; i < socket_count; i++)
        if (sockets[i] == fd) sockets[i] = sockets[--socket_count];
    close(fd);
}

// Returns whether there is something to read on the standard input.
static int serve(int listener, int timeout_ms) {
    struct epoll_event events[256];
    int has_input = 0;
    static char input[65536];
    int count = epoll_wait(poller, events, 256, timeout_ms);
    for (int i = 0; i < count; i++) {
        int fd = events[i].data.fd;
        if (fd == 0) {
            has_input = 1;
            continue;
        }
        if (fd == listener) {
            int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
            if (client < 0) continue;
            setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
            epoll_ctl(poller, EPOLL_CTL_ADD, client, &(struct epoll_event){.events = EPOLLIN, .data.fd = client});
            continue;
        }
        ssize_t length = recv(fd, input, sizeof input, 0);
        if (length > 3 && !memcmp(input, "GET", 3)) {
            if (send(fd, ANSWER, sizeof ANSWER - 1, MSG_NOSIGNAL) < 0) continue;
            sockets = realloc(sockets, (socket_count + 1) * sizeof *sockets);
            sockets[socket_count++] = fd;
        } else if (length == 0 || (length < 0 && errno != EAGAIN) || (length > 0 && (input[0] & 15) == 8)) {
            if (length > 0) send(fd, "\x88\x02\x03\xe8", 4, MSG_NOSIGNAL);
            forget(fd);
        }
    }
    return has_input;
}

static void publish(int listener, double hertz, long count, size_t bytes) {
    unsigned char *frame = calloc(1, bytes + 16);
    size_t header = bytes < 128 ? 2 : bytes < 65536 + 4 ? 4 : 10, length = bytes - header;
    frame[0] = 0x81;
    frame[1] = header == 2 ? length : header == 4 ? 126 : 127;
    for (size_t i = 2; i < header; i++) frame[i] = length >> (8 * (header - 1 - i));
    memset(frame + header, 'x', length);
    long sent = 0, refused = 0;
    double started_at = now();
    for (long number = 0; number < count; number++) {
        for (double wait; (wait = started_at + number / hertz - now()) > 0;) serve(listener, (int)(wait * 1000) + 1);
        for (int i = 0; i < socket_count; i++) {
            if (send(sockets[i], frame, bytes, MSG_NOSIGNAL) == (ssize_t)bytes) sent++;
            else refused++;
        }
    }
    printf("{\"sent\": %ld, \"refused\": %ld}\n", sent, refused);
    fflush(stdout);
    free(frame);
}

int main(int count, char **values) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(count > 1 ? atoi(values[1]) : 0)};
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) {
        perror("floor");
        return 1;
    }
    poller = epoll_create1(0);
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.fd = listener});
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &(struct epoll_event){.events = EPOLLIN, .data.fd = 0});
    for (;;) {
        char line[256];
        double hertz;
        long frames;
        size_t bytes;
        if (!serve(listener, -1)) continue;
        ssize_t length = read(0, line, sizeof line - 1);
        if (length <= 0) return 0;
        line[length] = 0;
        if (sscanf(line, "publish %lf %ld %zu", &hertz, &frames, &bytes) == 3) publish(listener, hertz, frames, bytes);
    }
}
