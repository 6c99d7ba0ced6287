// Many WebSocket clients in one process: connects, sends each client's script, counts points and their ages.
//
//   load_client --host 127.0.0.1 --port P --path /ws/ --clients N --script FILE [--deflate OFFER] [--subprotocol NAME]
//               [--ready TEXT] [--stalled N] [--connecting N] [--stream]
//
// Line i of the script holds the messages of client i, separated by tabs; `hex:…` is a binary message. A client is
// ready when a message with TEXT has come (without --ready, after the handshake). From then on, the last N clients of
// --stalled do not read. With --stream, messages are pieces of a byte stream (NATS, MQTT), so that a point may begin in
// one and end in the next.
//
// Prints one line of JSON when all are ready, then reads commands from its standard input: `report` prints the
// counters, `reset` sets them to 0, `drain` lets stalled clients read, `close` closes all with 1000 and ends.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "points.h"

enum state { UNUSED, CONNECTING, HANDSHAKE, WAITING, READY, CLOSED };

struct client {
    int fd;
    enum state state;
    bool stalled;
    unsigned char *held, *message;              // an unfinished frame; the fragments of an unfinished message
    size_t held_length, message_length;
    bool message_compressed;
    struct receiver receiver;
};

static struct {
    const char *host, *path, *script, *offer, *subprotocol, *ready;
    int port, clients, stalled, connecting;
    bool stream;
} option = {.host = "127.0.0.1", .path = "/", .clients = 1, .connecting = 50};

#define INBOX_BYTES (16 << 20)
static unsigned char inbox[INBOX_BYTES];
static struct client *clients;
static char **scripts;
static int script_count, poller, started, in_progress, ready, alive, agreed;
static int codes[5000];
static struct { uint64_t frames, wire_bytes; } total;
static double connect_began_at, connect_seconds;
static bool announced;

static void die(const char *what) {
    fprintf(stderr, "load_client: %s: %s\n", what, errno ? strerror(errno) : "failed");
    exit(1);
}

static void watch(struct client *client, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = client};
    if (epoll_ctl(poller, operation, client->fd, &event)) die("epoll_ctl");
}

static void gone(struct client *client, int code) {
    if (client->state == CLOSED) return;
    if (client->state < READY) in_progress--;
    client->state = CLOSED;
    codes[code >= 0 && code < 5000 ? code : 1006]++;
    alive--;
    close(client->fd);
    free(client->held);
    free(client->message);
    forget_history(&client->receiver);
    client->held = client->message = NULL;
    client->held_length = client->message_length = 0;
}

// A mask of zeros is a legal mask. When a message does not fit into an idle socket's buffer, the peer does not read.
static void send_frame(struct client *client, int opcode, const void *data, size_t length) {
    static unsigned char frame[1 << 20];
    size_t header = 2;
    if (length + 14 > sizeof frame) errno = 0, die("a message of the script is too long");
    frame[0] = 0x80 | opcode;
    if (length < 126) frame[1] = 0x80 | length;
    else {
        int bytes = length < 65536 ? 2 : 8;
        frame[1] = 0x80 | (bytes == 2 ? 126 : 127);
        for (int i = 0; i < bytes; i++) frame[2 + i] = (uint64_t)length >> (8 * (bytes - 1 - i));
        header += bytes;
    }
    memset(frame + header, 0, 4);
    memcpy(frame + header + 4, data, length);
    ssize_t sent = send(client->fd, frame, header + 4 + length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) gone(client, 1006);
}

static void send_script(struct client *client) {
    if (!script_count) return;
    static unsigned char binary[1 << 19];
    char *messages = strdup(scripts[(client - clients) % script_count]), *rest = messages, *message;
    while ((message = strsep(&rest, "\t")) && client->state != CLOSED) {
        if (strncmp(message, "hex:", 4)) {
            if (*message) send_frame(client, 1, message, strlen(message));
            continue;
        }
        size_t length = 0;
        for (char *digit = message + 4; digit[0] && digit[1]; digit += 2) sscanf(digit, "%2hhx", &binary[length++]);
        send_frame(client, 2, binary, length);
    }
    free(messages);
}

