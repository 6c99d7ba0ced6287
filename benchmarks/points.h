// What the load client does with a message: inflate it, find its points, take their ages.
//
// A point is a number behind `"sent_at":`, the instant in seconds since 1970 at which it was due, perhaps followed by
// `,"number":` and its number in the order of publishing.
#pragma once
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zlib.h>

#define SENT_AT "\"sent_at\":"
#define NUMBER ",\"number\":"
#define CARRY_BYTES 96            // longer than a point
#define AGE_BUCKETS 600000        // of 0.1 ms
#define BUCKETS 16384
#define SEEN_BYTES (32 << 20)

struct point { double sent_at; int64_t number; };

// The text to which a compressed message may refer. It never changes; all receivers with the same last text share it.
// An empty history is NULL.
struct history {
    uint64_t hash;
    unsigned references;
    size_t length;
    struct history *next;             // in its bucket
    unsigned char text[];
};

struct receiver {
    size_t window;                    // how many bytes of earlier messages a compressed message may refer to
    struct history *history;
    uint64_t points, repeated, skipped, gaps;
    int64_t last_number;
    unsigned char carry_length;
    unsigned char carry[CARRY_BYTES];
};

// A message that was inflated and searched. Servers send equal bytes to many clients; a load client that processed each
// of them would measure itself. The whole message is compared, not only its hash. Equal bytes that may refer to earlier
// messages mean the same only after the same history.
struct seen {
    uint64_t hash;
    size_t window, length, bytes;
    bool compressed, is_gap;
    struct history *before, *after;
    struct point *points;
    size_t count;
    struct seen *next, *younger;      // in its bucket; in the order in which they came
    unsigned char data[];
};

static struct history *histories[BUCKETS];
static struct seen *seen[BUCKETS], *oldest_seen, *newest_seen;
static size_t seen_bytes;
static uint64_t inflated_count;
static uint32_t ages[AGE_BUCKETS + 1];
static uint64_t age_count;
static double oldest;
static unsigned char *inflated;
static size_t inflated_capacity;

static double seconds_of(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec + 1e-9 * now.tv_nsec;
}

static void reset_ages(void) {
    memset(ages, 0, sizeof ages);
    age_count = 0;
    oldest = 0;
}

static void reset_receiver(struct receiver *receiver) {
    receiver->points = receiver->repeated = receiver->skipped = receiver->gaps = 0;
    receiver->last_number = -1;
}

static double age_percentile(double share) {
    if (!age_count) return 0;
    if (share >= 1) return oldest * 1000;
    uint64_t wanted = ceil(share * age_count), sum = 0;
    for (int bucket = 0; bucket <= AGE_BUCKETS; bucket++)
        if ((sum += ages[bucket]) >= wanted) return bucket / 10.0;
    return oldest * 1000;
}

// Pairs of an age in milliseconds and its number of points; ages without points are left out.
static void print_histogram(void) {
    const char *comma = "";
    for (int first = 0; first <= AGE_BUCKETS; first += 10) {
        uint64_t sum = 0;
        for (int bucket = first; bucket < first + 10 && bucket <= AGE_BUCKETS; bucket++) sum += ages[bucket];
        if (sum) printf("%s[%d, %lu]", comma, first / 10, sum), comma = ", ";
    }
}

static uint64_t mixed(uint64_t hash, const void *bytes) {
    uint64_t words[2];
    memcpy(words, bytes, sizeof words);
    __uint128_t product = (__uint128_t)(words[0] ^ 0x9e3779b97f4a7c15u) * (words[1] ^ hash);
    return product ^ product >> 64;
}

static uint64_t hash_of(const unsigned char *data, size_t length, uint64_t seed) {
    uint64_t hash = seed ^ length * 0xd6e8feb86659fd93u, rest[2] = {0};
    for (; length >= sizeof rest; data += sizeof rest, length -= sizeof rest) hash = mixed(hash, data);
    memcpy(rest, data, length);
    return mixed(hash, rest);
}

static void release(struct history *history) {
    if (!history || --history->references) return;
    struct history **link = &histories[history->hash % BUCKETS];
    while (*link != history) link = &(*link)->next;
    *link = history->next;
    free(history);
}

