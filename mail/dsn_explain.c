/* mail/dsn_explain.c - enhanced status codes (RFC 3463 and IANA's registry) in
 * plain words, for the person whose message did not arrive. */
#include "mail/dsn_text.h"

static const char check_address[] =
    "Check the address for spelling mistakes. If it is right, ask the recipient by other means "
    "(telephone, for example) for an address that works.";
static const char check_domain[] =
    "Check the part of the address behind the @ for spelling mistakes.";
static const char other_means[] =
    "Tell the recipient by other means that their mailbox has a problem, or use another address.";
static const char try_later[] = "Send the message again later. If that fails as well, tell the "
                                "recipient by other means.";
static const char send_less[] =
    "Send a smaller message: leave out large attachments, or share them in another way.";
static const char ask_admin[] =
    "Forward this notice to the administrator of your own mail system, who can find out more.";
static const char ask_their_admin[] =
    "Tell the recipient by other means; the administrator of their mail system can change it.";
static const char not_your_fault[] =
    "This is a matter for mail administrators. Forward this notice to yours.";

/* Subject and detail of the code; a detail of ANY stands for those not listed. */
#define ANY 0xffff

static const struct {
    uint16_t subject, detail;
    struct mail_dsn_meaning meaning;
} meanings[] = {
    { 1,
      1,
      { "There is no mailbox with this address at the recipient's mail system.", check_address } },
    { 1,
      2,
      { "The domain of this address does not exist, or no mail can be sent to it.",
        check_domain } },
    { 1, 3, { "This is not written as a mail address should be.", check_address } },
    { 1, 4, { "This address means more than one mailbox.", check_address } },
    { 1, 6, { "The mailbox has moved, and nobody said where to.", check_address } },
    { 1,
      7,
      { "The recipient's mail system did not accept your own address as the sender's.",
        ask_admin } },
    { 1,
      8,
      { "The recipient's mail system can't find the domain of your own address.", ask_admin } },
    { 1,
      10,
      { "The domain of this address has declared that it takes no mail at all.", check_domain } },
    { 1, ANY, { "The recipient's mail system did not accept this address.", check_address } },
    { 2, 1, { "The mailbox is switched off and takes no messages.", other_means } },
    { 2, 2, { "The recipient's mailbox is full.", other_means } },
    { 2, 3, { "The message is larger than this mailbox accepts.", send_less } },
    { 2, 4, { "The address is a mailing list that could not be expanded.", other_means } },
    { 2, ANY, { "The recipient's mailbox did not accept the message.", other_means } },
    { 3, 1, { "The recipient's mail system has no space left.", try_later } },
    { 3, 2, { "The recipient's mail system takes no messages at the moment.", try_later } },
    { 3, 4, { "The message is larger than the recipient's mail system accepts.", send_less } },
    { 3, ANY, { "The recipient's mail system has a problem.", try_later } },
    { 4, 1, { "The recipient's mail server did not answer.", try_later } },
    { 4, 2, { "The connection to the recipient's mail server broke off.", try_later } },
    { 4,
      3,
      { "The directory of the Internet (DNS) did not say where this domain's mail goes.",
        try_later } },
    { 4, 4, { "No mail server was found that takes mail for this domain.", check_domain } },
    { 4, 5, { "The recipient's mail system is too busy.", try_later } },
    { 4, 6, { "The message went round in circles between mail systems.", not_your_fault } },
    { 4, 7, { "The message could not be delivered in the time allowed for it.", try_later } },
    { 4, ANY, { "The recipient's mail system could not be reached over the network.", try_later } },
    { 5,
      3,
      { "The message has more recipients than the mail system accepts at once.",
        "Send the message to fewer recipients at a time." } },
    { 5, ANY, { "Two mail systems did not understand each other.", not_your_fault } },
    { 6,
      ANY,
      { "The recipient's mail system can't handle the content of the message.",
        "Send the message in a simpler form, as plain text for example." } },
    { 7,
      1,
      { "The recipient's mail system refused the message under its rules. Often that is a "
        "suspicion of unwanted mail, or a recipient who takes mail from few senders only.",
        ask_their_admin } },
    { 7, 2, { "You are not allowed to write to this mailing list.", other_means } },
    { 7, 8, { "A mail server refused our login.", ask_admin } },
    { 7,
      20,
      { "The message has no signature (DKIM) that the recipient's mail system accepts.",
        ask_admin } },
    { 7,
      21,
      { "The message has no signature (DKIM) that the recipient's mail system accepts.",
        ask_admin } },
    { 7,
      22,
      { "The message has no signature (DKIM) that the recipient's mail system accepts.",
        ask_admin } },
    { 7,
      23,
      { "The domain of your address does not allow this server to send its mail (SPF).",
        ask_admin } },
    { 7,
      24,
      { "Whether the domain of your address allows this server to send its mail could not "
        "be found out (SPF).",
        ask_admin } },
    { 7,
      25,
      { "The recipient's mail system found no name for our server's address (reverse DNS).",
        ask_admin } },
    { 7,
      26,
      { "The recipient's mail system could not make sure that the message is really from "
        "you (SPF, DKIM, DMARC).",
        ask_admin } },
    { 7,
      27,
      { "The domain of your own address takes no mail, so nobody could answer you.", ask_admin } },
    { 7, 28, { "The recipient's mail system got too many messages at once.", try_later } },
    { 7,
      30,
      { "No encrypted connection to the recipient's mail system was possible, and one is "
        "demanded.",
        not_your_fault } },
    { 7,
      ANY,
      { "The recipient's mail system refused the message for reasons of security or policy.",
        ask_their_admin } },
};

struct mail_dsn_meaning mail_dsn_explain(struct mail_status st)
{
    for (size_t i = 0; i < countof(meanings); i++)
        if (meanings[i].subject == st.subject &&
            (meanings[i].detail == st.detail || meanings[i].detail == ANY))
            return meanings[i].meaning;
    if (st.class_ == 4)
        return (struct mail_dsn_meaning){ "The recipient's mail system did not accept the message.",
                                          try_later };
    return (struct mail_dsn_meaning){ "The recipient's mail system refused the message.",
                                      ask_their_admin };
}
