/* Records of users and of their application passwords as a disk gives them
 * back. The first byte chooses the kind and whether a good checksum is put
 * behind the rest, so that what is inside is looked at too. */
#include "auth/users.h"

#include "base/codec.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool rewrite_user(struct slice record, struct buf *out)
{
    struct user u;

    if (err_failed(user_get(record, &u)))
        return false;
    if (u.sender_count > USER_SENDERS_MAX || strlen(u.address) > USER_ADDRESS_MAX ||
        strlen(u.hash) >= PASSWORD_HASH_MAX)
        abort();
    for (size_t i = 0; i < u.sender_count; i++)
        if (strlen(u.senders[i]) > USER_ADDRESS_MAX)
            abort();
    user_put(out, &u);
    user_release(&u);
    return true;
}

static bool rewrite_app(struct slice record, struct buf *out)
{
    struct user_app a;

    if (err_failed(user_app_get(record, &a)))
        return false;
    if (strlen(a.name) > USER_APP_NAME_MAX)
        abort();
    user_app_put(out, &a);
    user_app_release(&a);
    return true;
}

/* Names come from strangers, too: the key of a key is itself. */
static void check_names(struct slice name)
{
    char key[USER_ADDRESS_MAX + 1], again[USER_ADDRESS_MAX + 1], services[32];
    unsigned bits, same;

    if (user_key(name, "example.com", key) &&
        (!user_key(slice_str(key), NULL, again) || strcmp(key, again) != 0))
        abort();
    if (user_service_parse(name, &bits) && bits != 0 &&
        (!user_service_parse(slice_str(user_service_names(bits, services)), &same) || same != bits))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf record = { 0 }, once = { 0 }, twice = { 0 };
    bool (*kind)(struct slice record, struct buf *out);

    if (size == 0)
        return 0;
    kind = data[0] & 1 ? rewrite_app : rewrite_user;
    check_names(slice_make(data + 1, size - 1));
    buf_add(&record, slice_make(data + 1, size - 1));
    if ((data[0] & 128) == 0)
        codec_seal(&record, 0);
    if (kind(buf_bytes(&record), &once)) {
        if (!kind(buf_bytes(&once), &twice) || !slice_eq(buf_bytes(&once), buf_bytes(&twice)))
            abort();
    }
    buf_release(&record);
    buf_release(&once);
    buf_release(&twice);
    return 0;
}
