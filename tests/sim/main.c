/* tests/sim/main.c - runs seeds, each in a process of its own, and tells.
 *
 *   sim --seed N | --seeds A..B  [--days 7] [--jobs 2] [--trace FILE] [--paranoid]
 *                          in the end what happened how often; of a thousand seeds
 *                          everything must have happened at least once
 *   sim --twice A..B       each seed twice: the traces must be the same
 *   sim --plants A..B      each planted fault must be caught by one of the seeds
 *   sim --newsletter N     one to N recipients in a quiet world, and resets beside it
 */
#include "tests/sim/sim.h"

#include "base/log.h"

#include <ftw.h>
#include <getopt.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOBS_MAX   256u
#define MANY_SEEDS 1000u /* from here on all that can happen does */

struct job {
    pid_t pid;
    uint64_t seed;
    int pipe;
};

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    return remove(path);
}

static void make_folder(char *out, size_t size)
{
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR");

    snprintf(out, size, "%s/relayd-sim-XXXXXX", base != NULL ? base : "/tmp");
    if (mkdtemp(out) == NULL) {
        perror("mkdtemp");
        exit(1);
    }
}

/* In the child. */
_Noreturn static void run_child(const struct options *opt, int to)
{
    struct result r = sim_run(opt);

    if (write(to, &r, sizeof r) != sizeof r)
        _exit(4);
    exit(0); /* not _exit: a sanitizer build looks for leaks */
}

struct outcome {
    bool ok;
    int status;
    struct result result;
};

struct run {
    pid_t pid;
    int from;
    char folder[300];
    uint64_t seed;
};

static void begin(const struct options *opt, struct run *run)
{
    int ends[2];
    struct options child = *opt;

    make_folder(run->folder, sizeof run->folder);
    child.folder = run->folder;
    run->seed = opt->seed;
    fflush(NULL);
    if (pipe(ends) != 0 || (run->pid = fork()) < 0) {
        perror("fork");
        exit(1);
    }
    if (run->pid == 0) {
        close(ends[0]);
        alarm(opt->newsletter != 0 ? 3600 : 300);
        run_child(&child, ends[1]);
    }
    close(ends[1]);
    run->from = ends[0];
}

static struct outcome end(struct run *run)
{
    struct outcome o = { 0 };
    ssize_t n = read(run->from, &o.result, sizeof o.result);

    close(run->from);
    waitpid(run->pid, &o.status, 0);
    o.ok = n == sizeof o.result && WIFEXITED(o.status) && WEXITSTATUS(o.status) == 0;
    nftw(run->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return o;
}

static void add_counts(struct counts *to, const struct counts *c)
{
    uint64_t *a = (uint64_t *)to;
    const uint64_t *b = (const uint64_t *)c;

    for (size_t i = 0; i < sizeof *to / sizeof *a; i++)
        a[i] += b[i];
}

static void tell_failure(const struct options *opt, uint64_t seed, const struct outcome *o)
{
    if (WIFSIGNALED(o->status))
        printf("# seed %llu: killed by signal %d\n", (unsigned long long)seed, WTERMSIG(o->status));
    printf("# repeat it: sim --seed %llu --days %u --trace FILE\n", (unsigned long long)seed,
           opt->days);
}

static void progress(uint64_t done, uint64_t of, unsigned failed)
{
    if (isatty(2))
        fprintf(stderr, "\r%llu of %llu seeds, %u failed %s", (unsigned long long)done,
                (unsigned long long)of, failed, done == of ? "\n" : "");
}

static const char *const words[] = {
#define COUNT(name, text) text,
    COUNTS(COUNT)
#undef COUNT
};
static const char *const names[] = {
#define COUNT(name, text) #name,
    COUNTS(COUNT)
#undef COUNT
};

/* A fault that never comes tests nothing. How many of them there are. */
static unsigned tell_missing(const struct counts *c, uint64_t number)
{
    const uint64_t *n = (const uint64_t *)c;
    unsigned missing = 0;

    for (size_t i = 0; i < countof(names); i++) {
        if (n[i] != 0 || &n[i] == &c->repaired) /* which must not happen */
            continue;
        printf("# never happened: %s\n", names[i]);
        missing++;
    }
    printf("%s %llu - everything happened\n", missing == 0 ? "ok" : "not ok", (unsigned long long)number);
    return missing;
}

static void show_counts(const struct counts *c)
{
    const uint64_t *n = (const uint64_t *)c;
    size_t column = 0;

    for (size_t i = 0; i < countof(words); i++) {
        char one[80];
        size_t len = (size_t)snprintf(one, sizeof one, "%llu %s%s", (unsigned long long)n[i], words[i],
                                      i + 1 < countof(words) ? ", " : "");

        if (column == 0 || column + len > 100) {
            printf("%s#", column != 0 ? "\n" : "");
            column = 1;
        }
        printf(" %s", one);
        column += len;
    }
    printf("\n");
}

/* Seeds from..to, `jobs` at a time; how many failed. */
static unsigned run_seeds(struct options *opt, uint64_t from, uint64_t to, unsigned jobs)
{
    struct run *runs = mem_zero(jobs, sizeof *runs);
    struct counts sum = { 0 };
    unsigned failed = 0;
    uint64_t begun = from, done = from, seeds = to - from + 1;
    bool many = seeds >= MANY_SEEDS && opt->plant == PLANT_NONE && opt->newsletter == 0;

    printf("1..%llu\n", (unsigned long long)(seeds + many));
    while (done <= to) {
        struct outcome o;

        while (begun <= to && begun - done < jobs) {
            opt->seed = begun;
            begin(opt, &runs[begun % jobs]);
            begun++;
        }
        o = end(&runs[done % jobs]);
        if (!o.ok)
            tell_failure(opt, done, &o);
        printf("%s %llu - seed %llu\n", o.ok ? "ok" : "not ok",
               (unsigned long long)(done - from + 1), (unsigned long long)done);
        failed += !o.ok;
        add_counts(&sum, &o.result.counts);
        progress(++done - from, seeds, failed);
    }
    free(runs);
    show_counts(&sum);
    if (many)
        failed += tell_missing(&sum, seeds + 1);
    return failed;
}

static struct outcome run_one(struct options *opt, uint64_t seed)
{
    struct run run;

