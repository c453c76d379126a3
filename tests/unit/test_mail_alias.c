/* Who an address stands for: files as people write them, and the look-up. */
#include "tests/unit/check.h"

#include "mail/alias.h"
#include "mail/alias_file.h"

#include <stdio.h>

/* ---- files ---------------------------------------------------------------------- */

static void show(void *ctx, const struct alias_item *i)
{
    static const char *const kinds[] = { "name", "to", "local", "domain", "include", "problem" };
    struct buf *out = ctx;

    buf_printf(out, "%u %s%s %.*s\n", i->line, i->final ? "\\" : "", kinds[i->kind], (int)i->text.len, i->text.ptr);
}

struct file_row {
    enum alias_format format;
    const char *text, *want; /* a want that ends in "…" is only how it begins */
};

static void check_file(const struct file_row *row)
{
    struct buf out = { 0 };
    size_t len = strlen(row->want);
    bool cut = len > 3 && memcmp(row->want + len - 3, "…", 3) == 0;

    alias_file_parse(slice_str(row->text), row->format, show, &out);
    if (cut ? strncmp(buf_cstr(&out), row->want, len - 3) != 0 : strcmp(buf_cstr(&out), row->want) != 0)
        fail_msg("%s\ngave\n%s\nand not\n%s", row->text, buf_cstr(&out), row->want);
    buf_release(&out);
}

static void test_aliases_file(void **state)
{
    static const struct file_row rows[] = {
        { ALIAS_FORMAT_ALIASES, "", "" },
        { ALIAS_FORMAT_ALIASES, "# only\n\n   # comments\n", "" },
        { ALIAS_FORMAT_ALIASES, "root: admin@example.com", "1 name root\n1 to admin@example.com\n" },
        { ALIAS_FORMAT_ALIASES, "Root : Admin@Example.COM , joe\r\n",
          "1 name root\n1 to Admin@example.com\n1 local joe\n" },
        { ALIAS_FORMAT_ALIASES, "a: b,\n  # between\n\n\tc,\n d\ne: f\n",
          "1 name a\n1 local b\n4 local c\n5 local d\n6 name e\n6 local f\n" },
        { ALIAS_FORMAT_ALIASES, "\"first last\": x@y.test\n", "1 name \"first last\"\n1 to x@y.test\n" },
        { ALIAS_FORMAT_ALIASES, "\"plain\": \"odd one\"@y.test, \"a,b\"\n",
          "1 name plain\n1 to \"odd one\"@y.test\n1 local \"a,b\"\n" },
        { ALIAS_FORMAT_ALIASES, "a: \\a, b@c.test\n", "1 name a\n1 \\local a\n1 to b@c.test\n" },
        { ALIAS_FORMAT_ALIASES, "a: <b@c.test>,, ,d\n", "1 name a\n1 to b@c.test\n1 local d\n" },
        { ALIAS_FORMAT_ALIASES, "a: :include:/etc/list, \":INCLUDE: rel/list\"\n",
          "1 name a\n1 include /etc/list\n1 include rel/list\n" },
        { ALIAS_FORMAT_ALIASES, "a: b@b\xc3\xbc" "cher.test\n", "1 name a\n1 to b@xn--bcher-kva.test\n" },
        { ALIAS_FORMAT_ALIASES, "a+b: c\n", "1 name a+b\n1 local c\n" },
        { ALIAS_FORMAT_ALIASES, "a: @c.test\n", "1 name a\n1 domain @c.test\n" },
        { ALIAS_FORMAT_ALIASES, "   indented: x\n", "1 name indented\n1 local x\n" },
        /* mistakes */
        { ALIAS_FORMAT_ALIASES, "a: |/usr/bin/vacation\nb: c\n",
          "1 name a\n1 problem \"|/usr/bin/vacation\": relayd runs no programs; let a server that does (by LMTP or "
          "SMTP) have the address\n2 name b\n2 local c\n" },
        { ALIAS_FORMAT_ALIASES, "a: \"|prog arg, arg\"\n", "1 name a\n1 problem \"|prog arg, arg\": relayd runs…" },
        { ALIAS_FORMAT_ALIASES, "a:\n b,\n /dev/null\n",
          "1 name a\n2 local b\n3 problem \"/dev/null\": relayd writes to no files; mail to be thrown away has a "
          "route: \"route to ADDRESS discard\"\n" },
        { ALIAS_FORMAT_ALIASES, "a: :blackhole:\n", "1 name a\n1 problem \":blackhole:\" is no target…" },
        { ALIAS_FORMAT_ALIASES, "a b@c.test\n", "1 problem no \":\" follows…" },
        { ALIAS_FORMAT_ALIASES, "a:\nb: c\n", "1 name a\n1 problem \"a\" leads nowhere…" },
        { ALIAS_FORMAT_ALIASES, ": c\n", "1 problem \"\": address syntax error\n" },
        { ALIAS_FORMAT_ALIASES, "a@b.test: c\n", "1 problem \"a@b.test\": a name in an aliases file has no domain…" },
        { ALIAS_FORMAT_ALIASES, "a: b # why\n", "1 name a\n1 problem \"b # why\": address syntax error\n" },
        { ALIAS_FORMAT_ALIASES, "a: b@\n", "1 name a\n1 problem \"b@\": address syntax error\n" },
        { ALIAS_FORMAT_ALIASES, "a: \xc3\xbc@c.test\n", "1 name a\n1 problem \"\xc3\xbc@c.test\": a local part outside…" },
        { ALIAS_FORMAT_ALIASES, "\"a: b\n", "1 problem no \":\" follows…" },
        { ALIAS_FORMAT_ALIASES, "a: \\\n", "1 name a\n1 problem \"\": address syntax error\n" },
    };

    for (size_t i = 0; i < countof(rows); i++)
        check_file(&rows[i]);
}

