/* relayctl/dkim.c - the records to put into DNS, and whether they are there. */
#include "relayctl/tool.h"

#include "base/mem.h"
#include "control/view_dkim.h"
#include "mail/dkim_record.h"
#include "mail/path.h"
#include "relayctl/text.h"
#include "relayd/settings_dkim.h"

#include <stdio.h>
#include <string.h>

#define CHECK_WAIT_MS 120000 /* several names, each with its time-outs */
#define EXIT_DIFFERS  1

static void print_json(const json_t *doc)
{
    json_dumpf(doc, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    fputc('\n', stdout);
}

static const char *shown_algorithm(const json_t *key)
{
    return strcmp(text_of(key, "algorithm"), "rsa-sha256") == 0 ? "RSA" : "Ed25519";
}

static void print_record(const json_t *key)
{
    struct slice record = slice_str(text_of(key, "record"));
    const char *name = text_of(key, "name");
    struct buf zone = { 0 }, strings = { 0 };

    mail_dkim_zone_line(name, record, &zone);
    mail_dkim_strings(record, &strings);
    printf("; %s, %s key of %s\n; private half: %s\n\n", text_of(key, "selector"), shown_algorithm(key),
           text_of(key, "domain"), text_of(key, "path"));
    printf("; zone file\n%s\n", buf_cstr(&zone));
    printf("; one line, for %s\n%.*s\n\n", name, (int)record.len, record.ptr);
    printf("; strings of at most 255 bytes\n%s\n", buf_cstr(&strings));
    buf_release(&zone);
    buf_release(&strings);
}

static int print_keys(const json_t *keys)
{
    int exit_code = EX_OK;
    const json_t *key;
    size_t i;

    json_array_foreach(keys, i, key) {
        if (json_object_get(key, "record") != NULL) {
            print_record(key);
        } else {
            tool_complain("%s: %s", text_of(key, "domain"), text_of(key, "problem"));
            exit_code = EX_CONFIG;
        }
    }
    if (json_array_size(keys) == 0)
        printf("no domain of the configuration has \"dkim\"\n");
    return exit_code;
}

/* ---- without an engine ------------------------------------------------------------ */

static void add_key(void *ctx, const struct control_key *k)
{
    json_array_append_new(ctx, view_key(k));
}

/* What the files say, as far as whoever asks may read them. */
static int keys_offline(struct tool *t, const char *domain, json_t **out)
{
    struct bundle *b = settings_read(t->config_path, NULL);
    struct diagnostics d = { 0 };
    struct settings *s = NULL;
    json_t *keys = json_array();
    struct err e;

    settings_auto_keys(t->settings, b, false, 0);
    e = settings_load_bundle(b, &d, &s);
    bundle_free(b);
    if (err_failed(e)) {
        diagnostics_print(&d);
        json_decref(keys);
        diagnostics_release(&d);
        return EX_CONFIG;
    }
    diagnostics_release(&d);
    settings_each_key(s, domain, add_key, keys);
    settings_unref(s);
    if (json_array_size(keys) == 0 && domain != NULL) {
        tool_complain("%s is no domain with \"dkim\" in the configuration", domain);
        json_decref(keys);
        return EX_NOINPUT;
    }
    *out = json_pack("{so}", "keys", keys);
    return EX_OK;
}

/* ---- commands ----------------------------------------------------------------------- */

static int check(struct tool *t, const char *domain)
{
    struct buf path = { 0 };
    int exit_code;
    json_t *doc = NULL, *key;
    size_t i;

    buf_add_str(&path, "/v1/dkim?check=yes");
    if (domain != NULL)
        api_add_argument(&path, "domain", domain);
    exit_code = api_command(t, "GET", buf_cstr(&path), NULL, CHECK_WAIT_MS, &doc);
    buf_release(&path);
    if (exit_code != EX_OK)
        return exit_code;
    if (t->json)
        print_json(doc);
    json_array_foreach(json_object_get(doc, "keys"), i, key) {
        const char *dns = text_of(key, "dns");
        const char *name = text_of(key, "name");

        if (!t->json)
            printf("%-10s %s: %s\n", dns, *name != '\0' ? name : text_of(key, "domain"), text_of(key, "detail"));
        if (strcmp(dns, "unknown") == 0 && exit_code == EX_OK)
            exit_code = EX_TEMPFAIL;
        else if (strcmp(dns, "ok") != 0 && strcmp(dns, "unknown") != 0)
            exit_code = EXIT_DIFFERS;
    }
    json_decref(doc);
    return exit_code;
}

static int show(struct tool *t, const char *domain)
{
    struct buf path = { 0 };
    json_t *doc = NULL;
    int exit_code;

    buf_add_str(&path, "/v1/dkim");
    if (domain != NULL)
        api_add_argument(&path, "domain", domain);
    if (api_ask(t, "GET", buf_cstr(&path), NULL, API_WAIT_MS, &doc, &exit_code) == API_DOWN)
        exit_code = keys_offline(t, domain, &doc);
    buf_release(&path);
    if (exit_code == EX_OK && t->json)
        print_json(doc);
    else if (exit_code == EX_OK)
        exit_code = print_keys(json_object_get(doc, "keys"));
    json_decref(doc);
    return exit_code;
}

int command_dkim(struct tool *t)
{
    bool is_check = t->arg_count > 0 && strcmp(t->args[0], "check") == 0;
    const char *given = t->arg_count > (size_t)is_check ? t->args[is_check] : NULL;
    char domain[MAIL_DOMAIN_MAX + 1];

    if (!is_check && t->arg_count > 1) {
        tool_complain("dkim: \"%s\" is one argument too many", t->args[1]);
        return EX_USAGE;
    }
    if (given != NULL && !mail_domain_to_ascii(slice_str(given), domain)) {
        tool_complain("dkim: \"%s\" is no domain name", given);
        return EX_USAGE;
    }
    return is_check ? check(t, given != NULL ? domain : NULL) : show(t, given != NULL ? domain : NULL);
}
