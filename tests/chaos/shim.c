/* Stands between callout and the system, for the tests that torture the real process (tests/chaos).
 *
 * Preloaded into `callout serve`, it writes down every change of the database's files, lets the disk
 * fail on request, sets the wall clock, and kills the process at named points. The product knows nothing of it.
 *
 *   CHAOS_DB       the database's path; the files whose path begins with it are watched
 *   CHAOS_RECORD   a file that the changes are written to, in order (see `struct entry`)
 *   CHAOS_SWITCHES a file of 32-bit numbers that the test may change at any time (see `enum switches`)
 *   CHAOS_POINT    NAME:N, where to die; the names stand in `enum points`
 *   CHAOS_PORT     the provider's port
 *   CHAOS_STORE_PORT the port of the database server that holds the alerts, where one does
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define RECORDED_SYNC_US 3000

enum kinds { WRITE = 1, TRUNCATE, SYNC, UNLINK, DIRECTORY_SYNC };
enum files { NONE = -1, DATABASE, LOG, OTHER, OWNER, DIRECTORY };

/* What precedes the bytes of each change. The test reads this and appends entries of its own. */
struct entry {
    uint32_t kind;
    uint32_t file;
    uint64_t offset;     /* of a write; the new size of a truncation */
    uint32_t length;     /* of the bytes that follow */
    uint32_t checkpoint; /* 1 where the thread that moves the log did it */
};

enum switches {
    FULL,       /* 1: no file can grow */
    FAIL_WRITE, /* n: the n-th write from now fails with EIO */
    FAIL_SYNC,  /* n: the n-th sync from now fails with EIO; the one after that succeeds and means nothing */
    FAIL_READ,  /* n: the n-th read from now fails with EIO */
    N_SYNCS,    /* counted here, for the test to read */
    WALL,       /* by how many seconds somebody has set the wall clock ahead */
    SLOW_SYNC,  /* n: each commit takes n milliseconds longer */
    N_SWITCHES
};

enum points {
    SYNC_BEFORE, SYNC_AFTER,             /* the commit: the log is about to be, or was, forced to the disk */
    WRITE_BEFORE, WRITE_TORN, WRITE_AFTER,
    MOVE_BEFORE, MOVE_AFTER,             /* the log is moved into the database: a write or sync of that */
    POST_BEFORE, POST_AFTER,             /* a request to the provider */
    ACCEPTED_BEFORE, ACCEPTED_AFTER,     /* the provider's answer, before it is read and after */
    ANSWER_BEFORE, ANSWER_AFTER,         /* the answer to a client or to a webhook */
    COMMIT_BEFORE, COMMIT_AFTER,         /* alerts are sent to the database server, or it has said what came of that */
    N_POINTS
};
static const char *const POINTS[N_POINTS] = {
    "sync-before", "sync-after", "write-before", "write-torn", "write-after", "move-before", "move-after",
    "post-before", "post-after", "accepted-before", "accepted-after", "answer-before", "answer-after",
    "commit-before", "commit-after",
};

static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static char database[4096], directory[4096];
static size_t database_length;
static int record = -1;
static volatile int32_t *switches;
static int point = -1;
static int32_t countdown;
static int provider_port, store_port;
/* The connection on which alerts were sent to the database server. */
static int committing = -1;

#define REAL(name) ((__typeof__(&name)) dlsym(RTLD_NEXT, #name))
static __typeof__(&write) real_write;
static __typeof__(&read) real_read;
static __typeof__(&writev) real_writev;
static __typeof__(&pwrite64) real_pwrite64;
static __typeof__(&ftruncate64) real_ftruncate64;
static __typeof__(&fsync) real_fsync;
static __typeof__(&fdatasync) real_fdatasync;
static __typeof__(&unlink) real_unlink;
static __typeof__(&send) real_send;
static __typeof__(&recv) real_recv;
static __typeof__(&clock_gettime) real_clock_gettime;