static void test_other_files(void **state)
{
    static const struct file_row rows[] = {
        { ALIAS_FORMAT_VIRTUAL, "Info@Example.COM joe@x.test, mary\n@d.test @e.test\n@e.test all@x.test\n",
          "1 name info@example.com\n1 to joe@x.test\n1 local mary\n2 name @d.test\n2 domain @e.test\n"
          "3 name @e.test\n3 to all@x.test\n" },
        { ALIAS_FORMAT_VIRTUAL, "a@x.test\n   b@y.test,\n   c@y.test\n",
          "1 name a@x.test\n2 to b@y.test\n3 to c@y.test\n" },
        { ALIAS_FORMAT_VIRTUAL, "\"a b\"@x.test c@y.test\n", "1 name \"a b\"@x.test\n1 to c@y.test\n" },
        { ALIAS_FORMAT_VIRTUAL, "\"a@b\"@x.test c@y.test\n", "1 name \"a@b\"@x.test\n1 to c@y.test\n" },
        { ALIAS_FORMAT_VIRTUAL, "a@B\xc3\xbc" "cher.test c@y.test\n", "1 name a@xn--bcher-kva.test\n1 to c@y.test\n" },
        { ALIAS_FORMAT_VIRTUAL, "root c@y.test\n", "1 problem \"root\": the domain is missing…" },
        { ALIAS_FORMAT_VIRTUAL, "a@x.test\n", "1 name a@x.test\n1 problem \"a@x.test\" leads nowhere…" },
        { ALIAS_FORMAT_VIRTUAL, "@ c@y.test\n", "1 problem \"@\": domain of address…" },
        { ALIAS_FORMAT_VIRTUAL, "example.com anything\n", "1 problem \"example.com\": the domain is missing…" },
        { ALIAS_FORMAT_TARGETS, "# list\na@x.test, b\nc@x.test\n", "2 to a@x.test\n2 local b\n3 to c@x.test\n" },
        { ALIAS_FORMAT_TARGETS, "a@x.test,\n  b@x.test", "1 to a@x.test\n2 to b@x.test\n" },
        { ALIAS_FORMAT_RECIPIENTS, "joe\nMary@Home.test OK\nx@home.test   x\n# c\n",
          "1 name joe\n2 name mary@home.test\n3 name x@home.test\n" },
        { ALIAS_FORMAT_RECIPIENTS, "joe REJECT\n", "1 problem \"REJECT\" behind the recipient…" },
        { ALIAS_FORMAT_RECIPIENTS, "@home.test OK\n", "1 problem \"@home.test\": a list of recipients that holds…" },
        { ALIAS_FORMAT_RECIPIENTS, "joe..x\n", "1 problem \"joe..x\": address syntax error\n" },
    };
    struct buf out = { 0 };

    for (size_t i = 0; i < countof(rows); i++)
        check_file(&rows[i]);
    alias_file_parse(SLICE("a@x.test b\0c"), ALIAS_FORMAT_VIRTUAL, show, &out);
    assert_string_equal(buf_cstr(&out), "1 problem a NUL byte\n");
    buf_release(&out);
}