static void is_ready(struct client *client) {
    client->state = READY;
    in_progress--;
    ready++;
    if (client->stalled) watch(client, EPOLL_CTL_MOD, 0);
}

static void on_message(struct client *client, unsigned char *data, size_t length, bool compressed, double now) {
    total.frames++;
    if (client->state == READY && !option.stream) {
        count_shared(&client->receiver, data, length, compressed, now);
        return;
    }
    if (compressed) data = inflate_message(&client->receiver, data, &length);
    if (client->state == WAITING && memmem(data, length, option.ready, strlen(option.ready))) is_ready(client);
    if (option.stream) count_piece(&client->receiver, data, length, now);
    else count_message(&client->receiver, data, length, now);
}

// Returns the size of the frame in the inbox, or 0 when it is not complete.
static size_t on_frame(struct client *client, unsigned char *data, size_t available, double now) {
    if (available < 2) return 0;
    size_t header = 2;
    uint64_t length = data[1] & 127;
    if (data[1] & 128) errno = 0, die("the server masked a frame");
    if (length >= 126) {
        int bytes = length == 126 ? 2 : 8;
        if (available < 2u + bytes) return 0;
        length = 0;
        for (int i = 0; i < bytes; i++) length = length << 8 | data[2 + i];
        header += bytes;
    }
    if (header + length > INBOX_BYTES) errno = 0, die("a frame is too long");
    if (available < header + length) return 0;
    unsigned char *payload = data + header;
    bool last = data[0] & 128, compressed = data[0] & 64;
    switch (data[0] & 15) {
    case 8:
        send_frame(client, 8, payload, length < 2 ? 0 : 2);
        gone(client, length < 2 ? 1005 : payload[0] << 8 | payload[1]);
        break;
    case 9: send_frame(client, 10, payload, length); break;
    case 10: break;
    default:
        if (last && !client->message) {
            on_message(client, payload, length, compressed, now);
            break;
        }
        if (!client->message) client->message_compressed = compressed;
        client->message = realloc(client->message, client->message_length + length + 1);
        memcpy(client->message + client->message_length, payload, length);
        client->message_length += length;
        if (!last) break;
        on_message(client, client->message, client->message_length, client->message_compressed, now);
        free(client->message);
        client->message = NULL;
        client->message_length = 0;
    }
    return header + length;
}

static size_t on_handshake(struct client *client, char *data, size_t length) {
    char *end = memmem(data, length, "\r\n\r\n", 4);
    if (!end) return 0;
    *end = 0;
    if (length < 12 || strncmp(data + 8, " 101", 4)) {
        fprintf(stderr, "load_client: handshake refused: %.60s\n", data);
        gone(client, atoi(data + 9));
        return 0;
    }
    char *extensions = strcasestr(data, "\r\nsec-websocket-extensions:");
    if (extensions && strcasestr(extensions, "permessage-deflate")) {
        agreed++;
        char *limit = strcasestr(extensions, "server_max_window_bits=");
        int bits = limit ? atoi(strchr(limit, '=') + 1) : 15;
        if (!strcasestr(extensions, "server_no_context_takeover"))
            client->receiver.window = 1 << (bits >= 8 && bits <= 15 ? bits : 15);
    }
    client->state = WAITING;
    send_script(client);
    if (!option.ready && client->state != CLOSED) is_ready(client);
    return end + 4 - data;
}

static void on_readable(struct client *client) {
    size_t available = client->held_length, used = 0, taken;
    if (available) memcpy(inbox, client->held, available);
    ssize_t received = recv(client->fd, inbox + available, INBOX_BYTES - 1 - available, 0);
    if (received <= 0) {
        if (received == 0 || errno != EAGAIN) gone(client, 1006);
        return;
    }
    available += received;
    double now = seconds_of(CLOCK_REALTIME);
    if (client->state == HANDSHAKE) used = on_handshake(client, (char *)inbox, available);
    else total.wire_bytes += received;
    while (client->state > HANDSHAKE && client->state != CLOSED &&
           (taken = on_frame(client, inbox + used, available - used, now)))
        used += taken;
    if (client->state == CLOSED) return;
    client->held_length = available - used;
    if (!client->held_length) {
        free(client->held);
        client->held = NULL;
        return;
    }
    client->held = realloc(client->held, client->held_length);
    memcpy(client->held, inbox + used, client->held_length);
}

