/* conf/value.c - numbers with units, as people write them in the
 * configuration. */
#include "conf/value.h"

struct unit {
    const char *name;
    uint64_t factor;
};

/* The digits at the front of *text; they are taken off. */
static bool take_digits(struct slice *text, uint64_t *out, const char **why)
{
    size_t n = 0;

    while (n < text->len && ascii_is_digit(text->ptr[n]))
        n++;
    if (n == 0) {
        *why = text->len != 0 && text->ptr[0] == '-' ? "it can't be negative"
                                                     : "it begins with no digit";
        return false;
    }
    if (!slice_u64(slice_head(*text, n), out)) {
        *why = "the number is too large";
        return false;
    }
    *text = slice_from(*text, n);
    return true;
}

static const struct unit *find_unit(const struct unit *units, size_t count, struct slice name)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_eq(name, slice_str(units[i].name)))
            return &units[i];
    }
    return NULL;
}

static bool scale(uint64_t n, uint64_t factor, uint64_t *out, const char **why)
{
    if (!__builtin_mul_overflow(n, factor, out))
        return true;
    *why = "the number is too large";
    return false;
}

bool conf_value_number(struct slice text, uint64_t *out, const char **why)
{
    if (!take_digits(&text, out, why))
        return false;
    if (text.len == 0)
        return true;
    *why = "something follows the digits";
    return false;
}

bool conf_value_duration(struct slice text, uint64_t *out_ms, const char **why)
{
    static const struct unit units[] = {
        { "ms", 1 }, { "s", SECOND_MS }, { "m", MINUTE_MS }, { "h", HOUR_MS }, { "d", DAY_MS },
    };
    const struct unit *u;
    uint64_t n;

    if (!take_digits(&text, &n, why))
        return false;
    if (text.len == 0 && n == 0) {
        *out_ms = 0;
        return true;
    }
    if (text.len == 0) {
        *why = "the unit is missing: ms, s, m, h or d";
        return false;
    }
    u = find_unit(units, countof(units), text);
    if (u == NULL) {
        *why = slice_eq(text, SLICE("M")) ? "minutes are a small m"
                                          : "the units are ms, s, m, h and d";
        return false;
    }
    return scale(n, u->factor, out_ms, why);
}

bool conf_value_size(struct slice text, uint64_t *out, const char **why)
{
    static const struct unit units[] = {
        { "", 1 },
        { "k", KIB },
        { "K", KIB },
        { "KiB", KIB },
        { "M", MIB },
        { "MiB", MIB },
        { "G", 1024ull * MIB },
        { "GiB", 1024ull * MIB },
        { "T", 1024ull * 1024 * MIB },
        { "TiB", 1024ull * 1024 * MIB },
    };
    const struct unit *u;
    uint64_t n;

    if (!take_digits(&text, &n, why))
        return false;
    u = find_unit(units, countof(units), text);
    if (u == NULL) {
        *why = slice_eq(text, SLICE("m")) ? "MiB is a capital M" : "the units are K, M, G and T";
        return false;
    }
    return scale(n, u->factor, out, why);
}

bool conf_value_rate(struct slice text, struct conf_rate *out, const char **why)
{
    static const struct unit units[] = {
        { "s", SECOND_MS }, { "sec", SECOND_MS }, { "m", MINUTE_MS }, { "min", MINUTE_MS },
        { "h", HOUR_MS },   { "hour", HOUR_MS },  { "d", DAY_MS },    { "day", DAY_MS },
    };
    const struct unit *u;

    if (!take_digits(&text, &out->count, why))
        return false;
    if (text.len == 0 || text.ptr[0] != '/') {
        *why = "a \"/\" and s, min, h or day must follow the number";
        return false;
    }
    u = find_unit(units, countof(units), slice_from(text, 1));
    if (u == NULL) {
        *why = "behind the \"/\" stands s, min, h or day";
        return false;
    }
    out->per_ms = u->factor;
    return true;
}

bool conf_value_switch(struct slice text, bool *out, const char **why)
{
    static const char *const on[] = { "yes", "on", "true" };
    static const char *const off[] = { "no", "off", "false" };

    for (size_t i = 0; i < countof(on); i++) {
        *out = slice_eq(text, slice_str(on[i]));
        if (*out || slice_eq(text, slice_str(off[i])))
            return true;
    }
    *why = "it is yes or no";
    return false;
}

bool conf_value_hundredths(struct slice text, uint64_t *out, const char **why)
{
    uint64_t whole, part = 0;

    if (!take_digits(&text, &whole, why))
        return false;
    if (text.len != 0) {
        struct slice digits = slice_from(text, 1);

        if (text.ptr[0] != '.' || digits.len < 1 || digits.len > 2 || !slice_u64(digits, &part)) {
            *why = "it has at most two digits behind a point";
            return false;
        }
        if (digits.len == 1)
            part *= 10;
    }
    if (!scale(whole, 100, out, why))
        return false;
    if (!__builtin_add_overflow(*out, part, out))
        return true;
    *why = "the number is too large";
    return false;
}
