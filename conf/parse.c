/* conf/parse.c - from the bytes of a configuration file to its statements. */
#include "conf/parse.h"

#include "base/mem.h"

#include <stdlib.h>

enum token {
    TOKEN_END,
    TOKEN_NEWLINE,
    TOKEN_SEMICOLON,
    TOKEN_OPEN,
    TOKEN_CLOSE,
    TOKEN_COMMA,
    TOKEN_WORD,
    TOKEN_BAD, /* reported already */
};

struct parser {
    const struct conf_file *file;
    struct pool *pool;
    struct diagnostics *diags;
    size_t pos;
    unsigned line;
    size_t line_start;
    enum token token;       /* the current one */
    struct conf_word word;  /* its place; with TOKEN_WORD its text */
    struct conf_word end;   /* behind the one before */
    struct conf_word *args; /* of the statement under way, grown here, copied to the pool */
    size_t args_cap;
};

/* What stands behind the word "password" is nobody's business, least of all
 * the log's. */
static size_t secret_begins(struct slice line)
{
    static const struct slice word = { "password", 8 };

    for (size_t i = 0; i + word.len < line.len; i++) {
        char behind = line.ptr[i + word.len];

        if (slice_starts_nocase(slice_from(line, i), word) && !ascii_is_alnum(behind) &&
            behind != '_')
            return i + word.len;
    }
    return line.len;
}

/* The line around a word, as far as it may be shown. */
static struct slice line_of(const struct conf_word *at)
{
    struct slice rest = slice_from(at->file->text, at->at - (at->column - 1));
    size_t len = slice_find(rest, '\n');

    if (at->file->hidden)
        return SLICE_EMPTY;
    if (len > 0 && rest.ptr[len - 1] == '\r')
        len--;
    rest = slice_head(rest, len);
    return slice_head(rest, secret_begins(rest));
}

void conf_error_at(struct diagnostics *d, const struct conf_word *at, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    diagnostics_vadd(d, true, at->file->shown, at->line, at->column, line_of(at), fmt, ap);
    va_end(ap);
}

void conf_warning_at(struct diagnostics *d, const struct conf_word *at, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    diagnostics_vadd(d, false, at->file->shown, at->line, at->column, line_of(at), fmt, ap);
    va_end(ap);
}

static int peek(const struct parser *p, size_t ahead)
{
    struct slice text = p->file->text;

    return p->pos + ahead < text.len ? (unsigned char)text.ptr[p->pos + ahead] : -1;
}

static bool at_line_end(const struct parser *p)
{
    return peek(p, 0) == '\n' || (peek(p, 0) == '\r' && peek(p, 1) == '\n');
}

static struct conf_word place(const struct parser *p)
{
    return (struct conf_word){
        .file = p->file,
        .at = p->pos,
        .line = p->line,
        .column = (unsigned)(p->pos - p->line_start) + 1,
    };
}

static bool is_control(int c)
{
    return (c >= 0 && c < 0x20) || c == 0x7f;
}

static bool is_bare(int c)
{
    return c > ' ' && c != 0x7f && strchr(";{},\"", c) == NULL;
}

static void skip_line(struct parser *p)
{
    while (peek(p, 0) >= 0 && peek(p, 0) != '\n')
        p->pos++;
}

static void bad_byte(struct parser *p, const char *where)
{
    struct conf_word at = place(p);

    conf_error_at(p->diags, &at, "control character \\x%02x %s", (unsigned)peek(p, 0), where);
}

/* One character of a quoted word, at the reading place; false after a message. */
static bool quoted_char(struct parser *p, struct buf *out)
{
    static const char escapes[] = "\"\\nt";
    static const char meanings[] = "\"\\\n\t";
    int c = peek(p, 0);
    const char *escape;

    if (is_control(c) && c != '\t') {
        bad_byte(p, "in a quoted word");
        return false;
    }
    if (c != '\\') {
        buf_add_byte(out, (char)c);
        p->pos++;
        return true;
    }
    escape = peek(p, 1) > 0 ? strchr(escapes, peek(p, 1)) : NULL;
    if (escape == NULL) {
        struct conf_word at = place(p);

        conf_error_at(p->diags, &at,
                      "a backslash stands before \", \\, n or t only; "
                      "write \\\\ for the backslash itself");
        return false;
    }
    buf_add_byte(out, meanings[escape - escapes]);
    p->pos += 2;
    return true;
}