static void on_connected(struct client *client) {
    char request[1024];
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        fprintf(stderr, "load_client: connect: %s\n", strerror(error));
        gone(client, 0);
        return;
    }
    int length = snprintf(
        request, sizeof request,
        "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s%s%s%s%s%s\r\n",
        option.path, option.host, option.port, option.offer ? "Sec-WebSocket-Extensions: " : "",
        option.offer ? option.offer : "", option.offer ? "\r\n" : "",
        option.subprotocol ? "Sec-WebSocket-Protocol: " : "", option.subprotocol ? option.subprotocol : "",
        option.subprotocol ? "\r\n" : "");
    if (send(client->fd, request, length, MSG_NOSIGNAL) != length) {
        gone(client, 0);
        return;
    }
    client->state = HANDSHAKE;
    watch(client, EPOLL_CTL_MOD, EPOLLIN);
}

static void connect_more(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(option.port)};
    inet_pton(AF_INET, option.host, &address.sin_addr);
    while (started < option.clients && in_progress < option.connecting) {
        struct client *client = &clients[started];
        client->stalled = started++ >= option.clients - option.stalled;
        client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (client->fd < 0) die("socket");
        setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        if (connect(client->fd, (void *)&address, sizeof address) && errno != EINPROGRESS) die("connect");
        client->state = CONNECTING;
        in_progress++;
        alive++;
        watch(client, EPOLL_CTL_ADD, EPOLLOUT);
    }
}

static void report(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    uint64_t points = 0, least = UINT64_MAX, most = 0, repeated = 0, skipped = 0, gaps = 0;
    for (int i = 0; i < option.clients - option.stalled; i++) {
        struct receiver *receiver = &clients[i].receiver;
        points += receiver->points;
        repeated += receiver->repeated;
        skipped += receiver->skipped;
        gaps += receiver->gaps;
        if (receiver->points < least) least = receiver->points;
        if (receiver->points > most) most = receiver->points;
    }
    printf("{\"ready\": %d, \"alive\": %d, \"agreed\": %d, \"frames\": %lu, \"wire_bytes\": %lu, \"points\": %lu, "
           "\"inflated\": %lu, \"least\": %lu, \"most\": %lu, \"repeated\": %lu, \"skipped\": %lu, \"gaps\": %lu, "
           "\"p50_ms\": %.1f, \"p99_ms\": %.1f, \"max_ms\": %.1f, \"connect_seconds\": %.3f, \"cpu_seconds\": %.3f, "
           "\"closed\": {",
           ready, alive, agreed, total.frames, total.wire_bytes, points, inflated_count, least, most, repeated, skipped,
           gaps, age_percentile(0.5), age_percentile(0.99), age_percentile(1.0), connect_seconds,
           usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + 1e-6 * (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec));
    const char *comma = "";
    for (int code = 0; code < 5000; code++)
        if (codes[code]) printf("%s\"%d\": %d", comma, code, codes[code]), comma = ", ";
    printf("}, \"ages_by_ms\": [");
    print_histogram();
    printf("]}\n");
    fflush(stdout);
}

static void close_all(void) {
    double deadline = seconds_of(CLOCK_MONOTONIC) + 3;
    struct epoll_event events[256];
    for (int i = 0; i < started; i++)
        if (clients[i].state >= HANDSHAKE && clients[i].state != CLOSED) send_frame(&clients[i], 8, "\x03\xe8", 2);
    while (alive && seconds_of(CLOCK_MONOTONIC) < deadline) {
        int count = epoll_wait(poller, events, 256, 100);
        for (int i = 0; i < count; i++) {
            struct client *client = events[i].data.ptr;
            if (client && client->state != CLOSED) {
                if (client->stalled) gone(client, 1006);
                else on_readable(client);
            }
        }
    }
    exit(0);
}

