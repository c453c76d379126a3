/* The configuration: any bytes as the main file, as a bundle from another
 * process, and, behind a line "#env", as variables of the environment. */
#include "relayd/settings.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void load(const struct bundle *b)
{
    struct diagnostics d = { 0 };
    struct settings *s = NULL;
    struct buf out = { 0 };
    struct err e = settings_load_bundle(b, &d, &s);

    if (err_failed(e) != (d.errors != 0) || err_failed(e) != (s == NULL))
        abort();
    diagnostics_format(&d, &out);
    if (d.count != 0 && buf_len(&out) == 0)
        abort();
    buf_release(&out);
    diagnostics_release(&d);
    settings_unref(s);
}

static bool is_good(const struct bundle *b)
{
    struct diagnostics d = { 0 };
    struct settings *s = NULL;
    bool good = !err_failed(settings_load_bundle(b, &d, &s));

    diagnostics_release(&d);
    settings_unref(s);
    return good;
}

/* What is taken from one reader moves nothing else, and breaks nothing. */
static void withhold(const struct bundle *b)
{
    for (size_t i = 0; i < PROCESS_KINDS; i++) {
        struct bundle *part = settings_withhold(b, (enum process_kind)i);

        if (part->count != b->count || (is_good(b) && !is_good(part)))
            abort();
        for (size_t n = 0; n < b->count; n++)
            if (b->entries[n].kind != BUNDLE_SECRET && b->entries[n].kind != BUNDLE_KEY &&
                buf_len(&b->entries[n].bytes) != buf_len(&part->entries[n].bytes))
                abort();
        bundle_free(part);
    }
}

static void as_bundle(struct slice bytes)
{
    struct bundle *b;

    if (err_failed(bundle_parse(bytes, &b)))
        return;
    load(b);
    withhold(b);
    bundle_free(b);
}

/* NAME=value lines. */
static void add_variables(struct bundle *b, struct slice rest)
{
    struct slice line, name;

    while (slice_split(&rest, '\n', &line)) {
        struct buf variable = { 0 };

        if (!slice_split(&line, '=', &name))
            continue;
        buf_add_str(&variable, "RELAYD_");
        buf_add(&variable, slice_head(name, slice_find(name, '\0')));
        if (err_failed(bundle_add(b, BUNDLE_ENV, buf_cstr(&variable), line, NULL)))
            rest = SLICE_EMPTY;
        buf_release(&variable);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char mark[] = "\n#env\n";
    struct slice text = slice_make(data, size);
    const char *at = size != 0 ? memmem(data, size, mark, sizeof mark - 1) : NULL;
    struct bundle *b = bundle_new("fuzz.conf");
    struct bundle *copy;
    struct buf bytes = { 0 };

    as_bundle(text);
    if (at != NULL)
        text = slice_head(text, (size_t)(at - text.ptr));
    if (err_failed(bundle_add(b, BUNDLE_FILE, "/etc/fuzz.conf", text, NULL)) ||
        err_failed(bundle_add(b, BUNDLE_FILE, "/etc/more.conf",
                              SLICE("domain more.test\ninclude fuzz.conf"), NULL)))
        goto out;
    if (at != NULL)
        add_variables(b, slice_make(at + sizeof mark - 1,
                                    size - (size_t)(at - (const char *)data) - (sizeof mark - 1)));
    load(b);
    withhold(b);
    bundle_write(b, &bytes);
    if (err_failed(bundle_parse(buf_bytes(&bytes), &copy)))
        abort(); /* what we write we can read */
    bundle_free(copy);
out:
    buf_release(&bytes);
    bundle_free(b);
    return 0;
}