static struct history *kept(struct history *history) {
    if (history) history->references++;
    return history;
}

static void forget_history(struct receiver *receiver) {
    release(receiver->history);
    receiver->history = NULL;
}

// Returns a reference to the history after a message. Receivers with different histories share one again as soon as the
// difference has left the window.
static struct history *history_after(const struct history *before, size_t window, const unsigned char *data,
                                     size_t length) {
    size_t added = length < window ? length : window, old = before ? before->length : 0;
    if (old > window - added) old = window - added;
    if (!(old + added)) return NULL;
    struct history *history = malloc(sizeof *history + old + added), *other;
    if (old) memcpy(history->text, before->text + before->length - old, old);
    memcpy(history->text + old, data + length - added, added);
    history->length = old + added;
    history->hash = hash_of(history->text, history->length, 0);
    struct history **bucket = &histories[history->hash % BUCKETS];
    for (other = *bucket; other; other = other->next)
        if (other->hash == history->hash && other->length == history->length &&
            !memcmp(other->text, history->text, history->length)) {
            free(history);
            return kept(other);
        }
    history->references = 1;
    history->next = *bucket;
    return *bucket = history;
}

// Returns the message in a buffer that the next call overwrites, and moves the receiver's history on.
static unsigned char *inflate_message(struct receiver *receiver, const unsigned char *data, size_t *length) {
    static z_stream stream;
    struct history *before = receiver->history;
    if ((stream.state ? inflateReset(&stream) : inflateInit2(&stream, -15)) != Z_OK) exit(1);
    if (before) inflateSetDictionary(&stream, before->text, before->length);
    inflated_count++;
    size_t done = 0;
    for (int part = 0; part < 2; part++) {
        stream.next_in = part ? (unsigned char *)"\x00\x00\xff\xff" : (unsigned char *)data;
        stream.avail_in = part ? 4 : *length;
        do {
            if (inflated_capacity - done < 65536) inflated = realloc(inflated, inflated_capacity += 1 << 20);
            stream.next_out = inflated + done;
            stream.avail_out = inflated_capacity - done;
            int result = inflate(&stream, Z_SYNC_FLUSH);
            done = inflated_capacity - stream.avail_out;
            // A final block ends neither the message nor the text that later blocks may refer to.
            if (result == Z_STREAM_END) inflateResetKeep(&stream);
            else if (result != Z_OK && result != Z_BUF_ERROR) {
                fprintf(stderr, "load_client: a message does not inflate: %s\n", stream.msg ? stream.msg : "");
                exit(1);
            }
        } while (stream.avail_in || !stream.avail_out);
    }
    *length = done;
    receiver->history = history_after(before, receiver->window, inflated, done);
    release(before);
    return inflated;
}

// Reads the next point at or after *position and moves *position behind it; false without a complete point.
static bool next_point(const unsigned char *data, size_t length, size_t *position, struct point *point) {
    const char *marker = memmem(data + *position, length - *position, SENT_AT, strlen(SENT_AT));
    if (!marker) return false;
    const char *end = (const char *)data + length, *at = marker + strlen(SENT_AT);
    char text[CARRY_BYTES + 1];
    size_t room = end - at < CARRY_BYTES ? end - at : CARRY_BYTES;
    memcpy(text, at, room);
    text[room] = 0;
    char *behind;
    point->sent_at = strtod(text, &behind);
    point->number = -1;
    if (!*behind) return false;
    if (!strncmp(behind, NUMBER, strlen(NUMBER))) {
        point->number = strtoll(behind + strlen(NUMBER), &behind, 10);
        if (!*behind) return false;
    } else if (strlen(behind) < strlen(NUMBER) && *behind == ',') return false;
    *position = at + (behind - text) - (const char *)data;
    return true;
}