/* ---- look-up -------------------------------------------------------------------- */

struct setup {
    struct alias_map *names, *addresses, *recipients;
    struct alias_rules *rules;
};

static void collect(void *ctx, const struct alias_item *i)
{
    struct alias_map *m = ctx;
    struct alias_entry_place first;

    switch (i->kind) {
    case ALIAS_NAME:
        assert_true(alias_map_begin(m, i->text, (struct alias_entry_place){ "file", i->line }, &first));
        break;
    case ALIAS_ADDRESS:
        alias_map_target(m, ALIAS_TO_ADDRESS, i->text, i->final);
        break;
    case ALIAS_LOCAL:
        alias_map_target(m, ALIAS_TO_LOCAL, i->text, i->final);
        break;
    case ALIAS_DOMAIN:
        alias_map_target(m, ALIAS_TO_DOMAIN, i->text, false);
        break;
    case ALIAS_INCLUDE:
    case ALIAS_PROBLEM:
        fail_msg("%.*s", (int)i->text.len, i->text.ptr);
    }
}

static struct alias_map *map(const char *text, enum alias_format format)
{
    struct alias_map *m = alias_map_new();

    alias_file_parse(slice_str(text), format, collect, m);
    return m;
}

static const char names[] = "root: admin@far.test\n"
                            "team: joe, Mary, team\n"
                            "joe: joe@far.test\n"
                            "mary: joe, mary@far.test\n"
                            "one: two\ntwo: three\nthree: one\n"
                            "half: one, joe\n"
                            "\"two words\": joe\n"
                            "plus+listed: listed@far.test\n"
                            "plus: plain@far.test\n"
                            "quiet: \\quiet, copy@far.test\n"
                            "escape: \\joe, joe\n"
                            "escape2: joe, \\joe\n"
                            "dead: nobody\n"
                            "halfdead: nobody, joe\n"
                            "FAR: A@far.test, a@far.test, a@far.test\n";

static const char addresses[] = "info@open.test desk@far.test\n"
                                "self@open.test self@open.test, copy@far.test\n"
                                "info@virtual.test joe@local.test\n"
                                "@old.test @open.test\n"
                                "@catch.test all@far.test\n"
                                "named@catch.test x@far.test\n"
                                "@boss.test boss@boss.test\n"
                                "loop@virtual.test loop@virtual.test\n"
                                "deep@virtual.test root@local.test\n"
                                "postmaster@virtual.test pm@far.test\n"
                                "many@virtual.test a@f.test,b@f.test,c@f.test,d@f.test,e@f.test,f@f.test,g@f.test\n"
                                "l@listed.test \\l@listed.test, q@far.test\n"
                                "back@virtual.test joe@listed.test\n";

