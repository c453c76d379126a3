/* net/tls_info.c - what a finished handshake agreed on, and why one failed, in
 * words for logs and policies. */
#include "net/tls_internal.h"

#include "base/mem.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#define BINDING_LABEL "EXPORTER-Channel-Binding"

const char *tls_error_text(const struct stream *s)
{
    return s->tls != NULL && s->tls->error != NULL ? s->tls->error : "";
}

void tls_info_release(struct tls_info *i)
{
    free(i->server_name);
    free(i->peer_name);
    free(i->error);
}

/* ---- names in certificates ---- */

/* A name with a NUL or a control character is an attack on whoever reads it. */
static bool copy_name(const ASN1_STRING *from, char *buf, size_t size)
{
    unsigned char *utf8 = NULL;
    int len = ASN1_STRING_to_UTF8(&utf8, from);
    bool good = len > 0 && (size_t)len < size;

    for (int i = 0; good && i < len; i++)
        good = utf8[i] > ' ' && utf8[i] != 0x7f;
    if (good) {
        memcpy(buf, utf8, (size_t)len);
        buf[len] = '\0';
    }
    OPENSSL_free(utf8);
    return good;
}

static bool alternative_name(X509 *cert, int type, char *buf, size_t size)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    bool found = false;

    for (int i = 0; !found && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *n = sk_GENERAL_NAME_value(names, i);

        found = n->type == type && copy_name(type == GEN_DNS ? n->d.dNSName : n->d.rfc822Name, buf, size);
    }
    GENERAL_NAMES_free(names);
    return found;
}

static bool common_name(X509 *cert, char *buf, size_t size)
{
    const X509_NAME *subject = X509_get_subject_name(cert);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);

    return at >= 0 && copy_name(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)), buf, size);
}

void tls_name_of(X509 *cert, char *buf, size_t size)
{
    buf[0] = '\0';
    if (!alternative_name(cert, GEN_DNS, buf, size))
        common_name(cert, buf, size);
}

static char *peer_name(X509 *cert)
{
    char name[256];

    if (alternative_name(cert, GEN_EMAIL, name, sizeof name) || common_name(cert, name, sizeof name))
        return mem_str(name);
    return NULL;
}

/* ---- after the handshake ---- */

/* Without the extended master secret a session of TLS 1.2 can be made to have
 * the same secret towards two peers, and binds nothing (RFC 9266 section 3). */
static bool export_binding(SSL *ssl, unsigned char *out)
{
    if (SSL_version(ssl) < TLS1_3_VERSION && SSL_get_extms_support(ssl) != 1)
        return false;
    return SSL_export_keying_material(ssl, out, TLS_BINDING_BYTES, BINDING_LABEL, sizeof BINDING_LABEL - 1,
                                      (const unsigned char *)"", 0, 1) == 1;
}

static char *lower_copy(const char *name)
{
    char *copy = name != NULL ? mem_str(name) : NULL;

    for (char *c = copy; c != NULL && *c != '\0'; c++)
        *c = ascii_lower(*c);
    return copy;
}

/* A server's client may show no certificate and still count as verified to
 * OpenSSL; here it does not. */
void tls_info_fill(struct tls_stream *s)
{
    struct tls_info *i = &s->info;
    X509 *cert = SSL_get0_peer_certificate(s->ssl);
    long result = SSL_get_verify_result(s->ssl);

    i->resumed = SSL_session_reused(s->ssl) == 1;
    i->version = SSL_get_version(s->ssl);
    i->cipher = SSL_get_cipher_name(s->ssl);
    i->bits = SSL_get_cipher_bits(s->ssl, &i->cipher_bits);
    i->peer_certified = cert != NULL;
    i->verified = cert != NULL && result == X509_V_OK;
    if (cert != NULL && result != X509_V_OK)
        i->why_not = X509_verify_cert_error_string(result);
    i->server_name = lower_copy(SSL_get_servername(s->ssl, TLSEXT_NAMETYPE_host_name));
    if (s->server != NULL && i->verified)
        i->peer_name = peer_name(cert);
    i->has_binding = export_binding(s->ssl, i->binding);
}

/* ---- failures ---- */

/* OpenSSL's own words where they are good; these were not. */
static const struct {
    int reason;
    const char *text;
} reasons[] = {
    { SSL_R_WRONG_VERSION_NUMBER, "the peer's bytes are not TLS" },
    { SSL_R_UNSUPPORTED_PROTOCOL, "no shared protocol version: the peer has nothing from TLS 1.2 on" },
    { SSL_R_UNKNOWN_PROTOCOL, "no shared protocol version: the peer has nothing from TLS 1.2 on" },
    { SSL_R_VERSION_TOO_LOW, "no shared protocol version: the peer has nothing from TLS 1.2 on" },
    { SSL_R_NO_SHARED_CIPHER, "no shared cipher" },
    { SSL_R_HTTP_REQUEST, "the peer speaks plain text, not TLS" },
    { SSL_R_HTTPS_PROXY_REQUEST, "the peer speaks plain text, not TLS" },
    { SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, "no shared protocol version: the peer refuses TLS 1.2 and 1.3" },
    { SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE, "the peer refuses: no shared cipher or parameters" },
    { SSL_R_TLSV1_ALERT_UNKNOWN_CA, "the peer does not trust our certificate's CA" },
    { SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, "the peer refuses our certificate" },
    { SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, "the peer says that our certificate has expired" },
    { SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, "the peer refuses our certificate" },
    { SSL_R_TLSV1_UNRECOGNIZED_NAME, "the peer does not know the name that was asked for" },
};

static const char *reason_text(unsigned long code)
{
    const char *text;

    for (size_t i = 0; i < countof(reasons); i++) {
        if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == reasons[i].reason)
            return reasons[i].text;
    }
    text = ERR_reason_error_string(code);
    return text != NULL ? text : "TLS failed";
}

/* A record begins with its type, 20 to 23; a printable byte is another
 * protocol's. */
static bool speaks_plain(const struct tls_stream *s)
{
    return s->heard && !s->info.established && ((s->first_byte >= ' ' && s->first_byte < 0x7f));
}

char *tls_explain(const struct tls_stream *s)
{
    unsigned long code = ERR_peek_last_error();
    unsigned long first = ERR_peek_error();
    long verify = SSL_get_verify_result(s->ssl);
    char *copy = NULL;

    if (speaks_plain(s))
        copy = mem_str("the peer speaks plain text, not TLS");
    else if (ERR_GET_LIB(first) == ERR_LIB_SSL && ERR_GET_REASON(first) == SSL_R_CERTIFICATE_VERIFY_FAILED)
        copy = mem_str(X509_verify_cert_error_string(verify));
    else
        copy = mem_str(first != 0 ? reason_text(first) : code != 0 ? reason_text(code) : "TLS failed");
    ERR_clear_error();
    return copy;
}
