/* From a domain to its mail hosts: what the name servers say and what is made
 * of it. */
#include "tests/unit/check.h"

#include "delivery/mx.h"

#include <stdio.h>

struct fix {
    struct resolver resolver;
    struct delivery_policy policy;
    unsigned released;
    /* the question under way */
    char name[256];
    enum dns_type type;
    dns_done *answer;
    void *answer_ctx;
    bool cancelled;
    /* what came of it, as words */
    unsigned done;
    char got[2000];
};

struct dns_query { /* ours: one at a time */
    struct fix *fix;
};

static struct dns_query the_query;

static struct dns_query *do_ask(struct resolver *r, const char *name, enum dns_type type, dns_done *done, void *ctx)
{
    struct fix *f = (struct fix *)r;

    snprintf(f->name, sizeof f->name, "%s", name);
    f->type = type;
    f->answer = done;
    f->answer_ctx = ctx;
    the_query.fix = f;
    return &the_query;
}

static void do_cancel(struct resolver *r, struct dns_query *q)
{
    q->fix->cancelled = true;
}

static void released(struct delivery_policy *p)
{
    ((struct fix *)p->owner)->released++;
}

static const struct resolver_ops ops = { do_ask, do_cancel };

static void fix_init(struct fix *f)
{
    *f = (struct fix){
        .resolver = { .ops = &ops },
        .policy = { .hostname = "relay.example", .port = 2525, .release = released, .owner = f },
    };
    atomic_init(&f->policy.refs, 1);
}

static void on_mx(void *ctx, const struct mx_answer *a)
{
    static const char *const words[] = { "hosts", "tempfail", "no domain", "null", "loop" };
    struct fix *f = ctx;
    size_t at = (size_t)snprintf(f->got, sizeof f->got, "%s", words[a->result]);

    f->done++;
    if (a->result == MX_TEMPFAIL)
        at += (size_t)snprintf(f->got + at, sizeof f->got - at, " %s", a->detail);
    for (size_t i = 0; a->result == MX_HOSTS && i < a->hosts->count; i++) {
        assert_int_equal(a->hosts->hosts[i].port, 2525);
        at += (size_t)snprintf(f->got + at, sizeof f->got - at, " %u:%s", a->hosts->hosts[i].preference,
                               a->hosts->hosts[i].name);
    }
    if (a->result == MX_HOSTS && a->hosts->implicit)
        snprintf(f->got + at, sizeof f->got - at, " implicit");
}

static void give(struct fix *f, const char *domain, const struct dns_answer *a)
{
    struct mx_query *q;

    f->done = 0;
    q = mx_ask(&f->resolver, &f->policy, domain, on_mx, f);
    assert_non_null(q);
    assert_int_equal(f->done, 0); /* never from inside */
    assert_string_equal(f->name, domain);
    assert_int_equal(f->type, DNS_MX);
    f->answer(f->answer_ctx, a);
    assert_int_equal(f->done, 1);
}

static void records(void **state)
{
    static const struct {
        const char *what;
        struct dns_mx mx[5];
        const char *want;
    } rows[] = {
        { "one", { { 10, (char *)"a.example" } }, "hosts 10:a.example" },
        { "sorted by preference, then by name",
          { { 20, (char *)"b.example" }, { 10, (char *)"z.example" }, { 20, (char *)"a.example" } },
          "hosts 10:z.example 20:a.example 20:b.example" },
        { "preference 0 and 65535", { { 65535, (char *)"b.example" }, { 0, (char *)"a.example" } },
          "hosts 0:a.example 65535:b.example" },
        { "null MX", { { 0, (char *)"" } }, "null" },
        { "null MX with another preference", { { 10, (char *)"" } }, "null" },
        { "a root beside others is ignored", { { 0, (char *)"" }, { 10, (char *)"a.example" } },
          "hosts 10:a.example" },
        { "only ourselves", { { 10, (char *)"relay.example" } }, "loop" },
        { "ourselves in another case", { { 10, (char *)"Relay.Example" } }, "loop" },
        { "we are best", { { 10, (char *)"relay.example" }, { 20, (char *)"b.example" } }, "loop" },
        { "we are among the best", { { 10, (char *)"relay.example" }, { 10, (char *)"b.example" } }, "loop" },
        { "we are second", { { 20, (char *)"relay.example" }, { 10, (char *)"a.example" } }, "hosts 10:a.example" },
        { "equal to us and worse goes",
          { { 20, (char *)"relay.example" }, { 10, (char *)"a.example" }, { 20, (char *)"c.example" },
            { 30, (char *)"d.example" } },
          "hosts 10:a.example" },
        { "a name that ends like ours", { { 10, (char *)"xrelay.example" } }, "hosts 10:xrelay.example" },
    };
    struct fix f;

    fix_init(&f);
    for (size_t i = 0; i < countof(rows); i++) {
        struct dns_answer a = { .type = DNS_MX, .status = DNS_OK, .mx = (struct dns_mx *)rows[i].mx };

        while (a.count < 5 && rows[i].mx[a.count].host != NULL)
            a.count++;
        give(&f, "dest.example", &a);
        if (strcmp(f.got, rows[i].want) != 0)
            fail_msg("%s: %s, not %s", rows[i].what, f.got, rows[i].want);
    }
    assert_int_equal(atomic_load(&f.policy.refs), 1); /* each query gave its reference back */
    assert_int_equal(f.released, 0);
}

