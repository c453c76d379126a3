/* mail/mime_field.c - header fields of a message on its way to a next hop that
 * knows only seven bits: what they say about the content, and how bytes over
 * 127 in them are told in ASCII (RFC 2047). */
#include "mail/mime_field.h"

#include "mail/text.h"

#define ENCODED_WORD_MAX 75
#define FOLD_COLUMN      40 /* behind this an encoded-word begins a new line */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_special(char c)
{
    return c != '\0' && strchr("()<>[]:;@\\,\"", c) != NULL;
}

static void add_lower(struct buf *out, struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        buf_add_byte(out, ascii_lower(text.ptr[i]));
}

/* --- what a header says about its content --- */

/* Skips blanks and comments. */
static size_t skip_cfws(struct slice s, size_t at)
{
    unsigned depth = 0;

    for (; at < s.len; at++) {
        if (s.ptr[at] == '(')
            depth++;
        else if (s.ptr[at] == ')' && depth > 0)
            depth--;
        else if (s.ptr[at] == '\\' && depth > 0)
            at++;
        else if (depth == 0 && !is_blank(s.ptr[at]))
            break;
    }
    return at < s.len ? at : s.len;
}

/* A token of RFC 2045, with "/" for the pair of type and subtype. */
static struct slice take_token(struct slice s, size_t *at)
{
    size_t begin = *at;

    while (*at < s.len && !is_blank(s.ptr[*at]) && !is_special(s.ptr[*at]) && s.ptr[*at] != '=')
        ++*at;
    return slice_head(slice_from(s, begin), *at - begin);
}

/* A parameter's value, quoted or not. */
static void take_value(struct slice s, size_t *at, struct buf *out)
{
    if (*at == s.len || s.ptr[*at] != '"') {
        /* boundaries are often left unquoted, whatever is in them */
        for (; *at < s.len && !is_blank(s.ptr[*at]) && s.ptr[*at] != ';'; ++*at)
            buf_add_byte(out, s.ptr[*at]);
        return;
    }
    for (++*at; *at < s.len && s.ptr[*at] != '"'; ++*at) {
        if (s.ptr[*at] == '\\' && *at + 1 < s.len)
            ++*at;
        if (s.ptr[*at] != '\r' && s.ptr[*at] != '\n')
            buf_add_byte(out, s.ptr[*at]);
    }
    *at += *at < s.len;
}

static void read_type(struct slice value, struct mail_content *out)
{
    size_t at = skip_cfws(value, 0);

    add_lower(&out->type, take_token(value, &at));
    while ((at = skip_cfws(value, at)) < value.len) {
        struct buf text = { 0 };
        struct slice name;

        if (value.ptr[at] != ';') {
            at++;
            continue;
        }
        at = skip_cfws(value, at + 1);
        name = take_token(value, &at);
        at = skip_cfws(value, at);
        if (at == value.len || value.ptr[at] != '=')
            continue;
        at = skip_cfws(value, at + 1);
        take_value(value, &at, &text);
        if (slice_eq_nocase(name, SLICE("boundary")) && buf_len(&out->boundary) == 0)
            buf_add(&out->boundary, buf_bytes(&text));
        buf_release(&text);
    }
}

void mail_content_read(struct slice header, struct mail_content *out)
{
    struct mail_field f;

    if (mail_header_find(header, "Content-Type", &f))
        read_type(f.value, out);
    if (mail_header_find(header, "Content-Transfer-Encoding", &f)) {
        size_t at = skip_cfws(f.value, 0);

        add_lower(&out->encoding, take_token(f.value, &at));
    }
    out->mime_version = mail_header_find(header, "MIME-Version", &f);
}

void mail_content_release(struct mail_content *c)
{
    buf_release(&c->type);
    buf_release(&c->boundary);
    buf_release(&c->encoding);
}

/* --- encoded-words --- */

/* The bytes that stand for themselves in a "Q" word wherever it is (RFC 2047
 * section 5, rule 3). */
static bool q_plain(char c)
{
    return ascii_is_alnum(c) || c == '!' || c == '*' || c == '+' || c == '-' || c == '/';
}

