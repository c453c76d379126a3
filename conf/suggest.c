/* conf/suggest.c - how far apart two words are, for messages about typing
 * mistakes in the configuration. */
#include "conf/suggest.h"

#define WORD_MAX 64u /* no directive is longer; a longer word is no typing mistake */

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned m = a < b ? a : b;

    return m < c ? m : c;
}

unsigned suggest_distance(struct slice a, struct slice b, unsigned limit)
{
    unsigned rows[3][WORD_MAX + 1]; /* of the matrix: two ago, the last, this one */
    unsigned *two_ago = rows[0], *last = rows[1], *row = rows[2];

    if (a.len > WORD_MAX || b.len > WORD_MAX)
        return limit + 1;
    for (unsigned j = 0; j <= b.len; j++)
        last[j] = j;
    for (unsigned i = 1; i <= a.len; i++) {
        unsigned *spare = two_ago;
        char ca = ascii_lower(a.ptr[i - 1]);

        row[0] = i;
        for (unsigned j = 1; j <= b.len; j++) {
            char cb = ascii_lower(b.ptr[j - 1]);

            row[j] = min3(last[j] + 1, row[j - 1] + 1, last[j - 1] + (ca != cb));
            if (i > 1 && j > 1 && ca == ascii_lower(b.ptr[j - 2]) &&
                ascii_lower(a.ptr[i - 2]) == cb && two_ago[j - 2] + 1 < row[j])
                row[j] = two_ago[j - 2] + 1;
        }
        two_ago = last;
        last = row;
        row = spare;
    }
    return last[b.len] <= limit ? last[b.len] : limit + 1;
}

void suggest_offer(struct suggest *s, struct slice candidate)
{
    /* A third of the word may be wrong, at most three letters. */
    unsigned limit = (unsigned)(s->word.len + 2) / 3;
    unsigned distance;

    if (limit > 3)
        limit = 3;
    distance = suggest_distance(s->word, candidate, limit);
    if (distance > limit || (s->best.len != 0 && distance >= s->distance))
        return;
    s->best = candidate;
    s->distance = distance;
}
