/* Posts arrive once and in order, timers fire when due, idle loops sleep. */
#include "tests/unit/check.h"

#include "base/mem.h"
#include "net/uvloop.h"

#include <pthread.h>
#include <unistd.h>

#define LETTERS 20000

struct fixture {
    struct loop *loop;
    struct timer guard;
    unsigned fired;
    char order[64];
};

static void guard_fire(struct timer *t)
{
    fail_msg("nothing came within 10 s");
}

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);

    assert_ok(uvloop_new(3, &clock_system, &f->loop));
    assert_int_equal(f->loop->index, 3);
    f->guard.fire = guard_fire;
    loop_arm(f->loop, &f->guard, 10 * SECOND_MS);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    uvloop_free(f->loop);
    free(f);
    return 0;
}

struct letter {
    struct post post;
    struct fixture *f;
    unsigned number;
};

static void letter_run(struct post *p)
{
    struct letter *l = container_of(p, struct letter, post);
    struct fixture *f = l->f;

    if (l->number != f->fired)
        fail_msg("letter %u came as number %u", l->number, f->fired);
    f->fired++;
    if (l->number == LETTERS - 1)
        uvloop_stop(f->loop);
    free(l);
}

static void *sender_main(void *arg)
{
    struct fixture *f = arg;

    for (unsigned i = 0; i < LETTERS; i++) {
        struct letter *l = mem_new(struct letter);

        l->post.run = letter_run;
        l->f = f;
        l->number = i;
        loop_post(f->loop, &l->post);
    }
    return NULL;
}

static void test_posts_from_a_thread(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, sender_main, f), 0);
    uvloop_run(f->loop);
    pthread_join(thread, NULL);
    assert_int_equal(f->fired, LETTERS);
}

struct note {
    struct post post;
    struct timer timer;
    struct fixture *f;
    char mark;
    void (*then)(struct fixture *f);
};

static void mark(struct note *n)
{
    n->f->order[strlen(n->f->order)] = n->mark;
    if (n->then != NULL)
        n->then(n->f);
}

static void note_post(struct post *p)
{
    mark(container_of(p, struct note, post));
}

static void note_timer(struct timer *t)
{
    mark(container_of(t, struct note, timer));
}

static struct note post_note(struct fixture *f, char c, void (*then)(struct fixture *f))
{
    return (struct note){ .post = { .run = note_post },
                          .timer = { .fire = note_timer },
                          .f = f,
                          .mark = c,
                          .then = then };
}

static struct note notes[3];

static void post_from_post(struct fixture *f)
{
    loop_post(f->loop, &notes[1].post);
    loop_post(f->loop, &notes[2].post);
    assert_string_equal(f->order, "a"); /* never from inside loop_post */
}

static void stop(struct fixture *f)
{
    uvloop_stop(f->loop);
}

static void test_posts_to_itself(void **state)
{
    struct fixture *f = *state;

    notes[0] = post_note(f, 'a', post_from_post);
    notes[1] = post_note(f, 'b', NULL);
    notes[2] = post_note(f, 'c', stop);
    loop_post(f->loop, &notes[0].post);
    uvloop_run(f->loop);
    assert_string_equal(f->order, "abc");
}

static void test_timers(void **state)
{
    struct fixture *f = *state;
    uint64_t begun = clock_mono_ms(&clock_system);
    struct note late = post_note(f, 'l', stop), early = post_note(f, 'e', NULL);
    struct note moved = post_note(f, 'm', NULL), gone = post_note(f, 'g', NULL);

    loop_arm(f->loop, &late.timer, 40);
    loop_arm(f->loop, &early.timer, 0);
    loop_arm(f->loop, &moved.timer, 5000);
    loop_arm(f->loop, &moved.timer, 20);
    loop_arm(f->loop, &gone.timer, 10);
    loop_disarm(f->loop, &gone.timer);
    uvloop_run(f->loop);
    assert_string_equal(f->order, "eml");
    assert_true(clock_mono_ms(&clock_system) - begun >= 40);
}

static struct note earlier_note;

static void arm_earlier(struct fixture *f)
{
    loop_arm(f->loop, &earlier_note.timer, 5);
}

