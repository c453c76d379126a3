/* smtp/client_offer.c - what a next hop says it can do, from its EHLO reply
 * (RFC 5321 section 4.1.1.1). Unknown keywords and odd parameters are passed
 * over: a server that can't spell one extension may still take mail.
 */
#include "smtp/client_private.h"

static void read_size(struct smtp_client_offer *offer, struct slice params)
{
    offer->size = true;
    if (!slice_u64(params, &offer->size_max))
        offer->size_max = 0;
}

/* RFC 9422 section 3: "RCPTMAX=100 MAILMAX=10", more to come. */
static void read_limits(struct smtp_client_offer *offer, struct slice params)
{
    struct slice part;

    while (slice_split(&params, ' ', &part)) {
        size_t equals = slice_find(part, '=');
        struct slice name = slice_head(part, equals);
        uint64_t n;

        if (!slice_u64(slice_from(part, equals + 1), &n) || n == 0)
            continue;
        if (n > UINT32_MAX)
            n = UINT32_MAX;
        if (slice_eq_nocase(name, SLICE("RCPTMAX")))
            offer->recipients_max = (unsigned)n;
        else if (slice_eq_nocase(name, SLICE("MAILMAX")))
            offer->messages_max = (unsigned)n;
    }
}

/* RFC 4954 section 3: names of mechanisms. */
static void read_auth(struct smtp_client_offer *offer, struct slice params)
{
    struct slice name;
    size_t n = 0;

    offer->auth = true;
    offer->auth_mechanisms = 0;
    for (size_t i = 0; i < params.len && n + 1 < sizeof offer->auth_text; i++) {
        if (params.ptr[i] >= ' ' && params.ptr[i] <= '~')
            offer->auth_text[n++] = params.ptr[i];
    }
    offer->auth_text[n] = '\0';
    while (slice_split(&params, ' ', &name))
        offer->auth_mechanisms |= sasl_mechanism_bit(name);
}

static const struct keyword {
    const char *name;
    size_t flag; /* offset of a bool in the offer */
    void (*read)(struct smtp_client_offer *offer, struct slice params);
} keywords[] = {
    { "PIPELINING", offsetof(struct smtp_client_offer, pipelining), NULL },
    { "8BITMIME", offsetof(struct smtp_client_offer, eightbitmime), NULL },
    { "CHUNKING", offsetof(struct smtp_client_offer, chunking), NULL },
    { "STARTTLS", offsetof(struct smtp_client_offer, starttls), NULL },
    { "ENHANCEDSTATUSCODES", offsetof(struct smtp_client_offer, enhanced), NULL },
    { "DSN", offsetof(struct smtp_client_offer, dsn), NULL },
    { "SMTPUTF8", offsetof(struct smtp_client_offer, smtputf8), NULL },
    { "SIZE", 0, read_size },
    { "LIMITS", 0, read_limits },
    { "AUTH", 0, read_auth },
};

static void read_line(struct smtp_client_offer *offer, struct slice line)
{
    size_t blank = slice_find(line, ' ');
    struct slice name = slice_head(line, blank);

    /* "AUTH=LOGIN PLAIN", from before the standard; where both forms are, they agree. */
    if (slice_starts_nocase(line, SLICE("AUTH=")) && !offer->auth)
        read_auth(offer, slice_from(line, 5));
    for (size_t i = 0; i < countof(keywords); i++) {
        if (!slice_eq_nocase(name, slice_str(keywords[i].name)))
            continue;
        if (keywords[i].read != NULL)
            keywords[i].read(offer, slice_trim(slice_from(line, blank)));
        else
            *(bool *)((char *)offer + keywords[i].flag) = true;
    }
}

void client_offer_read(struct smtp_client_offer *offer, struct slice ehlo_text)
{
    struct slice line;

    *offer = (struct smtp_client_offer){ .esmtp = true };
    slice_split(&ehlo_text, '\n', &line); /* its name and pleasantries */
    while (slice_split(&ehlo_text, '\n', &line))
        read_line(offer, line);
}