static size_t q_width(struct slice character)
{
    size_t width = 0;

    for (size_t i = 0; i < character.len; i++)
        width += q_plain(character.ptr[i]) || character.ptr[i] == ' ' ? 1 : 3;
    return width;
}

/* One character into an encoded-word. */
static void add_q(struct buf *out, struct slice character)
{
    for (size_t i = 0; i < character.len; i++) {
        char c = character.ptr[i];

        if (q_plain(c))
            buf_add_byte(out, c);
        else if (c == ' ')
            buf_add_byte(out, '_');
        else
            mail_add_hex(out, c);
    }
}

/* Begins a new line before the blank that `out` ends in, if this one is long. */
static void fold_if_long(struct buf *out)
{
    struct slice all = buf_bytes(out);
    const char *lf = memrchr(all.ptr, '\n', all.len);
    size_t column = lf != NULL ? (size_t)(all.ptr + all.len - lf) : all.len;
    char blank = all.ptr[all.len - 1];

    if (column <= FOLD_COLUMN || (blank != ' ' && blank != '\t'))
        return;
    out->end--;
    buf_add_str(out, "\r\n");
    buf_add_byte(out, blank);
}

/* Text as one encoded-word or, when it is long, several on lines of their own,
 * between which no character is cut. CR and LF of folds are left out. */
static void add_encoded(struct buf *out, struct slice text)
{
    bool utf8 = mail_is_utf8(text);
    const char *begin = utf8 ? "=?utf-8?q?" : "=?unknown-8bit?q?";
    size_t room = ENCODED_WORD_MAX - strlen(begin) - 2, used = 0;

    fold_if_long(out);
    buf_add_str(out, begin);
    while (text.len > 0) {
        size_t len = utf8 && (unsigned char)text.ptr[0] > 0x7f ? mail_utf8_len(text) : 1;
        size_t width = q_width(slice_head(text, len));

        if (used + width > room) {
            buf_add_str(out, "?=\r\n ");
            buf_add_str(out, begin);
            used = 0;
        }
        if (text.ptr[0] != '\r' && text.ptr[0] != '\n') {
            add_q(out, slice_head(text, len));
            used += width;
        }
        text = slice_from(text, len);
    }
    buf_add_str(out, "?=");
}

static bool is_encoded_word(struct slice word)
{
    return word.len > 6 && slice_starts_nocase(word, SLICE("=?")) &&
           slice_ends_nocase(word, SLICE("?="));
}

/* The word at `at`: up to a blank, and in structured fields to a special byte. */
static struct slice word_at(struct slice s, size_t at, bool structured)
{
    size_t end = at;

    while (end < s.len && !is_blank(s.ptr[end]) && !(structured && is_special(s.ptr[end])))
        end++;
    return slice_make(s.ptr + at, end - at);
}

static size_t skip_blanks(struct slice s, size_t at)
{
    while (at < s.len && is_blank(s.ptr[at]))
        at++;
    return at;
}

/* Encodes the words from `at` on as long as each has a byte over 127, with the
 * blanks between them; blanks between two encoded-words would be lost (RFC
 * 2047 section 6.2), so those beside others are encoded with them. Returns
 * the index behind the last. */
static size_t encode_words(struct slice s, size_t at, bool structured, bool after_encoded,
                           struct buf *out)
{
    struct slice word = word_at(s, at, structured);
    size_t begin = at, end, next;
    struct buf text = { 0 };

    do {
        end = at + word.len;
        next = skip_blanks(s, end);
        word = word_at(s, next, structured);
        at = next;
    } while (next > end && mail_has_eight_bit(word));
    if (after_encoded)
        buf_add_byte(&text, ' ');
    buf_add(&text, slice_make(s.ptr + begin, end - begin));
    if (next > end && is_encoded_word(word))
        buf_add_byte(&text, ' ');
    add_encoded(out, buf_bytes(&text));
    buf_release(&text);
    return end;
}

/* *text of RFC 5322: any word may become an encoded one. */
static void add_unstructured(struct slice s, struct buf *out)
{
    bool after_encoded = false;
    size_t at = 0;

    while (at < s.len) {
        size_t next = skip_blanks(s, at);
        struct slice word = word_at(s, next, false);

        buf_add(out, slice_make(s.ptr + at, next - at));
        if (mail_has_eight_bit(word)) {
            at = encode_words(s, next, false, after_encoded, out);
            after_encoded = false; /* what follows is plain, or took its blank along */
        } else {
            buf_add(out, word);
            at = next + word.len;
            after_encoded = is_encoded_word(word);
        }
    }
}

