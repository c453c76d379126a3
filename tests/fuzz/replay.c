/* tests/fuzz/replay.c - feeds a fuzz target each file of its corpus, and each
 * file cut short at several places, in the normal test run. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t *read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = NULL;
    long end;

    if (f == NULL)
        return NULL;
    if (fseek(f, 0, SEEK_END) == 0 && (end = ftell(f)) >= 0 && fseek(f, 0, SEEK_SET) == 0) {
        data = malloc((size_t)end + 1);
        if (data != NULL && fread(data, 1, (size_t)end, f) == (size_t)end) {
            *size = (size_t)end;
        } else {
            free(data);
            data = NULL;
        }
    }
    fclose(f);
    return data;
}

/* The target sees a heap copy of exactly that size, so that the sanitizer
 * notices a byte read too far. */
static void feed(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size != 0 ? size : 1);

    if (copy == NULL)
        abort();
    if (size != 0)
        memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

int main(int argc, char **argv)
{
    struct dirent *entry;
    unsigned n = 0;
    DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;

    if (dir == NULL) {
        printf("1..1\nnot ok 1 - no corpus at %s\n", argc == 2 ? argv[1] : "(no argument)");
        return 1;
    }
    while ((entry = readdir(dir)) != NULL) {
        char path[4096];
        uint8_t *data;
        size_t size;

        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
        data = read_file(path, &size);
        n++;
        if (data == NULL) {
            printf("not ok %u - %s can't be read\n", n, entry->d_name);
            continue;
        }
        for (size_t part = 0; part <= 8; part++)
            feed(data, size * part / 8);
        printf("ok %u - %s\n", n, entry->d_name);
        free(data);
    }
    closedir(dir);
    if (n == 0)
        printf("not ok 1 - the corpus is empty\n1..1\n");
    else
        printf("1..%u\n", n);
    return n == 0;
}