static void without_records(void **state)
{
    static const struct {
        const char *domain;
        enum dns_status status;
        const char *want;
    } rows[] = {
        { "dest.example", DNS_NO_DATA, "hosts 0:dest.example implicit" },
        { "dest.example", DNS_NO_NAME, "no domain" },
        { "dest.example", DNS_TEMPFAIL, "tempfail SERVFAIL" },
        { "relay.example", DNS_NO_DATA, "loop" },
        { "relay.example", DNS_TEMPFAIL, "tempfail SERVFAIL" },
    };
    struct fix f;

    fix_init(&f);
    for (size_t i = 0; i < countof(rows); i++) {
        struct dns_answer a = { .type = DNS_MX, .status = rows[i].status, .detail = "SERVFAIL" };

        give(&f, rows[i].domain, &a);
        assert_string_equal(f.got, rows[i].want);
    }
}

static void too_many_hosts_are_cut(void **state)
{
    struct dns_mx mx[DNS_RECORDS_MAX];
    struct dns_answer a = { .type = DNS_MX, .status = DNS_OK, .mx = mx, .count = DNS_RECORDS_MAX };
    char names[DNS_RECORDS_MAX][32];
    struct fix f;

    fix_init(&f);
    for (unsigned i = 0; i < DNS_RECORDS_MAX; i++) {
        snprintf(names[i], sizeof names[i], "h%02u", i);
        mx[i] = (struct dns_mx){ (uint16_t)(1000 - i), names[i] };
    }
    give(&f, "dest.example", &a);
    assert_true(strncmp(f.got, "hosts 937:h63 ", 14) == 0); /* the most preferred stay */
    assert_non_null(strstr(f.got, " 952:h48"));
    assert_null(strstr(f.got, " 953:h47"));
}

static void a_cancelled_question(void **state)
{
    struct fix f;

    fix_init(&f);
    mx_cancel(NULL);
    mx_cancel(mx_ask(&f.resolver, &f.policy, "dest.example", on_mx, &f));
    assert_true(f.cancelled);
    assert_int_equal(f.done, 0);
    assert_int_equal(atomic_load(&f.policy.refs), 1);
}

static void literals(void **state)
{
    static const struct {
        const char *domain, *name;
    } rows[] = {
        { "[192.0.2.1]", "192.0.2.1" },       { "[IPv6:2001:db8::1]", "2001:db8::1" },
        { "[ipv6:2001:db8::1]", "2001:db8::1" }, { "", NULL },
        { "[", NULL },                        { "[]", NULL },
        { "[192.0.2.1", NULL },               { "192.0.2.1]", NULL },
        { "192.0.2.1", NULL },                { "[192.0.2.256]", NULL },
        { "[IPv6:]", NULL },                  { "[IPv6:192.0.2.1.5]", NULL },
        { "[x400:c=us]", NULL },              { "example.com", NULL },
    };

    for (size_t i = 0; i < countof(rows); i++) {
        struct host_list *l = mx_literal(slice_str(rows[i].domain), 25);

        if (rows[i].name == NULL) {
            assert_null(l);
            continue;
        }
        assert_non_null(l);
        assert_int_equal(l->count, 1);
        assert_string_equal(l->hosts[0].name, rows[i].name);
        assert_true(l->hosts[0].literal);
        assert_int_equal(l->hosts[0].addr.port, 25);
        host_list_unref(l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records),
        cmocka_unit_test(without_records),
        cmocka_unit_test(too_many_hosts_are_cut),
        cmocka_unit_test(a_cancelled_question),
        cmocka_unit_test(literals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