static void count_point(struct receiver *receiver, const struct point *point, double now) {
    double age = now - point->sent_at;
    receiver->points++;
    age_count++;
    if (age > oldest) oldest = age;
    ages[age < 0 ? 0 : age * 10000 < AGE_BUCKETS ? (int)(age * 10000) : AGE_BUCKETS]++;
    if (point->number < 0) return;
    if (receiver->last_number >= 0) {
        if (point->number <= receiver->last_number) receiver->repeated++;
        else receiver->skipped += point->number - receiver->last_number - 1;
    }
    if (point->number > receiver->last_number) receiver->last_number = point->number;
}

static bool is_gap(const unsigned char *data, size_t length) {
    return memmem(data, length < 24 ? length : 24, "\"gap\"", 5);
}

static void count_message(struct receiver *receiver, const unsigned char *data, size_t length, double now) {
    struct point point;
    for (size_t position = 0; next_point(data, length, &position, &point);) count_point(receiver, &point, now);
    receiver->gaps += is_gap(data, length);
}

static void forget_oldest(void) {
    struct seen *message = oldest_seen, **link = &seen[message->hash % BUCKETS];
    while (*link != message) link = &(*link)->next;
    *link = message->next;
    oldest_seen = message->younger;
    seen_bytes -= message->bytes;
    release(message->before);
    release(message->after);
    free(message->points);
    free(message);
}

// Inflates and searches the message with this key, and keeps it as the newest.
static struct seen *look_at(struct receiver *receiver, const unsigned char *data, const struct seen *key) {
    struct seen *message = malloc(sizeof *message + key->length), **bucket = &seen[key->hash % BUCKETS];
    *message = *key;
    memcpy(message->data, data, key->length);
    size_t length = key->length, room = 0;
    kept(message->before);
    if (key->compressed) {
        data = inflate_message(receiver, data, &length);
        message->after = kept(receiver->history);
    }
    message->is_gap = is_gap(data, length);
    struct point point;
    for (size_t position = 0; next_point(data, length, &position, &point);) {
        if (message->count == room)
            message->points = realloc(message->points, (room += 16 + room) * sizeof *message->points);
        message->points[message->count++] = point;
    }
    message->next = *bucket;
    *bucket = message;
    message->bytes = sizeof *message + key->length + room * sizeof *message->points;
    if (message->before) message->bytes += sizeof *message->before + message->before->length;
    if (message->after) message->bytes += sizeof *message->after + message->after->length;
    seen_bytes += message->bytes;
    while (oldest_seen && seen_bytes > SEEN_BYTES) forget_oldest();
    if (oldest_seen) newest_seen->younger = message;
    else oldest_seen = message;
    return newest_seen = message;
}

// A message that other clients may get as well.
static void count_shared(struct receiver *receiver, const unsigned char *data, size_t length, bool compressed,
                         double now) {
    struct seen key = {.length = length, .window = receiver->window, .compressed = compressed}, *message;
    if (compressed) key.before = receiver->history;
    key.hash = hash_of(data, length, (uintptr_t)key.before);
    for (message = seen[key.hash % BUCKETS]; message; message = message->next)
        if (message->hash == key.hash && message->length == length && message->compressed == compressed &&
            message->before == key.before && message->window == key.window && !memcmp(message->data, data, length))
            break;
    if (!message) message = look_at(receiver, data, &key);
    else if (compressed) {
        receiver->history = kept(message->after);
        release(key.before);
    }
    for (size_t i = 0; i < message->count; i++) count_point(receiver, &message->points[i], now);
    receiver->gaps += message->is_gap;
}

// A piece of a byte stream, behind the rest of the pieces before it.
static void count_piece(struct receiver *receiver, const unsigned char *data, size_t length, double now) {
    static unsigned char *joined;
    static size_t capacity;
    if (capacity < length + CARRY_BYTES) joined = realloc(joined, capacity = length + CARRY_BYTES);
    memcpy(joined, receiver->carry, receiver->carry_length);
    memcpy(joined + receiver->carry_length, data, length);
    length += receiver->carry_length;
    struct point point;
    size_t position = 0;
    while (next_point(joined, length, &position, &point)) count_point(receiver, &point, now);
    receiver->carry_length = length - position < CARRY_BYTES ? length - position : CARRY_BYTES;
    memcpy(receiver->carry, joined + length - receiver->carry_length, receiver->carry_length);
}