/* The index behind the quoted string that opens at `at`; its text to *text. */
static size_t read_quoted(struct slice s, size_t at, struct buf *text)
{
    for (at++; at < s.len && s.ptr[at] != '"'; at++) {
        if (s.ptr[at] == '\\' && at + 1 < s.len)
            at++;
        buf_add_byte(text, s.ptr[at]);
    }
    return at < s.len ? at + 1 : s.len;
}

/* Whether what ends before `at` is the local part of an address. */
static bool before_at_sign(struct slice s, size_t at)
{
    at = skip_blanks(s, at);
    return at < s.len && (s.ptr[at] == '@' || s.ptr[at] == '.');
}

/* A display name in quotes: encoded-words can't stand within them, but they
 * may take their place. */
static size_t add_quoted(struct slice s, size_t at, struct buf *out)
{
    struct buf text = { 0 };
    size_t end = read_quoted(s, at, &text);
    struct slice whole = slice_make(s.ptr + at, end - at);

    if (!mail_has_eight_bit(whole)) {
        buf_add(out, whole);
    } else if (before_at_sign(s, end)) {
        mail_add_masked(out, whole);
    } else {
        add_encoded(out, buf_bytes(&text));
        if (end < s.len && !is_blank(s.ptr[end]))
            buf_add_byte(out, ' ');
    }
    buf_release(&text);
    return end;
}

/* Mailbox lists: names before <…> and comments may be encoded, addresses not. */
static void add_addresses(struct slice s, struct buf *out)
{
    unsigned comment = 0;
    bool angle = false, after_encoded = false, domain = false;
    size_t at = 0;

    while (at < s.len) {
        char c = s.ptr[at];
        struct slice word = word_at(s, at, true);
        size_t end = at + word.len;

        if (c == '"' && comment == 0 && !angle) {
            at = add_quoted(s, at, out);
            domain = after_encoded = false;
        } else if (c == '\\') {
            mail_add_masked(out, slice_make(s.ptr + at, at + 1 < s.len ? 2 : 1));
            at += 2;
        } else if (word.len == 0) {
            if (c == '(')
                comment++;
            else if (c == ')' && comment > 0)
                comment--;
            else if (comment == 0 && (c == '<' || c == '>'))
                angle = c == '<';
            if (!is_blank(c)) {
                domain = c == '@';
                after_encoded = false;
            }
            buf_add_byte(out, c);
            at++;
        } else if (!mail_has_eight_bit(word)) {
            buf_add(out, word);
            after_encoded = is_encoded_word(word);
            at = end;
        } else if (comment == 0 && (angle || domain || before_at_sign(s, end))) {
            mail_add_masked(out, word);
            at = end;
        } else {
            at = encode_words(s, at, true, after_encoded, out);
            after_encoded = false;
        }
    }
}

static bool is_one_of(struct slice name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (slice_eq_nocase(name, slice_str(names[i])))
            return true;
    return false;
}

void mail_field_to_seven_bit(const struct mail_field *f, struct buf *out)
{
    static const char *const text_fields[] = { "Subject", "Comments", "Content-Description",
                                               "Organization", "Thread-Topic" };
    static const char *const address_fields[] = {
        "From",        "Sender",        "Reply-To",  "To",        "Cc",         "Bcc",
        "Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc", "Resent-Bcc", "Resent-Reply-To"
    };

    if (!mail_has_eight_bit(f->value)) {
        buf_add(out, f->whole);
        return;
    }
    buf_add(out, slice_head(f->whole, f->whole.len - f->value.len));
    if (is_one_of(f->name, text_fields, countof(text_fields)) ||
        slice_starts_nocase(f->name, SLICE("X-")))
        add_unstructured(f->value, out);
    else if (is_one_of(f->name, address_fields, countof(address_fields)))
        add_addresses(f->value, out);
    else
        mail_add_masked(out, f->value);
}
