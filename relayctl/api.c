/* relayctl/api.c - asks the engine: HTTP by libcurl over its Unix socket. */
#include "relayctl/tool.h"

#include "control/socket.h"
#include "relayctl/text.h"

#include <curl/curl.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_MAX (256u * MIB)

struct exchange {
    CURL *curl;
    struct buf answer; /* a document */
    api_taker *take;   /* who gets octets instead; or NULL */
    void *ctx;
};

static long status_of(const struct exchange *x)
{
    long status = 0;

    curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

static size_t take_answer(char *bytes, size_t size, size_t count, void *ctx)
{
    struct exchange *x = ctx;
    struct slice piece = slice_make(bytes, size * count);

    if (x->take != NULL && status_of(x) == 200) {
        x->take(x->ctx, piece);
        return piece.len;
    }
    if (buf_len(&x->answer) + piece.len > ANSWER_MAX)
        return 0;
    buf_add(&x->answer, piece);
    return piece.len;
}

void api_add_argument(struct buf *path, const char *name, const char *value)
{
    static const char plain[] = "-._~@";

    buf_printf(path, "%c%s=", slice_find(buf_bytes(path), '?') < buf_len(path) ? '&' : '?', name);
    for (; *value != '\0'; value++) {
        if (ascii_is_alnum(*value) || strchr(plain, *value) != NULL)
            buf_add_byte(path, *value);
        else
            buf_printf(path, "%%%02X", (unsigned char)*value);
    }
}

/* What the engine said against it, and which exit code that is. */
static int tell_refusal(long status, const json_t *document)
{
    const json_t *error = json_object_get(document, "error");
    struct buf message = { 0 };

    text_clean(&message, text_of(error, "message"));
    if (strcmp(text_of(error, "code"), "refused") == 0)
        fprintf(stderr, "%s\n", text_of(error, "message")); /* lines of diagnostics, cleaned by their maker */
    else if (buf_len(&message) != 0)
        tool_complain("%s", buf_cstr(&message));
    else
        tool_complain("the engine answered with status %ld and no explanation", status);
    buf_release(&message);
    switch (status) {
    case 400:
    case 405:
    case 413:
        return EX_USAGE;
    case 403:
        return EX_NOPERM;
    case 404:
        return EX_NOINPUT;
    case 409:
        return EX_DATAERR;
    case 422:
        return EX_CONFIG;
    case 503:
        return EX_TEMPFAIL;
    default:
        return EX_SOFTWARE;
    }
}

static enum api_result tell_failure(struct tool *t, CURL *curl, CURLcode rc, int *exit_code)
{
    const char *folder = t->settings->runtime_dir;
    long sys = 0;

    curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &sys);
    if (rc == CURLE_COULDNT_CONNECT && (sys == ECONNREFUSED || sys == ENOENT))
        return API_DOWN;
    if (rc == CURLE_COULDNT_CONNECT && (sys == EACCES || sys == EPERM)) {
        tool_complain("%s/" CONTROL_SOCKET_NAME ": permission denied; be root or the user of the engine", folder);
        *exit_code = EX_NOPERM;
    } else if (rc == CURLE_OPERATION_TIMEDOUT) {
        tool_complain("the engine hangs: it does not answer at %s/" CONTROL_SOCKET_NAME
                      "; look at its log, or restart relayd",
                      folder);
        *exit_code = EX_TEMPFAIL;
    } else {
        tool_complain("%s/" CONTROL_SOCKET_NAME ": %s; the engine may be restarting, try again", folder,
                      curl_easy_strerror(rc));
        *exit_code = EX_TEMPFAIL;
    }
    return API_REFUSED;
}

static enum api_result take_document(struct exchange *x, json_t **out, int *exit_code)
{
    json_t *document = json_loadb(buf_bytes(&x->answer).ptr, buf_len(&x->answer), 0, NULL);

    if (status_of(x) == 200 && document != NULL) {
        *out = document;
        return API_OK;
    }
    if (strcmp(text_of(json_object_get(document, "error"), "code"), "no_accounts") == 0) {
        json_decref(document); /* who would know does not run */
        return API_DOWN;
    }
    *exit_code = tell_refusal(status_of(x), document);
    json_decref(document);
    return API_REFUSED;
}

static enum api_result perform(struct tool *t, struct exchange *x, const char *path, json_t **out, int *exit_code)
{
    struct buf url = { 0 };
    CURLcode rc;

