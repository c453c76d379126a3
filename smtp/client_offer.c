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
};

static void read_line(struct smtp_client_offer *offer, struct slice line)
{
    size_t blank = slice_find(line, ' ');
    struct slice name = slice_head(line, blank);

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
