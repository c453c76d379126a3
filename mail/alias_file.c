/* mail/alias_file.c - reading aliases(5), virtual(5), their :include: files
 * and lists of recipients: where an address of ours gets its meaning from. */
#include "mail/alias_file.h"

struct reader {
    enum alias_format format;
    alias_item_fn *item;
    void *ctx;
    struct buf line;      /* the logical line so far, its parts joined by LF */
    unsigned line_number; /* where it begins */
};

static void tell(struct reader *r, enum alias_item_kind kind, struct slice text, bool final, unsigned line)
{
    struct alias_item item = { .kind = kind, .text = text, .final = final, .line = line };

    r->item(r->ctx, &item);
}

static void PRINTF_LIKE(3, 4) problem(struct reader *r, unsigned line, const char *fmt, ...)
{
    struct buf text = { 0 };
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    tell(r, ALIAS_PROBLEM, buf_bytes(&text), false, line);
    buf_release(&text);
}

/* For messages: a line of somebody's file may be long. */
static int shown_len(struct slice s)
{
    return (int)(s.len < 80 ? s.len : 80);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct slice trim(struct slice s)
{
    while (s.len > 0 && is_blank(s.ptr[0]))
        s = slice_from(s, 1);
    while (s.len > 0 && is_blank(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

/* ---- names and addresses ------------------------------------------------------- */

/* Parses local@domain and brings the domain into A-labels. NULL, or what is wrong. */
static const char *parse_address(struct slice text, struct mail_path *out)
{
    enum mail_path_error e = mail_address_parse(text, MAIL_PATH_UTF8_OK, out);
    char ascii[MAIL_DOMAIN_MAX + 1];
    struct slice domain;

    if (e != MAIL_PATH_OK)
        return mail_path_error_text(e);
    domain = mail_path_domain(out);
    if (out->literal || !out->utf8)
        return NULL;
    if (!mail_domain_to_ascii(domain, ascii) ||
        out->local_len + 1u + strlen(ascii) > MAIL_ADDRESS_MAX)
        return mail_path_error_text(MAIL_PATH_DOMAIN_BAD);
    out->len = (uint16_t)(out->local_len + 1 + strlen(ascii));
    memcpy(out->text + out->local_len + 1, ascii, strlen(ascii) + 1);
    return NULL;
}

/* A name without a domain. "first last" needs its quotes in an address, so
 * quotes that stand there alone are as good as those of the address. */
static const char *parse_local(struct slice text, struct mail_path *out)
{
    struct buf whole = { 0 };
    const char *why;

    buf_add(&whole, text);
    buf_add_str(&whole, "@x");
    why = parse_address(buf_bytes(&whole), out);
    buf_release(&whole);
    out->len = out->local_len;
    return why;
}

static const char *parse_domain(struct slice text, char out[MAIL_DOMAIN_MAX + 1])
{
    if (!mail_domain_to_ascii(text, out) || !mail_domain_valid(slice_str(out)))
        return mail_path_error_text(MAIL_PATH_DOMAIN_BAD);
    return NULL;
}

/* Index of the "@" before the domain, or the length: not one in quotes. */
static size_t find_at(struct slice s)
{
    bool quoted = false;

    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '\\' && quoted)
            i++;
        else if (s.ptr[i] == '"')
            quoted = !quoted;
        else if (s.ptr[i] == '@' && !quoted)
            return i;
    }
    return s.len;
}

const char *alias_name_normalise(struct slice text, char out[ALIAS_NAME_MAX + 1])
{
    size_t at = find_at(text);
    struct mail_path path;
    const char *why;

    if (at == 0 && text.len > 0) {
        out[0] = '@';
        return parse_domain(slice_from(text, 1), out + 1);
    }
    why = at < text.len ? parse_address(text, &path) : parse_local(text, &path);
    if (why != NULL)
        return why;
    for (size_t i = 0; i < path.len; i++)
        out[i] = ascii_lower(path.text[i]);
    out[path.len] = '\0';
    return NULL;
}

/* ---- targets ----------------------------------------------------------------- */

static bool has_eight_bit(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] > 0x7f)
            return true;
    return false;
}

