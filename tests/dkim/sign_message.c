/* Signs the message at its standard input:
 *
 *   sign_message PIECE DOMAIN SELECTOR RSA_PEM SELECTOR ED25519_PEM
 *
 * and prints the fields. The body is handed over in pieces of PIECE bytes. */
#include "auth/signer.h"
#include "mail/header.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct slice body_rest;
static size_t piece_bytes;

static struct err body_read(void *ctx, struct slice *piece)
{
    *piece = slice_head(body_rest, piece_bytes);
    body_rest = slice_from(body_rest, piece->len);
    return ERR_OK;
}

static void read_all(FILE *f, struct buf *out)
{
    char bytes[65536];
    size_t n;

    while ((n = fread(bytes, 1, sizeof bytes, f)) > 0)
        buf_add(out, slice_make(bytes, n));
}

static const char *read_file(const char *path)
{
    struct buf b = { 0 };
    FILE *f = fopen(path, "r");

    if (f == NULL) {
        perror(path);
        exit(2);
    }
    read_all(f, &b);
    fclose(f);
    return buf_detach(&b);
}

int main(int argc, char **argv)
{
    struct buf content = { 0 }, fields = { 0 };
    struct mail_header_scan scan = { 0 };
    struct signer_message m = { .id = "test", .read = body_read, .wall_ms = 1790000000000 };
    struct signer *s;
    char why[SIGNER_WHY_MAX] = "";
    struct err e;

    if (argc != 7)
        return 2;
    {
        const struct signer_key keys[2] = {
            { argv[2], argv[3], SIGN_RSA_SHA256, read_file(argv[4]) },
            { argv[2], argv[5], SIGN_ED25519_SHA256, read_file(argv[6]) },
        };

        read_all(stdin, &content);
        mail_header_scan(&scan, buf_bytes(&content), true);
        m.header = slice_head(buf_bytes(&content), scan.size);
        body_rest = slice_from(buf_bytes(&content), scan.size);
        piece_bytes = strtoul(argv[1], NULL, 10);
        e = signer_new(&s);
        if (!err_failed(e))
            e = signer_sign(s, &m, keys, 2, &fields, why);
        if (err_failed(e)) {
            fprintf(stderr, "%s\n", why);
            return 1;
        }
        signer_free(s);
        free((char *)keys[0].pem);
        free((char *)keys[1].pem);
    }
    fwrite(buf_bytes(&fields).ptr, 1, buf_len(&fields), stdout);
    buf_release(&fields);
    buf_release(&content);
    return 0;
}
