/* tests/unit/check.h - cmocka with what it wants included first, and slices. */
#ifndef TESTS_UNIT_CHECK_H
#define TESTS_UNIT_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

/* Compares bytes with a C string and shows both when they differ. */
#define assert_slice_str(s, str)                                                                   \
    do {                                                                                           \
        struct slice got_ = (s);                                                                   \
        char *copy_ = strndup(got_.ptr != NULL ? got_.ptr : "", got_.len);                         \
        assert_string_equal(copy_, (str));                                                         \
        assert_int_equal(got_.len, strlen(str));                                                   \
        free(copy_);                                                                               \
    } while (0)

#define assert_ok(e)                                                                               \
    do {                                                                                           \
        struct err err_ = (e);                                                                     \
        char text_[256];                                                                           \
        if (err_failed(err_))                                                                      \
            fail_msg("%s: %s", #e, err_text(err_, text_, sizeof text_));                           \
    } while (0)

#define assert_err(e, want)                                                                        \
    do {                                                                                           \
        struct err err_ = (e);                                                                     \
        assert_int_equal(err_.kind, (want));                                                       \
    } while (0)

#endif