static void address_target(struct reader *r, struct slice text, bool final, unsigned line)
{
    bool local = find_at(text) == text.len;
    struct mail_path path;
    const char *why = local ? parse_local(text, &path) : parse_address(text, &path);

    if (why != NULL)
        problem(r, line, "\"%.*s\": %s", shown_len(text), text.ptr, why);
    else if (has_eight_bit(mail_path_local(&path)))
        problem(r, line, "\"%.*s\": a local part outside ASCII can't be a target, for not every sender's mail can "
                "go there", shown_len(text), text.ptr);
    else
        tell(r, local ? ALIAS_LOCAL : ALIAS_ADDRESS, mail_path_text(&path), final, line);
}

static void domain_target(struct reader *r, struct slice text, unsigned line)
{
    char name[MAIL_DOMAIN_MAX + 2] = "@";
    const char *why = parse_domain(slice_from(text, 1), name + 1);

    if (why != NULL)
        problem(r, line, "\"%.*s\": %s", shown_len(text), text.ptr, why);
    else
        tell(r, ALIAS_DOMAIN, slice_str(name), false, line);
}

/* "|command" may be quoted as a whole. */
static struct slice unquoted(struct slice s)
{
    if (s.len >= 2 && s.ptr[0] == '"' && s.ptr[s.len - 1] == '"')
        return slice_make(s.ptr + 1, s.len - 2);
    return s;
}

static void one_target(struct reader *r, struct slice text, unsigned line)
{
    struct slice inner = unquoted(text);

    if (inner.len > 0 && inner.ptr[0] == '|')
        problem(r, line, "\"%.*s\": relayd runs no programs; let a server that does (by LMTP or SMTP) have the address",
                shown_len(inner), inner.ptr);
    else if (inner.len > 0 && inner.ptr[0] == '/')
        problem(r, line, "\"%.*s\": relayd writes to no files; mail to be thrown away has a route: "
                "\"route to ADDRESS discard\"", shown_len(inner), inner.ptr);
    else if (slice_starts_nocase(inner, SLICE(":include:")))
        tell(r, ALIAS_INCLUDE, trim(unquoted(trim(slice_from(inner, 9)))), false, line);
    else if (inner.len > 0 && inner.ptr[0] == ':')
        problem(r, line, "\"%.*s\" is no target; of those with a colon there is only :include:/path",
                shown_len(inner), inner.ptr);
    else if (text.ptr[0] == '\\')
        address_target(r, slice_from(text, 1), true, line);
    else if (text.ptr[0] == '@')
        domain_target(r, text, line);
    else if (text.len > 2 && text.ptr[0] == '<' && text.ptr[text.len - 1] == '>')
        address_target(r, slice_make(text.ptr + 1, text.len - 2), false, line);
    else
        address_target(r, text, false, line);
}

/* The length up to the next comma outside quotes; *lines counts line ends passed. */
static size_t target_len(struct slice s, unsigned *lines)
{
    bool quoted = false;
    size_t i;

    *lines = 0;
    for (i = 0; i < s.len; i++) {
        if (s.ptr[i] == '\n')
            (*lines)++;
        if (s.ptr[i] == '\\' && i + 1 < s.len)
            i++;
        else if (s.ptr[i] == '"')
            quoted = !quoted;
        else if (!quoted && s.ptr[i] == ',')
            break;
    }
    return i;
}

/* Of `rest`, which begins on that line of the file. How many there were. */
static unsigned targets(struct reader *r, struct slice rest, unsigned line)
{
    unsigned count = 0;

    while (rest.len > 0) {
        unsigned lines;
        size_t len = target_len(rest, &lines);
        struct slice raw = slice_head(rest, len);
        struct slice text = trim(raw);
        unsigned at = line;

        for (const char *p = raw.ptr; p < text.ptr && text.len > 0; p++)
            at += *p == '\n';
        if (text.len > 0) {
            one_target(r, text, at);
            count++;
        }
        line += lines;
        rest = slice_from(rest, len + 1);
    }
    return count;
}

void alias_target_parse(struct slice text, unsigned line, alias_item_fn *item, void *ctx)
{
    struct reader r = { .item = item, .ctx = ctx };

    text = trim(text);
    if (text.len == 0)
        problem(&r, line, "an empty target");
    else
        one_target(&r, text, line);
}

/* ---- lines ------------------------------------------------------------------- */

/* The length of the name in front: up to a colon or a blank, but for what
 * stands in quotes. */
static size_t name_len(struct slice s, bool colon)
{
    bool quoted = false;

    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '\\' && i + 1 < s.len)
            i++;
        else if (s.ptr[i] == '"')
            quoted = !quoted;
        else if (!quoted && (colon ? s.ptr[i] == ':' : is_blank(s.ptr[i])))
            return i;
    }
    return s.len;
}