static void obey(void) {
    static char line[256];
    static size_t length;
    ssize_t received = read(0, line + length, sizeof line - 1 - length);
    if (received <= 0) close_all();
    length += received;
    line[length] = 0;
    for (char *end; (end = strchr(line, '\n')); length -= end + 1 - line, memmove(line, end + 1, length + 1)) {
        if (!strncmp(line, "report", 6)) report();
        else if (!strncmp(line, "close", 5)) close_all();
        else if (!strncmp(line, "drain", 5)) {
            for (int i = option.clients - option.stalled; i < option.clients; i++)
                if (clients[i].state == READY) watch(&clients[i], EPOLL_CTL_MOD, EPOLLIN);
        } else if (!strncmp(line, "reset", 5)) {
            memset(&total, 0, sizeof total);
            inflated_count = 0;
            reset_ages();
            for (int i = 0; i < option.clients; i++) reset_receiver(&clients[i].receiver);
        }
    }
}

static void read_options(int count, char **values) {
    static struct option names[] = {
        {"host", 1, 0, 'h'}, {"port", 1, 0, 'p'}, {"path", 1, 0, 'a'}, {"clients", 1, 0, 'c'}, {"script", 1, 0, 's'},
        {"deflate", 1, 0, 'd'}, {"subprotocol", 1, 0, 'u'}, {"ready", 1, 0, 'r'}, {"stalled", 1, 0, 't'},
        {"connecting", 1, 0, 'n'}, {"stream", 0, 0, 'm'}, {0}};
    for (int name; (name = getopt_long(count, values, "", names, NULL)) != -1;) switch (name) {
        case 'h': option.host = optarg; break;
        case 'p': option.port = atoi(optarg); break;
        case 'a': option.path = optarg; break;
        case 'c': option.clients = atoi(optarg); break;
        case 's': option.script = optarg; break;
        case 'd': option.offer = optarg; break;
        case 'u': option.subprotocol = optarg; break;
        case 'r': option.ready = optarg; break;
        case 't': option.stalled = atoi(optarg); break;
        case 'n': option.connecting = atoi(optarg); break;
        case 'm': option.stream = true; break;
        default: exit(2);
    }
    if (!option.script) return;
    FILE *file = fopen(option.script, "r");
    if (!file) die(option.script);
    char *line = NULL;
    size_t capacity = 0;
    for (ssize_t length; (length = getline(&line, &capacity, file)) > 0;) {
        if (line[length - 1] == '\n') line[length - 1] = 0;
        scripts = realloc(scripts, (script_count + 1) * sizeof *scripts);
        scripts[script_count++] = strdup(line);
    }
    fclose(file);
}

static void raise_file_limit(void) {
    struct rlimit limit;
    rlim_t wanted = option.clients + 64;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < wanted) {
        fprintf(stderr,
                "load_client: %d clients need %lu open files, and `ulimit -Hn` allows %lu; raise it and try again\n",
                option.clients, (unsigned long)wanted, (unsigned long)limit.rlim_max);
        exit(3);
    }
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int count, char **values) {
    struct epoll_event events[512];
    read_options(count, values);
    raise_file_limit();
    signal(SIGPIPE, SIG_IGN);
    clients = calloc(option.clients, sizeof *clients);
    for (int i = 0; i < option.clients; i++) reset_receiver(&clients[i].receiver);
    poller = epoll_create1(0);
    if (epoll_ctl(poller, EPOLL_CTL_ADD, 0, &(struct epoll_event){.events = EPOLLIN})) die("standard input");
    connect_began_at = seconds_of(CLOCK_MONOTONIC);
    for (;;) {
        connect_more();
        if (!announced && started == option.clients && !in_progress) {
            announced = true;
            connect_seconds = seconds_of(CLOCK_MONOTONIC) - connect_began_at;
            report();
        }
        // In epoll_wait every send() of the server would wake this client at the server's expense; a client across a
        // network would not cost that. So this client sleeps, and looks once per millisecond.
        if (announced) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        int ready_count = epoll_wait(poller, events, 512, announced ? 0 : -1);
        if (ready_count < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < ready_count; i++) {
            struct client *client = events[i].data.ptr;
            if (!client) obey();
            else if (client->state == CONNECTING) on_connected(client);
            else if (client->state != CLOSED) {
                if (client->stalled && client->state == READY && !(events[i].events & EPOLLIN)) gone(client, 1006);
                else on_readable(client);
            }
        }
    }
}