static void set_up(struct setup *s, const char *postmaster)
{
    s->names = map(names, ALIAS_FORMAT_ALIASES);
    s->addresses = map(addresses, ALIAS_FORMAT_VIRTUAL);
    s->recipients = map("joe@listed.test\n\"odd one\"@listed.test\n", ALIAS_FORMAT_RECIPIENTS);
    struct alias_domain domains[] = {
        { "local.test", false, false, s->names }, { "open.test", true, false, NULL },
        { "virtual.test", false, false, NULL },   { "old.test", false, false, NULL },
        { "catch.test", true, false, NULL },      { "boss.test", true, false, NULL },
        { "listed.test", true, true, NULL },      { "xn--bcher-kva.test", true, false, NULL },
    };
    struct alias_options opt = {
        .domains = domains,
        .domain_count = countof(domains),
        .addresses = s->addresses,
        .recipients = s->recipients,
        .postmaster = postmaster,
        .delimiter = '+',
        .targets_max = 6,
    };
    s->rules = alias_rules_new(&opt);
}

static void tear_down(struct setup *s)
{
    alias_rules_free(s->rules);
    alias_map_free(s->names);
    alias_map_free(s->addresses);
    alias_map_free(s->recipients);
}

static void add_target(void *ctx, struct slice address)
{
    buf_printf(ctx, " %.*s", (int)address.len, address.ptr);
}

static void add_trouble(void *ctx, enum alias_verdict what, struct slice address)
{
    static const char *const kinds[] = { "found", "unknown", "LOOP", "DEEP", "MANY", "DEAD" };

    buf_printf(ctx, " %s:%.*s", kinds[what], (int)address.len, address.ptr);
}

static void check_resolve(const struct alias_rules *r, const char *address, const char *want)
{
    static const struct alias_events ev = { add_target, add_trouble };
    static const char *const verdicts[] = { "ok", "unknown", "loop", "deep", "many" };
    struct buf out = { 0 };
    struct buf text = { 0 };
    enum alias_verdict v = alias_resolve(r, slice_str(address), &ev, &out);

    buf_add_str(&text, verdicts[v]);
    buf_add(&text, buf_bytes(&out));
    if (strcmp(buf_cstr(&text), want) != 0)
        fail_msg("%s: %s and not %s", address, buf_cstr(&text), want);
    buf_release(&out);
    buf_release(&text);
}

static void test_resolve(void **state)
{
    static const struct {
        const char *address, *want;
    } rows[] = {
        { "joe@elsewhere.test", "ok joe@elsewhere.test" },
        { "Root@local.test", "ok admin@far.test" },
        { "team@local.test", "loop LOOP:team@local.test" }, /* nothing lies behind local.test */
        { "mary@local.test", "ok joe@far.test mary@far.test" },
        { "one@local.test", "loop LOOP:one@local.test" },
        { "half@local.test", "loop LOOP:one@local.test" },
        { "\"two words\"@local.test", "ok joe@far.test" },
        { "\"Two Words\"@local.test", "ok joe@far.test" },
        { "nobody@local.test", "unknown" },
        { "dead@local.test", "unknown DEAD:nobody@local.test" },
        { "halfdead@local.test", "ok DEAD:nobody@local.test joe@far.test" },
        { "quiet@local.test", "loop LOOP:quiet@local.test" },
        { "escape@local.test", "ok DEAD:joe@local.test joe@far.test" },
        { "far@local.test", "ok A@far.test a@far.test" },
        /* tags */
        { "plus+listed@local.test", "ok listed@far.test" },
        { "Plus+other+more@local.test", "ok plain@far.test" },
        { "plus+@local.test", "ok plain@far.test" },
        { "+plus@local.test", "unknown" },
        { "\"two words+x\"@local.test", "unknown" },
        { "info+tag@open.test", "ok desk@far.test" },
        { "other+tag@open.test", "ok other+tag@open.test" },
        { "joe+tag@listed.test", "ok joe+tag@listed.test" },
        /* addresses, catch-all */
        { "INFO@open.test", "ok desk@far.test" },
        { "self@open.test", "ok self@open.test copy@far.test" },
        { "Self@open.test", "ok Self@open.test copy@far.test" },
        { "any@open.test", "ok any@open.test" },
        { "info@virtual.test", "ok joe@far.test" },
        { "info@old.test", "ok desk@far.test" },
        { "some+one@old.test", "ok some+one@open.test" },
        { "what@catch.test", "ok all@far.test" },
        { "abuse@catch.test", "ok all@far.test" },
        { "named+t@catch.test", "ok x@far.test" },
        { "any@boss.test", "ok boss@boss.test" },
        { "boss@boss.test", "ok boss@boss.test" },
        { "loop@virtual.test", "loop LOOP:loop@virtual.test" },
        { "deep@virtual.test", "ok admin@far.test" },
        { "many@virtual.test", "many MANY:g@f.test" },
        { "none@virtual.test", "unknown" },
        /* lists */
        { "Joe@listed.test", "ok Joe@listed.test" },
        { "\"odd one\"@listed.test", "ok \"odd one\"@listed.test" },
        { "mary@listed.test", "unknown" },
        { "l@listed.test", "ok l@listed.test q@far.test" },
        { "back@virtual.test", "ok joe@listed.test" },
        { "joe@b\xc3\xbc" "cher.test", "ok joe@b\xc3\xbc" "cher.test" },
    };
    struct setup s;

    set_up(&s, NULL);
    for (size_t i = 0; i < countof(rows); i++)
        check_resolve(s.rules, rows[i].address, rows[i].want);
    tear_down(&s);
}