/* After an error the rest of the line is skipped: nobody knows which of its
 * quotes open and which close. */
static enum token lex_quoted(struct parser *p)
{
    struct buf text = { 0 };
    bool ok = true;

    p->pos++;
    while (ok && peek(p, 0) != '"') {
        if (peek(p, 0) < 0 || at_line_end(p)) {
            conf_error_at(p->diags, &p->word, "the quote is not closed on its line");
            ok = false;
        } else {
            ok = quoted_char(p, &text);
        }
    }
    if (ok) {
        p->pos++;
        p->word.text = slice_make(pool_dup(p->pool, buf_bytes(&text)), buf_len(&text));
    } else {
        skip_line(p);
    }
    buf_wipe(&text);
    return ok ? TOKEN_WORD : TOKEN_BAD;
}

static enum token lex(struct parser *p)
{
    size_t start;
    int c;

    while (peek(p, 0) == ' ' || peek(p, 0) == '\t')
        p->pos++;
    if (peek(p, 0) == '#') {
        skip_line(p);
        if (p->pos > 0 && p->file->text.ptr[p->pos - 1] == '\r')
            p->pos--;
    }
    p->word = place(p);
    if (at_line_end(p)) {
        p->pos += peek(p, 0) == '\r' ? 2 : 1;
        p->line++;
        p->line_start = p->pos;
        return TOKEN_NEWLINE;
    }
    c = peek(p, 0);
    switch (c) {
    case -1:
        return TOKEN_END;
    case ';':
        p->pos++;
        return TOKEN_SEMICOLON;
    case '{':
        p->pos++;
        return TOKEN_OPEN;
    case '}':
        p->pos++;
        return TOKEN_CLOSE;
    case ',':
        p->pos++;
        p->word.text = SLICE(",");
        p->word.comma = true;
        return TOKEN_COMMA;
    case '"':
        return lex_quoted(p);
    }
    if (is_control(c)) {
        bad_byte(p, "outside quotes");
        p->pos++;
        return TOKEN_BAD;
    }
    start = p->pos;
    while (is_bare(peek(p, 0)))
        p->pos++;
    p->word.text = slice_make(p->file->text.ptr + start, p->pos - start);
    return TOKEN_WORD;
}

static void advance(struct parser *p)
{
    p->end = place(p);
    p->token = lex(p);
}

void conf_block_init(struct conf_stmt *s)
{
    s->first = NULL;
    s->last = &s->first;
}

void conf_block_append(struct conf_stmt *block, struct conf_stmt *s)
{
    s->next = NULL;
    *block->last = s;
    block->last = &s->next;
}

static void add_arg(struct parser *p, struct conf_stmt *s)
{
    if (s->arg_count == p->args_cap) {
        p->args_cap = p->args_cap != 0 ? p->args_cap * 2 : 16;
        p->args = mem_grow(p->args, p->args_cap, sizeof *p->args);
    }
    p->args[s->arg_count++] = p->word;
}

/* { arg }: to the first token that is none. */
static void parse_args(struct parser *p, struct conf_stmt *s)
{
    for (;;) {
        bool comma = p->token == TOKEN_COMMA;

        if (p->token == TOKEN_BAD)
            s->bad = true;
        else if (p->token == TOKEN_WORD || comma)
            add_arg(p, s);
        else
            break;
        advance(p);
        s->end = p->end;
        while (comma && p->token == TOKEN_NEWLINE)
            advance(p);
    }
    if (s->arg_count == 0)
        return;
    s->args = pool_zero(p->pool, s->arg_count, sizeof *s->args);
    memcpy(s->args, p->args, s->arg_count * sizeof *s->args);
}

