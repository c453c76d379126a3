/* The grammar: what becomes which tree, and what is refused where. */
#include "tests/unit/check_conf.h"

#include "conf/parse.h"

/* The tree as text: words in brackets, blocks in braces. */
static void dump(const struct conf_stmt *block, struct buf *out)
{
    for (const struct conf_stmt *s = block->first; s != NULL; s = s->next) {
        buf_printf(out, "[%.*s]", (int)s->name.text.len, s->name.text.ptr);
        for (size_t i = 0; i < s->arg_count; i++) {
            if (s->args[i].comma)
                buf_add_byte(out, ',');
            else
                buf_printf(out, "(%.*s)", (int)s->args[i].text.len, s->args[i].text.ptr);
        }
        if (s->bad)
            buf_add_byte(out, '!');
        if (s->has_block) {
            buf_add_byte(out, '{');
            dump(s, out);
            buf_add_byte(out, '}');
        }
    }
}

static void parse(struct slice text, struct buf *tree, struct buf *errors)
{
    struct conf_file file = { .shown = "conf", .path = "/conf", .text = text };
    struct conf_stmt top = { 0 };
    struct diagnostics d = { 0 };
    struct pool *pool = pool_new();

    buf_clear(tree);
    conf_block_init(&top);
    conf_parse(&file, pool, &d, &top);
    dump(&top, tree);
    brief(&d, errors);
    diagnostics_release(&d);
    pool_free(pool);
}

static void test_trees(void **state)
{
    static const struct {
        struct slice text;
        const char *tree;
    } rows[] = {
        { SLICE(""), "" },
        { SLICE("\n\n;;\n"), "" },
        { SLICE("# nothing"), "" },
        { SLICE("a"), "[a]" },
        { SLICE("a b c"), "[a](b)(c)" },
        { SLICE("a b;c d"), "[a](b)[c](d)" },
        { SLICE("a b\nc\n"), "[a](b)[c]" },
        { SLICE("a\r\nb\r\n"), "[a][b]" },
        { SLICE("a # c\r\nb"), "[a][b]" },
        { SLICE("\ta\tb  "), "[a](b)" },
        { SLICE("\xef\xbb\xbf" "a"), "[a]" },
        { SLICE("a{}"), "[a]{}" },
        { SLICE("a b { c; d } e"), "[a](b){[c][d]}[e]" },
        { SLICE("a {\n  b 1\n  c 2\n}\nd"), "[a]{[b](1)[c](2)}[d]" },
        { SLICE("a{b{c d}}"), "[a]{[b]{[c](d)}}" },
        { SLICE("a { ; }"), "[a]{}" },
        { SLICE("a b, c"), "[a](b),(c)" },
        { SLICE("a b,c,d"), "[a](b),(c),(d)" },
        { SLICE("a b,\n\n  # more\n  c\nd"), "[a](b),(c)[d]" },
        { SLICE("a ,"), "[a]," },
        { SLICE("a#b c#d"), "[a#b](c#d)" },
        { SLICE("a #b\nc"), "[a][c]" },
        { SLICE("a;#b\nc"), "[a][c]" },
        { SLICE("a{#b\nc}"), "[a]{[c]}" },
        { SLICE("a \"b c\""), "[a](b c)" },
        { SLICE("a \"\""), "[a]()" },
        { SLICE("a \"#;{},\""), "[a](#;{},)" },
        { SLICE("a \"\\\"\\\\\\n\\t\""), "[a](\"\\\n\t)" },
        { SLICE("a \"b\"#c"), "[a](b)" },
        { SLICE("a b\"c\"d"), "[a](b)(c)(d)" },
        { SLICE("\"a\" b"), "[a](b)" },
        { SLICE("a \\b'c"), "[a](\\b'c)" },
        { SLICE("b\xc3\xbc" "cher"), "[b\xc3\xbc" "cher]" },
    };
    struct buf tree = { 0 }, errors = { 0 };

    for (size_t i = 0; i < countof(rows); i++) {
        parse(rows[i].text, &tree, &errors);
        assert_string_equal(buf_cstr(&errors), "");
        assert_string_equal(buf_cstr(&tree), rows[i].tree);
    }
    buf_release(&tree);
    buf_release(&errors);
}