static void test_postmaster(void **state)
{
    static const struct {
        const char *directive, *address, *want;
    } rows[] = {
        { NULL, "postmaster@listed.test", "ok postmaster@listed.test" },
        { NULL, "Abuse@listed.test", "ok postmaster@listed.test" },
        { NULL, "postmaster@open.test", "ok postmaster@open.test" },
        { NULL, "postmaster@local.test", "ok postmaster@open.test" },
        { NULL, "mailer-daemon@local.test", "ok postmaster@open.test" },
        { NULL, "abuse@virtual.test", "ok pm@far.test" },
        { "me@far.test", "postmaster@listed.test", "ok me@far.test" },
        { "me@far.test", "POSTMASTER@local.test", "ok me@far.test" },
        { "me@far.test", "abuse@local.test", "ok me@far.test" },
        { "me@far.test", "postmaster@open.test", "ok postmaster@open.test" },
        { "root@local.test", "abuse@listed.test", "ok admin@far.test" },
        { "postmaster@listed.test", "postmaster@listed.test", "ok postmaster@listed.test" },
        { "postmaster@listed.test", "abuse@local.test", "ok postmaster@listed.test" },
        { "postmaster@local.test", "postmaster@local.test", "ok postmaster@open.test" },
        { "nobody@local.test", "abuse@listed.test", "unknown DEAD:nobody@local.test" },
    };
    struct alias_rules *none;
    char address[MAIL_ADDRESS_MAX + 1];
    struct setup s;

    for (size_t i = 0; i < countof(rows); i++) {
        set_up(&s, rows[i].directive);
        check_resolve(s.rules, rows[i].address, rows[i].want);
        assert_true(alias_rules_postmaster(s.rules, address));
        assert_string_equal(address, rows[i].directive != NULL ? rows[i].directive : "postmaster@open.test");
        tear_down(&s);
    }
    none = alias_rules_new(&(struct alias_options){ .targets_max = 1 });
    assert_false(alias_rules_postmaster(none, address));
    check_resolve(none, "a@b.test", "ok a@b.test");
    alias_rules_free(none);
}

/* "\name" and the name itself among the targets, in either order. */
static void test_escaped_beside_itself(void **state)
{
    struct alias_map *m = map("a: \\joe, joe\nb: joe, \\joe\njoe: far@far.test\nc: \\c, \\c, c, C\n",
                              ALIAS_FORMAT_ALIASES);
    struct alias_domain domain = { "d.test", true, false, m };
    struct alias_rules *r = alias_rules_new(
        &(struct alias_options){ .domains = &domain, .domain_count = 1, .targets_max = 10 });

    check_resolve(r, "a@d.test", "ok joe@d.test far@far.test");
    check_resolve(r, "b@d.test", "ok far@far.test joe@d.test");
    check_resolve(r, "c@d.test", "ok c@d.test");
    check_resolve(r, "c+x@d.test", "ok c+x@d.test"); /* no delimiter, no tags */
    alias_rules_free(r);
    alias_map_free(m);
}