    opt->seed = seed;
    begin(opt, &run);
    return end(&run);
}

static unsigned run_twice(struct options *opt, uint64_t from, uint64_t to)
{
    unsigned failed = 0;

    printf("1..%llu\n", (unsigned long long)(to - from + 1));
    for (uint64_t seed = from; seed <= to; seed++) {
        struct outcome a = run_one(opt, seed);
        char *waste = mem_alloc(1 + seed * 4099 % (256 * KIB)); /* other addresses */
        struct outcome b = run_one(opt, seed);
        bool same = a.ok && b.ok && a.result.hash == b.result.hash;

        free(waste);
        if (!same)
            printf("# seed %llu: %016llx and %016llx\n", (unsigned long long)seed,
                   (unsigned long long)a.result.hash, (unsigned long long)b.result.hash);
        printf("%s %llu - seed %llu twice\n", same ? "ok" : "not ok",
               (unsigned long long)(seed - from + 1), (unsigned long long)seed);
        failed += !same;
    }
    return failed;
}

static unsigned run_plants(struct options *opt, uint64_t from, uint64_t to)
{
    unsigned missed = 0;

    printf("1..%u\n", PLANT_COUNT - 1);
    for (unsigned p = 1; p < PLANT_COUNT; p++) {
        bool caught = false;
        uint64_t seed;

        opt->plant = (enum plant)p;
        for (seed = from; seed <= to && !caught; seed++)
            caught = !run_one(opt, seed).ok;
        printf("%s %u - %s is caught\n", caught ? "ok" : "not ok", p, plant_names[p]);
        missed += !caught;
    }
    return missed;
}

static bool range(const char *text, uint64_t *from, uint64_t *to)
{
    unsigned long long a, b;

    if (sscanf(text, "%llu..%llu", &a, &b) == 2 && a <= b) {
        *from = a;
        *to = b;
        return true;
    }
    if (sscanf(text, "%llu", &a) != 1)
        return false;
    *from = *to = a;
    return true;
}

static enum plant plant_by_name(const char *name)
{
    if (strcmp(name, "forgotten") == 0)
        return PLANT_FORGOTTEN;
    for (unsigned i = 0; i < PLANT_COUNT; i++)
        if (strcmp(plant_names[i], name) == 0)
            return (enum plant)i;
    fprintf(stderr, "no plant %s\n", name);
    exit(2);
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        { "seed", 1, NULL, 's' },
        { "seeds", 1, NULL, 's' },
        { "days", 1, NULL, 'd' },
        { "jobs", 1, NULL, 'j' },
        { "trace", 1, NULL, 't' },
        { "paranoid", 0, NULL, 'p' },
        { "twice", 1, NULL, '2' },
        { "plants", 1, NULL, 'P' },
        { "plant", 1, NULL, 'x' },
        { "log", 0, NULL, 'l' },
        { "newsletter", 1, NULL, 'n' },
        { 0 },
    };
    struct options opt = { .days = 7 };
    uint64_t from = 1, to = 20;
    unsigned jobs = 2;
    int mode = 's', c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        bool ok = true;

        switch (c) {
        case 's':
        case '2':
        case 'P':
            mode = c;
            ok = range(optarg, &from, &to);
            break;
        case 'd':
            opt.days = (unsigned)atoi(optarg);
            break;
        case 'j':
            jobs = (unsigned)atoi(optarg);
            break;
        case 't':
            opt.trace = fopen(optarg, "w");
            ok = opt.trace != NULL;
            break;
        case 'p':
            opt.paranoid = true;
            break;
        case 'l':
            opt.log = true;
            break;
        case 'n':
            opt.newsletter = (unsigned)atoi(optarg);
            opt.days = 1;
            to = 1;
            ok = opt.newsletter != 0;
            break;
        case 'x':
            opt.plant = plant_by_name(optarg);
            break;
        default:
            ok = false;
        }
        if (!ok || opt.days == 0 || jobs == 0 || jobs > JOBS_MAX) {
            fprintf(stderr, "usage: sim --seeds A..B [--days N] [--jobs N] [--trace FILE] "
                            "[--paranoid] [--log]\n"
                            "       sim --twice A..B | --plants A..B | --newsletter N\n");
            return 2;
        }
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    log_open("sim", opt.log ? LOG_LEVEL_DEBUG : LOG_LEVEL_FATAL);
    switch (mode) {
    case '2':
        return run_twice(&opt, from, to) != 0;
    case 'P':
        return run_plants(&opt, from, to) != 0;
    default:
        return run_seeds(&opt, from, to, jobs) != 0;
    }
}