/* Over a block too deep to be looked at. */
static void skip_block(struct parser *p)
{
    size_t depth = 1;

    while (p->token != TOKEN_END) {
        depth += p->token == TOKEN_OPEN;
        depth -= p->token == TOKEN_CLOSE;
        if (depth == 0)
            break;
        advance(p);
    }
}

static void parse_stmts(struct parser *p, struct conf_stmt *parent, unsigned depth);

/* The current token is "{"; afterwards the one behind "}". */
static void parse_block(struct parser *p, struct conf_stmt *s, unsigned depth)
{
    struct conf_word open = p->word;

    s->has_block = true;
    conf_block_init(s);
    advance(p);
    if (depth == CONF_DEPTH_MAX) {
        conf_error_at(p->diags, &open, "blocks are nested more than %u deep", CONF_DEPTH_MAX);
        s->bad = true;
        skip_block(p);
    } else {
        parse_stmts(p, s, depth + 1);
    }
    if (p->token == TOKEN_CLOSE) {
        advance(p);
        return;
    }
    conf_error_at(p->diags, &open, "the block of \"%.*s\" is not closed",
                  (int)slice_head(s->name.text, 80).len, s->name.text.ptr);
    s->bad = true;
}

/* Ends at "}" or the end of the file. */
static void parse_stmts(struct parser *p, struct conf_stmt *parent, unsigned depth)
{
    for (;;) {
        struct conf_stmt *s;

        switch (p->token) {
        case TOKEN_NEWLINE:
        case TOKEN_SEMICOLON:
            advance(p);
            continue;
        case TOKEN_END:
            return;
        case TOKEN_CLOSE:
            if (depth > 0)
                return;
            conf_error_at(p->diags, &p->word, "this \"}\" closes nothing");
            advance(p);
            continue;
        case TOKEN_OPEN:
            conf_error_at(p->diags, &p->word,
                          "a block's \"{\" stands on the line of its directive");
            break;
        case TOKEN_COMMA:
            conf_error_at(p->diags, &p->word, "a \",\" stands between arguments only");
            break;
        case TOKEN_WORD:
        case TOKEN_BAD:
            break;
        }
        /* A statement without a readable name is parsed for the errors inside. */
        s = pool_new_of(p->pool, struct conf_stmt);
        s->name = p->word;
        s->bad = p->token != TOKEN_WORD;
        if (p->token != TOKEN_OPEN) {
            advance(p);
            s->end = p->end;
            parse_args(p, s);
        }
        if (p->token == TOKEN_OPEN)
            parse_block(p, s, depth);
        if (s->name.text.len != 0 && !s->name.comma)
            conf_block_append(parent, s);
        else if (!s->bad)
            conf_error_at(p->diags, &s->name, "a directive's name can't be empty");
    }
}

static void parser_start(struct parser *p)
{
    if (slice_eq(slice_head(p->file->text, 3), SLICE("\xef\xbb\xbf")))
        p->pos = 3; /* a byte order mark, as some editors leave it */
    p->line = 1;
    p->line_start = p->pos;
    advance(p);
}

void conf_parse(const struct conf_file *file, struct pool *pool, struct diagnostics *d,
                struct conf_stmt *root)
{
    struct parser p = { .file = file, .pool = pool, .diags = d };

    parser_start(&p);
    parse_stmts(&p, root, 0);
    free(p.args);
}

void conf_parse_args(const struct conf_file *file, struct pool *pool, struct diagnostics *d,
                     struct conf_stmt *s)
{
    struct parser p = { .file = file, .pool = pool, .diags = d };

    parser_start(&p);
    s->end = p.word;
    parse_args(&p, s);
    if (p.token != TOKEN_END) {
        conf_error_at(d, &p.word, "only the arguments of \"%.*s\" stand here",
                      (int)s->name.text.len, s->name.text.ptr);
        s->bad = true;
    }
    free(p.args);
}