static void test_timer_armed_while_others_wait(void **state)
{
    struct fixture *f = *state;
    struct note first = post_note(f, 'p', arm_earlier), late = post_note(f, 'l', stop);

    earlier_note = post_note(f, 'e', NULL);
    loop_arm(f->loop, &late.timer, 60);
    loop_post(f->loop, &first.post);
    uvloop_run(f->loop);
    assert_string_equal(f->order, "pel");
}

static void test_stop_before_run_and_run_again(void **state)
{
    struct fixture *f = *state;
    struct note n = post_note(f, 'x', stop);

    uvloop_stop(f->loop);
    uvloop_run(f->loop);
    loop_post(f->loop, &n.post);
    uvloop_run(f->loop);
    assert_string_equal(f->order, "x");
}

/* From before the run, which came by the inbox, and by itself. */
static void test_what_was_posted_before_a_stop_is_done(void **state)
{
    struct fixture *f = *state;

    notes[0] = post_note(f, 'a', post_from_post);
    notes[1] = post_note(f, 'b', NULL);
    notes[2] = post_note(f, 'c', NULL);
    loop_post(f->loop, &notes[0].post);
    uvloop_stop(f->loop);
    uvloop_run(f->loop);
    assert_string_equal(f->order, "abc");
}

static uint64_t frozen_ms;
static unsigned readings;

static uint64_t frozen_mono(void *ctx)
{
    readings++;
    return frozen_ms;
}

static void count_down(struct fixture *f)
{
    static const uint64_t step = 5;

    frozen_ms += step; /* seen in the next turn only */
    if (f->fired++ < 20)
        loop_post(f->loop, &notes[0].post);
    else
        uvloop_stop(f->loop);
    f->order[0] = '\0';
}

static void test_clock_is_read_once_a_turn(void **state)
{
    struct fixture f = { 0 };
    struct clock clock = { frozen_mono, frozen_mono, NULL };

    frozen_ms = 1000;
    assert_ok(uvloop_new(0, &clock, &f.loop));
    notes[0] = post_note(&f, 'n', count_down);
    readings = 0;
    loop_post(f.loop, &notes[0].post);
    uvloop_run(f.loop);
    /* The first post comes by the inbox, the others once a turn. */
    assert_in_range(readings, 15, 25);
    uvloop_free(f.loop);
}

static int pipe_ends[2];
static struct fd_watch *watch;

static void pipe_ready(void *ctx, unsigned events)
{
    struct fixture *f = ctx;
    char c;

    if (read(pipe_ends[0], &c, 1) == 1) {
        f->order[strlen(f->order)] = c;
        return;
    }
    fd_watch_free(watch); /* end of file */
    uvloop_stop(f->loop);
}

static void test_fd_watch(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(pipe(pipe_ends), 0);
    assert_ok(fd_watch_new(f->loop, pipe_ends[0], FD_READABLE, pipe_ready, f, &watch));
    assert_int_equal(write(pipe_ends[1], "ab", 2), 2);
    close(pipe_ends[1]);
    uvloop_run(f->loop);
    assert_string_equal(f->order, "ab");
    close(pipe_ends[0]);
    assert_true(err_failed(fd_watch_new(f->loop, -1, FD_READABLE, pipe_ready, f, &watch)));
}

static unsigned seen;

static void both_ready(void *ctx, unsigned events)
{
    struct fixture *f = ctx;
    char c;

    seen = events;
    if ((events & FD_WRITABLE) != 0) { /* what the other end is to say is waited for from now on */
        assert_int_equal(write(pipe_ends[1], "x", 1), 1);
        fd_watch_change(watch, FD_READABLE);
        return;
    }
    assert_int_equal(read(pipe_ends[0], &c, 1), 1);
    fd_watch_free(watch);
    uvloop_stop(f->loop);
}

static void test_fd_watch_waits_for_what_is_asked(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pipe_ends), 0);
    assert_ok(fd_watch_new(f->loop, pipe_ends[0], FD_READABLE | FD_WRITABLE, both_ready, f, &watch));
    uvloop_run(f->loop);
    assert_int_equal(seen, FD_READABLE);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(test_posts_from_a_thread),
        EACH(test_posts_to_itself),
        EACH(test_timers),
        EACH(test_timer_armed_while_others_wait),
        EACH(test_stop_before_run_and_run_again),
        EACH(test_what_was_posted_before_a_stop_is_done),
        cmocka_unit_test(test_clock_is_read_once_a_turn),
        EACH(test_fd_watch), EACH(test_fd_watch_waits_for_what_is_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