    buf_printf(&url, "http://relayd%s", path);
    curl_easy_setopt(x->curl, CURLOPT_URL, buf_cstr(&url));
    curl_easy_setopt(x->curl, CURLOPT_PROXY, ""); /* whatever the environment says */
    curl_easy_setopt(x->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(x->curl, CURLOPT_WRITEFUNCTION, take_answer);
    curl_easy_setopt(x->curl, CURLOPT_WRITEDATA, x);
    rc = curl_easy_perform(x->curl);
    buf_release(&url);
    if (rc == CURLE_PARTIAL_FILE) {
        tool_complain("the engine broke off: the message's content is damaged, or the engine was stopped");
        *exit_code = EX_IOERR;
        return API_REFUSED;
    }
    if (rc != CURLE_OK)
        return tell_failure(t, x->curl, rc, exit_code);
    return x->take != NULL && status_of(x) == 200 ? API_OK : take_document(x, out, exit_code);
}

/* API_OK: a connection can be made of *curl, through the folder *dir_fd. */
static enum api_result begin(struct tool *t, CURL **curl, int *dir_fd, int *exit_code)
{
    struct buf socket = { 0 };
    struct err e = control_socket_path(t->settings->runtime_dir, &socket, dir_fd);

    *exit_code = EX_OK;
    if (err_failed(e)) {
        buf_release(&socket);
        if (e.sys == ENOENT)
            return API_DOWN;
        tool_complain("%s: %s", t->settings->runtime_dir, strerror(e.sys));
        *exit_code = e.sys == EACCES ? EX_NOPERM : EX_UNAVAILABLE;
        return API_REFUSED;
    }
    *curl = curl_easy_init();
    if (*curl == NULL) {
        tool_complain("libcurl can't be used");
        *exit_code = EX_SOFTWARE;
        close(*dir_fd);
    } else {
        curl_easy_setopt(*curl, CURLOPT_UNIX_SOCKET_PATH, buf_cstr(&socket));
    }
    buf_release(&socket);
    return *curl != NULL ? API_OK : API_REFUSED;
}

static void end(struct exchange *x, int dir_fd)
{
    curl_easy_cleanup(x->curl);
    close(dir_fd);
    buf_release(&x->answer);
}

enum api_result api_ask(struct tool *t, const char *method, const char *path, const char *body, long wait_ms,
                        json_t **out, int *exit_code)
{
    struct exchange x = { 0 };
    enum api_result result;
    int dir_fd;

    *out = NULL;
    result = begin(t, &x.curl, &dir_fd, exit_code);
    if (result != API_OK)
        return result;
    curl_easy_setopt(x.curl, CURLOPT_TIMEOUT_MS, wait_ms);
    if (strcmp(method, "POST") == 0) {
        curl_easy_setopt(x.curl, CURLOPT_POST, 1L);
        curl_easy_setopt(x.curl, CURLOPT_POSTFIELDS, body != NULL ? body : "");
    }
    result = perform(t, &x, path, out, exit_code);
    end(&x, dir_fd);
    return result;
}

enum api_result api_stream(struct tool *t, const char *path, api_taker *take, void *ctx, int *exit_code)
{
    struct exchange x = { .take = take, .ctx = ctx };
    enum api_result result;
    json_t *none = NULL;
    int dir_fd;

    result = begin(t, &x.curl, &dir_fd, exit_code);
    if (result != API_OK)
        return result;
    curl_easy_setopt(x.curl, CURLOPT_LOW_SPEED_LIMIT, 1L); /* bytes a second, */
    curl_easy_setopt(x.curl, CURLOPT_LOW_SPEED_TIME, API_WAIT_MS / 1000L); /* averaged over so many */
    result = perform(t, &x, path, &none, exit_code);
    json_decref(none);
    end(&x, dir_fd);
    return result;
}

int api_command(struct tool *t, const char *method, const char *path, const char *body, long wait_ms, json_t **out)
{
    int exit_code;

    if (api_ask(t, method, path, body, wait_ms, out, &exit_code) != API_DOWN)
        return exit_code;
    tool_complain("relayd is not running (nobody listens at %s/" CONTROL_SOCKET_NAME "); start it first",
                  t->settings->runtime_dir);
    return EX_UNAVAILABLE;
}