static void test_errors(void **state)
{
    static const char backslash[] = "a backslash stands before \", \\, n or t only; "
                                    "write \\\\ for the backslash itself";
    static const struct {
        struct slice text;
        const char *errors; /* %s is the text about backslashes */
        const char *tree;
    } rows[] = {
        { SLICE("a {"), "1:3: the block of \"a\" is not closed", "[a]!{}" },
        { SLICE("a {\nb {\nc"),
          "2:3: the block of \"b\" is not closed\n1:3: the block of \"a\" is not closed",
          "[a]!{[b]!{[c]}}" },
        { SLICE("}"), "1:1: this \"}\" closes nothing", "" },
        { SLICE("a }\nb"), "1:3: this \"}\" closes nothing", "[a][b]" },
        { SLICE("a {}}\nb"), "1:5: this \"}\" closes nothing", "[a]{}[b]" },
        { SLICE("a\n{ b }\nc"), "2:1: a block's \"{\" stands on the line of its directive", "[a][c]" },
        { SLICE(", a\nb"), "1:1: a \",\" stands between arguments only", "[b]" },
        { SLICE("a \"b\nc"), "1:3: the quote is not closed on its line", "[a]![c]" },
        { SLICE("a \"b\r\nc"), "1:3: the quote is not closed on its line", "[a]![c]" },
        { SLICE("a \"b"), "1:3: the quote is not closed on its line", "[a]!" },
        { SLICE("a \"b\\"), "1:5: %s", "[a]!" },
        { SLICE("a \"b\\\nc"), "1:5: %s", "[a]![c]" },
        { SLICE("a \"\\x41\" b\nc"), "1:4: %s", "[a]![c]" },
        { SLICE("a \"\\\0\"\nc"), "1:4: %s", "[a]![c]" },
        { SLICE("a \"b\x01" "c\"\nd"), "1:5: control character \\x01 in a quoted word", "[a]![d]" },
        { SLICE("a b\0c\nd"), "1:4: control character \\x00 outside quotes", "[a](b)(c)![d]" },
        { SLICE("a\rb"), "1:2: control character \\x0d outside quotes", "[a](b)!" },
        { SLICE("\x7f"), "1:1: control character \\x7f outside quotes", "" },
        { SLICE("\"\" b\nc"), "1:1: a directive's name can't be empty", "[c]" },
        { SLICE("\"a { b }\nc"), "1:1: the quote is not closed on its line", "[c]" },
        { SLICE("\x01 a\nb \"\nc"),
          "1:1: control character \\x01 outside quotes\n2:3: the quote is not closed on its line",
          "[b]![c]" },
    };
    struct buf tree = { 0 }, errors = { 0 }, want = { 0 };

    for (size_t i = 0; i < countof(rows); i++) {
        const char *mark = strstr(rows[i].errors, "%s");

        buf_clear(&want);
        buf_add(&want, slice_make(rows[i].errors, mark != NULL ? (size_t)(mark - rows[i].errors)
                                                               : strlen(rows[i].errors)));
        if (mark != NULL)
            buf_add_str(&want, backslash);
        parse(rows[i].text, &tree, &errors);
        assert_string_equal(buf_cstr(&errors), buf_cstr(&want));
        assert_string_equal(buf_cstr(&tree), rows[i].tree);
    }
    buf_release(&tree);
    buf_release(&errors);
    buf_release(&want);
}

static void test_depth(void **state)
{
    struct buf text = { 0 }, tree = { 0 }, errors = { 0 };

    for (unsigned i = 0; i < CONF_DEPTH_MAX; i++)
        buf_add_str(&text, "a{");
    for (unsigned i = 0; i < CONF_DEPTH_MAX; i++)
        buf_add_str(&text, "}");
    parse(buf_bytes(&text), &tree, &errors);
    assert_string_equal(buf_cstr(&errors), "");

    buf_clear(&text);
    for (unsigned i = 0; i < 100000; i++)
        buf_add_str(&text, "a{");
    for (unsigned i = 0; i < 100000; i++)
        buf_add_str(&text, "}");
    buf_add_str(&text, "\nb {");
    parse(buf_bytes(&text), &tree, &errors);
    assert_string_equal(buf_cstr(&errors), "1:34: blocks are nested more than 16 deep\n"
                                           "2:3: the block of \"b\" is not closed");
    buf_release(&text);
    buf_release(&tree);
    buf_release(&errors);
}