/* A chain of `depth` aliases, each name leading to the next. */
static void check_chain(unsigned depth, const char *want)
{
    struct alias_map *m = alias_map_new();
    struct alias_domain domain = { "d.test", false, false, m };
    struct alias_rules *r = alias_rules_new(
        &(struct alias_options){ .domains = &domain, .domain_count = 1, .targets_max = 10 });
    struct alias_entry_place first;
    char name[32];

    for (unsigned i = 0; i < depth; i++) {
        snprintf(name, sizeof name, "n%u", i);
        assert_true(alias_map_begin(m, slice_str(name), (struct alias_entry_place){ "f", i }, &first));
        snprintf(name, sizeof name, "n%u", i + 1);
        if (i + 1 < depth)
            alias_map_target(m, ALIAS_TO_LOCAL, slice_str(name), false);
        else
            alias_map_target(m, ALIAS_TO_ADDRESS, SLICE("end@far.test"), false);
    }
    check_resolve(r, "n0@d.test", want);
    alias_rules_free(r);
    alias_map_free(m);
}

static void test_depth(void **state)
{
    check_chain(1, "ok end@far.test");
    check_chain(ALIAS_DEPTH_MAX - 1, "ok end@far.test");
    check_chain(ALIAS_DEPTH_MAX, "deep DEEP:end@far.test");
    check_chain(1000, "deep DEEP:n32@d.test");
}

/* Each level names the next twice over: 2^20 paths, 42 addresses. */
static void test_diamonds_cost_nothing(void **state)
{
    struct buf text = { 0 };
    struct alias_map *m;
    struct alias_domain domain = { "d.test", false, false, NULL };
    struct alias_rules *r;

    for (unsigned i = 0; i < 20; i++)
        buf_printf(&text, "a%u: a%u, b%u\nb%u: a%u, b%u\n", i, i + 1, i + 1, i, i + 1, i + 1);
    buf_printf(&text, "a20: x@far.test\nb20: x@far.test\n");
    domain.names = m = map(buf_cstr(&text), ALIAS_FORMAT_ALIASES);
    r = alias_rules_new(&(struct alias_options){ .domains = &domain, .domain_count = 1, .targets_max = 100 });
    check_resolve(r, "a0@d.test", "ok x@far.test");
    alias_rules_free(r);
    alias_map_free(m);
    buf_release(&text);
}

static void test_map_of_many(void **state)
{
    struct alias_map *m = alias_map_new();
    struct alias_entry_place first;
    char name[64];

    for (unsigned i = 0; i < 20000; i++) {
        snprintf(name, sizeof name, "user%u@d.test", i);
        assert_true(alias_map_begin(m, slice_str(name), (struct alias_entry_place){ "f", i + 1 }, &first));
        alias_map_target(m, ALIAS_TO_ADDRESS, SLICE("x@far.test"), false);
    }
    assert_false(alias_map_begin(m, SLICE("USER777@d.test"), (struct alias_entry_place){ "g", 1 }, &first));
    assert_int_equal(first.line, 778);
    assert_string_equal(first.file, "f");
    assert_int_equal(alias_map_count(m), 20000);
    assert_slice_str(alias_map_name(m, 19999), "user19999@d.test");
    assert_int_equal(alias_map_place(m, 19999).line, 20000);
    alias_map_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_aliases_file),
        cmocka_unit_test(test_other_files),
        cmocka_unit_test(test_resolve),
        cmocka_unit_test(test_postmaster),
        cmocka_unit_test(test_escaped_beside_itself),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_diamonds_cost_nothing),
        cmocka_unit_test(test_map_of_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
