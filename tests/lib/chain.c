#include "chain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct gx_chain_link {
    struct gx_client_certificate *certificate;
    void *bytes;
    size_t len;
};

static char *read_key(const struct gx_served *served)
{
    char path[160];
    static char key[1024];
    (void)snprintf(path, sizeof(path), "%s/certificate.pub", served->server.data);
    FILE *file = fopen(path, "re");
    ck_assert_msg(file != NULL, "%s is missing", path);
    size_t len = fread(key, 1, sizeof(key) - 1, file);
    key[len] = '\0';
    (void)fclose(file);
    return key;
}

static void check_against_ticket(const struct gx_client_certificate *c, const struct gx_client_ticket *t)
{
    ck_assert_str_eq(c->ticket_id, t->ticket_id);
    ck_assert_str_eq(c->order_ref, t->order_ref);
    ck_assert_str_eq(c->gallery, t->gallery);
    ck_assert_uint_eq(c->records, t->records);
    ck_assert_uint_eq(c->serial, t->certificate);
    ck_assert(c->checked);
    /* The times as text, in the order of the stages; text of one form, so it sorts as the times do. */
    const char *const times[] = {c->accepted, c->flushed, c->compacted, c->unlinked, c->erased, c->verified};
    for (size_t i = 1; i < sizeof(times) / sizeof(times[0]); i++)
        ck_assert_msg(strcmp(times[i - 1], times[i]) <= 0, "stage %zu of %s before the one before it", i, t->ticket_id);
    ck_assert(c->unindexed[0] != '\0' && strcmp(c->unindexed, c->erased) <= 0);
}

static void add(struct gx_chain *chain, const struct gx_chain_link *link)
{
    size_t at = chain->n;
    while (at > 0 && chain->links[at - 1].certificate->serial >= link->certificate->serial)
        at--;
    if (at < chain->n && chain->links[at].certificate->serial == link->certificate->serial) {
        const struct gx_chain_link *known = &chain->links[at];
        ck_assert_msg(known->len == link->len && memcmp(known->bytes, link->bytes, link->len) == 0,
                      "two certificates with serial %llu", (unsigned long long)link->certificate->serial);
        gx_client_certificate_free(link->certificate);
        free(link->bytes);
        return;
    }
    if (chain->n == chain->capacity) {
        chain->capacity = chain->capacity == 0 ? 64 : 2 * chain->capacity;
        chain->links = realloc(chain->links, chain->capacity * sizeof(*chain->links));
        ck_assert_ptr_nonnull(chain->links);
    }
    memmove(chain->links + at + 1, chain->links + at, (chain->n - at) * sizeof(*chain->links));
    chain->links[at] = *link;
    chain->n++;
}

static void collect(struct gx_chain *chain, struct gx_served *served, const struct gx_client_ticket *ticket,
                    const char *key)
{
    struct gx_chain_link link;
    gx_served_ok(gx_client_certificate_get(served->client, ticket->ticket_id, &link.bytes, &link.len, NULL));
    gx_served_ok(gx_client_certificate_verify(link.bytes, link.len, key, strlen(key), &link.certificate));
    check_against_ticket(link.certificate, ticket);
    add(chain, &link);
}

void gx_chain_collect(struct gx_chain *chain, struct gx_served *served)
{
    const char *key = read_key(served);
    struct gx_client_tickets *page;
    char token[64] = "";
    do {
        gx_served_ok(gx_client_ticket_list(served->client, NULL, 1000, token, &page));
        for (size_t i = page->n_tickets; i-- > 0;) /* newest first: nearly in the order of the chain */
            if (page->tickets[i].state == GX_CLIENT_TICKET_VERIFIED)
                collect(chain, served, &page->tickets[i], key);
            else
                ck_assert_uint_eq(page->tickets[i].certificate, 0);
        (void)snprintf(token, sizeof(token), "%s", page->next_page_token);
        gx_client_tickets_free(page);
    } while (token[0] != '\0');
}

void gx_chain_check(const struct gx_chain *chain, size_t n)
{
    ck_assert_uint_eq(chain->n, n);
    for (size_t i = 0; i < chain->n; i++) {
        ck_assert_msg(chain->links[i].certificate->serial == i + 1, "certificate %zu is missing", i + 1);
        if (i > 0)
            gx_served_ok(gx_client_certificate_follows(chain->links[i].certificate, chain->links[i - 1].certificate));
        else
            ck_assert_uint_eq(strspn(chain->links[0].certificate->previous, "0"), 64);
    }
}

void gx_chain_free(struct gx_chain *chain)
{
    for (size_t i = 0; i < chain->n; i++) {
        gx_client_certificate_free(chain->links[i].certificate);
        free(chain->links[i].bytes);
    }
    free(chain->links);
    *chain = (struct gx_chain){0};
}