__attribute__((constructor)) static void begin(void) {
    real_write = REAL(write);
    real_read = REAL(read);
    real_writev = REAL(writev);
    real_pwrite64 = REAL(pwrite64);
    real_ftruncate64 = REAL(ftruncate64);
    real_fsync = REAL(fsync);
    real_fdatasync = REAL(fdatasync);
    real_unlink = REAL(unlink);
    real_send = REAL(send);
    real_recv = REAL(recv);
    real_clock_gettime = REAL(clock_gettime);
    const char *text = getenv("CHAOS_DB");
    if (text) {
        snprintf(database, sizeof database, "%s", text);
        database_length = strlen(database);
        snprintf(directory, sizeof directory, "%s", text);
        char *slash = strrchr(directory, '/');
        if (slash) *slash = 0;
    }
    text = getenv("CHAOS_RECORD");
    if (text) record = open(text, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    text = getenv("CHAOS_SWITCHES");
    if (text) {
        int fd = open(text, O_RDWR | O_CLOEXEC);
        void *map = mmap(NULL, N_SWITCHES * sizeof(int32_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map != MAP_FAILED) switches = map;
    }
    text = getenv("CHAOS_PORT");
    if (text) provider_port = atoi(text);
    text = getenv("CHAOS_STORE_PORT");
    if (text) store_port = atoi(text);
    text = getenv("CHAOS_POINT");
    if (text) {
        const char *colon = strchr(text, ':');
        for (int i = 0; colon && i < N_POINTS; i++)
            if (strlen(POINTS[i]) == (size_t)(colon - text) && !strncmp(text, POINTS[i], colon - text)) point = i;
        if (point < 0) abort();
        countdown = atoi(colon + 1);
    }
}

/* Counts a point that is passed; says whether this is the one to die at. */
static int is_last(int passed) {
    return passed == point && __atomic_sub_fetch(&countdown, 1, __ATOMIC_SEQ_CST) == 0;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static void pass(int passed) {
    if (is_last(passed)) die();
}

/* Whether the n-th from now has come. */
static int strikes(int which) {
    return switches && switches[which] > 0 && __atomic_sub_fetch(&switches[which], 1, __ATOMIC_SEQ_CST) == 0;
}

static int file_of_path(const char *path) {
    if (!database_length) return NONE;
    if (!strcmp(path, directory)) return DIRECTORY;
    if (strncmp(path, database, database_length)) return NONE;
    const char *rest = path + database_length;
    if (!*rest) return DATABASE;
    if (!strcmp(rest, "-wal")) return LOG;
    if (!strcmp(rest, "-journal")) return OTHER;
    if (!strcmp(rest, "-owner")) return OWNER;
    return NONE;
}

static int file_of(int fd) {
    if (!database_length) return NONE;
    int before = errno;
    char name[64], path[4096];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(name, path, sizeof path - 1);
    errno = before;
    if (length < 0) return NONE;
    path[length] = 0;
    return file_of_path(path);
}

static int is_mover(void) {
    char name[16] = "";
    prctl(PR_GET_NAME, name);
    return !strncmp(name, "callout-checkpo", 15);
}

static void note(uint32_t kind, int file, uint64_t offset, const void *bytes, uint32_t length) {
    if (record < 0) return;
    int before = errno;
    struct entry entry = {kind, (uint32_t) file, offset, length, (uint32_t) is_mover()};
    struct iovec parts[2] = {{&entry, sizeof entry}, {(void *) bytes, length}};
    if (real_writev(record, parts, 2) != (ssize_t) (sizeof entry + length)) abort();
    errno = before;
}

static int grows(int fd, off64_t end) {
    struct stat64 about;
    return !fstat64(fd, &about) && end > about.st_size;
}

/* One write at a known place. Changes and their record are made under one lock, so that the record has
 * them in the order in which they happened. */
static ssize_t write_at(int fd, int file, const void *bytes, size_t length, off64_t offset) {
    int moves = is_mover();
    pass(moves ? MOVE_BEFORE : WRITE_BEFORE);
    pthread_mutex_lock(&order);
    ssize_t written;
    if (strikes(FAIL_WRITE)) {
        errno = EIO;
        written = -1;
    } else if (switches && switches[FULL] && grows(fd, offset + (off64_t) length)) {
        errno = ENOSPC;
        written = -1;
    } else {
        int torn = is_last(WRITE_TORN);
        written = real_pwrite64(fd, bytes, torn ? length / 2 : length, offset);
        if (written > 0) note(WRITE, file, (uint64_t) offset, bytes, (uint32_t) written);
        if (torn) die();
    }
    pthread_mutex_unlock(&order);
    pass(moves ? MOVE_AFTER : WRITE_AFTER);
    return written;
}

/* The files that faults are about. */
static int is_watched(int file) { return file == DATABASE || file == LOG || file == OTHER; }

/* Those that are written down: also the one that says whose the database is, and that there was one. */
static int is_recorded(int file) { return is_watched(file) || file == OWNER; }

static ssize_t write_recorded(int fd, int file, const void *bytes, size_t length, off64_t offset) {
    pthread_mutex_lock(&order);
    ssize_t written = real_pwrite64(fd, bytes, length, offset);
    if (written > 0) note(WRITE, file, (uint64_t) offset, bytes, (uint32_t) written);
    pthread_mutex_unlock(&order);
    return written;
}

static int leads_to(int fd, int port) {
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    int before = errno;
    int failed = getpeername(fd, (struct sockaddr *) &peer, &length);
    errno = before;
    return !failed && peer.sin_family == AF_INET && ntohs(peer.sin_port) == port;
}

static int is_provider(int fd) { return leads_to(fd, provider_port); }

static int is_socket(int fd) {
    struct stat about;
    return !fstat(fd, &about) && S_ISSOCK(about.st_mode);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    int file = file_of(fd);
    if (file == OWNER) return write_recorded(fd, file, bytes, length, offset);
    return is_watched(file) ? write_at(fd, file, bytes, length, offset) : real_pwrite64(fd, bytes, length, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    return pwrite64(fd, bytes, length, offset);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    int file = file_of(fd);
    if (!is_watched(file)) return real_write(fd, bytes, length);
    off64_t offset = lseek64(fd, 0, SEEK_CUR);
    ssize_t written = write_at(fd, file, bytes, length, offset);
    if (written > 0) lseek64(fd, offset + written, SEEK_SET);
    return written;
}

ssize_t read(int fd, void *bytes, size_t length) {
    if (switches && switches[FAIL_READ] > 0 && is_watched(file_of(fd)) && strikes(FAIL_READ)) {
        errno = EIO;
        return -1;
    }
    return real_read(fd, bytes, length);
}

int ftruncate64(int fd, off64_t size) {
    int file = file_of(fd);
    if (!is_recorded(file)) return real_ftruncate64(fd, size);
    pthread_mutex_lock(&order);
    int failed = real_ftruncate64(fd, size);
    if (!failed) note(TRUNCATE, file, (uint64_t) size, NULL, 0);
    pthread_mutex_unlock(&order);
    return failed;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static int sync_with(int fd, int (*real)(int)) {
    int file = file_of(fd);
    if (file == NONE) return real(fd);
    /* Faults, and what is counted, are about the database. */
    int owner = file == OWNER;
    int moves = is_mover() && !owner;
    int commits = file == LOG && !moves;
    if (commits) pass(SYNC_BEFORE);
    if (moves) pass(MOVE_BEFORE);
    if (commits && switches && switches[SLOW_SYNC] > 0) usleep((useconds_t) switches[SLOW_SYNC] * 1000);
    /* What is recorded is not synced truly. It takes as long as if it were, so that an answer that does not wait for it
     * is recorded before it. */
    if (commits && record >= 0) usleep(RECORDED_SYNC_US);
    pthread_mutex_lock(&order);
    int failed;
    if (file != DIRECTORY && !owner && strikes(FAIL_SYNC)) {
        errno = EIO;
        failed = -1;
    } else {
        /* The system's own cache outlives the process, and power is cut on paper only. */
        failed = record >= 0 ? 0 : real(fd);
        if (!failed) note(file == DIRECTORY ? DIRECTORY_SYNC : SYNC, file, 0, NULL, 0);
    }
    if (switches && !owner) __atomic_add_fetch(&switches[N_SYNCS], 1, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&order);
    if (commits) pass(SYNC_AFTER);
    if (moves) pass(MOVE_AFTER);
    return failed;
}

int fsync(int fd) { return sync_with(fd, real_fsync); }

int fdatasync(int fd) { return sync_with(fd, real_fdatasync); }

int unlink(const char *path) {
    int file = file_of_path(path);
    if (!is_recorded(file)) return real_unlink(path);
    pthread_mutex_lock(&order);
    int failed = real_unlink(path);
    if (!failed) note(UNLINK, file, 0, NULL, 0);
    pthread_mutex_unlock(&order);
    return failed;
}

static int watches_network(void) { return point >= POST_BEFORE; }

/* What callout writes of an alert to its database, and nothing else that it says to it, has this in it. */
static const char ALERT[] = "\"attempts\"";

/* Passes the point before a commit, where these bytes are one. */
static void look_for_commit(int fd, const void *bytes, size_t length) {
    if (!store_port || point < COMMIT_BEFORE || !memmem(bytes, length, ALERT, sizeof ALERT - 1)) return;
    if (!leads_to(fd, store_port)) return;
    pass(COMMIT_BEFORE);
    __atomic_store_n(&committing, fd, __ATOMIC_SEQ_CST);
}

ssize_t send(int fd, const void *bytes, size_t length, int flags) {
    if (!watches_network()) return real_send(fd, bytes, length, flags);
    int provider = is_provider(fd);
    pass(provider ? POST_BEFORE : ANSWER_BEFORE);
    look_for_commit(fd, bytes, length);
    ssize_t sent = real_send(fd, bytes, length, flags);
    pass(provider ? POST_AFTER : ANSWER_AFTER);
    return sent;
}

ssize_t writev(int fd, const struct iovec *parts, int n_parts) {
    if (!watches_network() || !is_socket(fd)) return real_writev(fd, parts, n_parts);
    int provider = is_provider(fd);
    pass(provider ? POST_BEFORE : ANSWER_BEFORE);
    for (int i = 0; i < n_parts; i++) look_for_commit(fd, parts[i].iov_base, parts[i].iov_len);
    ssize_t sent = real_writev(fd, parts, n_parts);
    pass(provider ? POST_AFTER : ANSWER_AFTER);
    return sent;
}

ssize_t recv(int fd, void *bytes, size_t length, int flags) {
    int expected = fd;
    if (point == COMMIT_AFTER && __atomic_load_n(&committing, __ATOMIC_SEQ_CST) == fd) {
        ssize_t received = real_recv(fd, bytes, length, flags);
        if (received > 0 && __atomic_compare_exchange_n(&committing, &expected, -1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            pass(COMMIT_AFTER);
        return received;
    }
    if (!watches_network() || !is_provider(fd)) return real_recv(fd, bytes, length, flags);
    if (point == ACCEPTED_BEFORE) {
        char one;
        if (real_recv(fd, &one, 1, flags | MSG_PEEK) > 0) pass(ACCEPTED_BEFORE);
    }
    ssize_t received = real_recv(fd, bytes, length, flags);
    if (received > 0) pass(ACCEPTED_AFTER);
    return received;
}

/* The wall clock is what somebody sets; all others go on evenly. */
int clock_gettime(clockid_t which, struct timespec *at) {
    int failed = real_clock_gettime ? real_clock_gettime(which, at) : (int) syscall(SYS_clock_gettime, which, at);
    if (!failed && which == CLOCK_REALTIME && switches) at->tv_sec += switches[WALL];
    return failed;
}