static void test_places(void **state)
{
    static const char text[] = "a b\n  \"c\" dd {\n\te\n}";
    struct conf_file file = { .shown = "conf", .path = "/conf", .text = slice_str(text) };
    struct conf_stmt top = { 0 };
    struct diagnostics d = { 0 };
    struct pool *pool = pool_new();
    const struct conf_stmt *second;

    conf_block_init(&top);
    conf_parse(&file, pool, &d, &top);
    second = top.first->next;
    assert_int_equal(top.first->end.column, 4);
    assert_int_equal(second->name.line, 2);
    assert_int_equal(second->name.column, 3);
    assert_int_equal(second->args[0].column, 7);
    assert_int_equal(second->end.column, 9);
    assert_int_equal(second->first->name.line, 3);
    assert_int_equal(second->first->name.column, 2);
    diagnostics_release(&d);
    pool_free(pool);
}

/* What a person sees. */
static void show(const char *text, const char *want)
{
    struct conf_file file = { .shown = "my.conf", .path = "/my.conf", .text = slice_str(text) };
    struct conf_stmt top = { 0 };
    struct diagnostics d = { 0 };
    struct pool *pool = pool_new();
    struct buf out = { 0 };

    conf_block_init(&top);
    conf_parse(&file, pool, &d, &top);
    diagnostics_format(&d, &out);
    assert_string_equal(buf_cstr(&out), want);
    buf_release(&out);
    diagnostics_release(&d);
    pool_free(pool);
}

static void test_carets(void **state)
{
    show("  a }", "my.conf:1:5: error: this \"}\" closes nothing\n"
                  "      a }\n"
                  "        ^\n");
    show("\ta\t}", "my.conf:1:4: error: this \"}\" closes nothing\n"
                   "    \ta\t}\n"
                   "    \t \t^\n");
    show("\xc3\xbc\xc3\xbc }", "my.conf:1:6: error: this \"}\" closes nothing\n"
                               "    \xc3\xbc\xc3\xbc }\n"
                               "       ^\n");
    show("a\x1b[0m b", "my.conf:1:2: error: control character \\x1b outside quotes\n"
                       "    a\\x1b[0m b\n"
                       "     ^\n");
    /* what follows "password" is not shown */
    show("password \"hunter2", "my.conf:1:10: error: the quote is not closed on its line\n"
                               "    password\n"
                               "            ^\n");
    show("password_file \"x", "my.conf:1:15: error: the quote is not closed on its line\n"
                              "    password_file \"x\n"
                              "                  ^\n");
}

/* A file of another kind, whose lines are not at hand. */
static void test_no_source(void **state)
{
    struct diagnostics d = { 0 };
    struct buf out = { 0 };

    diagnostics_add(&d, false, "aliases", 3, 1, SLICE_EMPTY, "it leads nowhere");
    diagnostics_format(&d, &out);
    assert_slice_str(buf_bytes(&out), "aliases:3:1: warning: it leads nowhere\n");
    buf_release(&out);
    diagnostics_release(&d);
}

static void test_many(void **state)
{
    struct buf text = { 0 }, out = { 0 };
    struct conf_stmt top = { 0 };
    struct diagnostics d = { 0 };
    struct pool *pool = pool_new();

    for (unsigned i = 0; i < 1000; i++)
        buf_add_str(&text, "}\n");
    struct conf_file file = { .shown = "conf", .path = "/conf", .text = buf_bytes(&text) };
    conf_block_init(&top);
    conf_parse(&file, pool, &d, &top);
    assert_int_equal(d.errors, 1000);
    assert_int_equal(d.count, DIAGNOSTICS_MAX);
    diagnostics_format(&d, &out);
    assert_non_null(strstr(buf_cstr(&out), "\n900 more errors are not shown\n"));
    buf_release(&text);
    buf_release(&out);
    diagnostics_release(&d);
    pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trees),  cmocka_unit_test(test_errors), cmocka_unit_test(test_depth),
        cmocka_unit_test(test_places), cmocka_unit_test(test_carets), cmocka_unit_test(test_no_source),
        cmocka_unit_test(test_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
