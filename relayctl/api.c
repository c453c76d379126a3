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

static size_t take_answer(char *bytes, size_t size, size_t count, void *ctx)
{
    struct buf *answer = ctx;

    if (buf_len(answer) + size * count > ANSWER_MAX)
        return 0;
    buf_add(answer, slice_make(bytes, size * count));
    return size * count;
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

static enum api_result take_document(CURL *curl, const struct buf *answer, json_t **out, int *exit_code)
{
    long status = 0;
    json_t *document = json_loadb(buf_bytes(answer).ptr, buf_len(answer), 0, NULL);

    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (status == 200 && document != NULL) {
        *out = document;
        return API_OK;
    }
    if (strcmp(text_of(json_object_get(document, "error"), "code"), "no_accounts") == 0) {
        json_decref(document); /* who would know does not run */
        return API_DOWN;
    }
    *exit_code = tell_refusal(status, document);
    json_decref(document);
    return API_REFUSED;
}

static enum api_result perform(struct tool *t, CURL *curl, const char *method, const char *path, const char *body,
                               long wait_ms, json_t **out, int *exit_code)
{
    struct buf url = { 0 }, answer = { 0 };
    enum api_result result;
    CURLcode rc;

    buf_printf(&url, "http://relayd%s", path);
    curl_easy_setopt(curl, CURLOPT_URL, buf_cstr(&url));
    curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* whatever the environment says */
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, wait_ms);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_answer);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
    if (strcmp(method, "POST") == 0) {
        curl_easy_setopt(curl, CURLOPT_POST, 1L);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body != NULL ? body : "");
    }
    rc = curl_easy_perform(curl);
    if (rc == CURLE_OK)
        result = take_document(curl, &answer, out, exit_code);
    else
        result = tell_failure(t, curl, rc, exit_code);
    buf_release(&url);
    buf_release(&answer);
    return result;
}

enum api_result api_ask(struct tool *t, const char *method, const char *path, const char *body, long wait_ms,
                        json_t **out, int *exit_code)
{
    struct buf socket = { 0 };
    enum api_result result = API_DOWN;
    int dir_fd = -1;
    struct err e = control_socket_path(t->settings->runtime_dir, &socket, &dir_fd);
    CURL *curl;

    *out = NULL;
    *exit_code = EX_OK;
    if (err_failed(e)) {
        buf_release(&socket);
        if (e.sys == ENOENT)
            return API_DOWN;
        tool_complain("%s: %s", t->settings->runtime_dir, strerror(e.sys));
        *exit_code = e.sys == EACCES ? EX_NOPERM : EX_UNAVAILABLE;
        return API_REFUSED;
    }
    curl = curl_easy_init();
    if (curl == NULL) {
        tool_complain("libcurl can't be used");
        *exit_code = EX_SOFTWARE;
        result = API_REFUSED;
    } else {
        curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, buf_cstr(&socket));
        result = perform(t, curl, method, path, body, wait_ms, out, exit_code);
        curl_easy_cleanup(curl);
    }
    close(dir_fd);
    buf_release(&socket);
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