static bool name_fits(struct reader *r, struct slice shown, const char *name)
{
    bool has_at = find_at(slice_str(name)) < strlen(name);

    if (r->format == ALIAS_FORMAT_ALIASES && has_at) {
        problem(r, r->line_number, "\"%.*s\": a name in an aliases file has no domain; addresses stand in a file of "
                "\"virtual_aliases\"", shown_len(shown), shown.ptr);
        return false;
    }
    if (r->format == ALIAS_FORMAT_VIRTUAL && !has_at) {
        problem(r, r->line_number, "\"%.*s\": the domain is missing; write user@example.com or @example.com",
                shown_len(shown), shown.ptr);
        return false;
    }
    if (r->format == ALIAS_FORMAT_RECIPIENTS && name[0] == '@') {
        problem(r, r->line_number, "\"%.*s\": a list of recipients that holds everybody is none; leave it out",
                shown_len(shown), shown.ptr);
        return false;
    }
    return true;
}

static bool take_name(struct reader *r, struct slice shown)
{
    char name[ALIAS_NAME_MAX + 1];
    const char *why = alias_name_normalise(shown, name);

    if (why != NULL) {
        problem(r, r->line_number, "\"%.*s\": %s", shown_len(shown), shown.ptr, why);
        return false;
    }
    if (!name_fits(r, shown, name))
        return false;
    tell(r, ALIAS_NAME, slice_str(name), false, r->line_number);
    return true;
}

static void entry(struct reader *r, struct slice line)
{
    bool colon = r->format == ALIAS_FORMAT_ALIASES;
    size_t len = name_len(line, colon);
    struct slice name = trim(slice_head(line, len));
    unsigned first = r->line_number; /* of the targets */

    if (colon && len == line.len) {
        problem(r, r->line_number, "no \":\" follows the name; a line is NAME: TARGET, TARGET");
        return;
    }
    if (!take_name(r, name))
        return;
    for (size_t i = 0; i < line.len && i <= len; i++)
        first += line.ptr[i] == '\n';
    if (targets(r, slice_from(line, len + 1), first) == 0)
        problem(r, r->line_number, "\"%.*s\" leads nowhere: no target follows", shown_len(name), name.ptr);
}

static void recipient(struct reader *r, struct slice line)
{
    size_t len = name_len(line, false);
    struct slice value = trim(slice_from(line, len));

    /* What relay_recipient_maps has behind the address, by custom. */
    if (value.len != 0 && !slice_eq_nocase(value, SLICE("OK")) && !slice_eq_nocase(value, SLICE("x"))) {
        problem(r, r->line_number, "\"%.*s\" behind the recipient; a line holds one, and nothing or OK behind it",
                shown_len(value), value.ptr);
        return;
    }
    take_name(r, slice_head(line, len));
}

static void line_ends(struct reader *r)
{
    struct slice line = trim(buf_bytes(&r->line));

    if (line.len == 0)
        return;
    if (memchr(line.ptr, '\0', line.len) != NULL)
        problem(r, r->line_number, "a NUL byte");
    else if (r->format == ALIAS_FORMAT_TARGETS)
        targets(r, line, r->line_number);
    else if (r->format == ALIAS_FORMAT_RECIPIENTS)
        recipient(r, line);
    else
        entry(r, line);
    buf_clear(&r->line);
}

void alias_file_parse(struct slice text, enum alias_format format, alias_item_fn *item, void *ctx)
{
    struct reader r = { .format = format, .item = item, .ctx = ctx };
    struct slice raw;
    unsigned number = 0;

    while (slice_split(&text, '\n', &raw)) {
        struct slice words = trim(raw);
        bool goes_on = raw.len > 0 && is_blank(raw.ptr[0]);

        number++;
        if (words.len == 0 || words.ptr[0] == '#') {
            if (buf_len(&r.line) > 0)
                buf_add_byte(&r.line, '\n'); /* so that lines are counted */
            continue;
        }
        if (!goes_on || buf_len(&r.line) == 0) {
            line_ends(&r);
            buf_clear(&r.line);
            r.line_number = number;
        } else {
            buf_add_byte(&r.line, '\n');
        }
        buf_add(&r.line, raw);
    }
    line_ends(&r);
    buf_release(&r.line);
}
