/* Backups: create, list, delete. */
#include "message_private.h"

#include <stdlib.h>

#include "indexd/v1/backups.pb-c.h"

_Static_assert((int)GX_CLIENT_BACKUP_EXPIRED == (int)INDEXD__V1__BACKUP_STATE__BACKUP_STATE_EXPIRED, "states");

static void fill_backup(const Indexd__V1__Backup *b, struct gx_client_backup_info *out)
{
    *out = (struct gx_client_backup_info){.state = (enum gx_client_backup_state)b->state,
                                          .created_at_us = b->created_at_us,
                                          .expires_at_us = b->expires_at_us,
                                          .gone_at_us = b->gone_at_us,
                                          .files = b->files,
                                          .bytes = b->bytes,
                                          .epoch = b->epoch};
    gx_message_copy(out->backup_id, sizeof(out->backup_id), b->backup_id);
    gx_message_copy(out->directory, sizeof(out->directory), b->directory);
}

/* ---------------------------------------------------------------- create */

struct making {
    gx_client_on_backup *on_progress;
    void *user;
    struct gx_client_backup_info *out;
    bool made, enough;
    int64_t news_us;
    enum gx_status status;
};

static void on_message(void *user, const uint8_t *data, size_t len)
{
    struct making *m = user;
    struct gx_bump mem;
    ProtobufCMessage *message;
    if (m->status != GX_OK || m->enough)
        return;
    gx_bump_init(&mem, gx_message_room(len));
    m->news_us = gx_call_now_us();
    m->status = gx_message_unpack(&indexd__v1__create_backup_progress__descriptor, data, len, &mem, &message);
    if (m->status == GX_OK) {
        const Indexd__V1__CreateBackupProgress *p = (const Indexd__V1__CreateBackupProgress *)message;
        if (p->backup != NULL)
            fill_backup(p->backup, m->out);
        m->made = p->backup != NULL;
        if (!m->made && m->on_progress != NULL)
            m->enough = !m->on_progress(m->user, gx_message_text(p->stage), p->bytes_done, p->bytes_total);
    }
    gx_bump_fini(&mem);
}

/* Until the server ends the call. Not repeated: what became of the first try is not known. */
static enum gx_status follow(gx_client *client, const struct gx_call_message *request, struct making *m)
{
    struct gx_call_stream *s;
    bool sent = false;
    int64_t retry_delay_us;
    m->news_us = gx_call_now_us();
    enum gx_status status = gx_call_stream_open(client->channel, "/indexd.v1.Backups/Create", on_message, m, &s);
    while (status == GX_OK && m->status == GX_OK && !m->enough) {
        int64_t until_us = m->news_us + client->deadline_us;
        if (gx_call_stream_can_send(s)) {
            status = sent ? gx_call_stream_half_close(s) : gx_call_stream_send(s, request);
            sent = true;
        } else if (gx_call_stream_ended(s)) {
            status = gx_call_stream_status(s, &retry_delay_us);
            break;
        } else if (!gx_call_stream_step(s, until_us - gx_call_now_us()) && gx_call_now_us() >= until_us) {
            status = gx_error_set(GX_E_DEADLINE, "no news of the backup for too long: it was broken off");
        }
    }
    gx_call_stream_free(s);
    if (m->enough)
        return gx_error_set(GX_E_CANCELLED, "the backup was broken off");
    return status != GX_OK ? status : m->status;
}

enum gx_status gx_client_backup_create(gx_client *client, const char *directory, uint64_t expires_in_s,
                                       gx_client_on_backup *on_progress, void *user, struct gx_client_backup_info *out)
{
    gx_error_clear();
    *out = (struct gx_client_backup_info){0};
    Indexd__V1__CreateBackupRequest request = INDEXD__V1__CREATE_BACKUP_REQUEST__INIT;
    request.directory = gx_message_bytes(directory);
    request.expires_in_s = expires_in_s;
    struct gx_call_message *message;
    enum gx_status status = gx_message_pack(&request.base, &message);
    if (status != GX_OK)
        return status;
    struct making m = {.on_progress = on_progress, .user = user, .out = out};
    status = follow(client, message, &m);
    gx_call_message_free(message);
    if (status == GX_OK && !m.made)
        status =
            gx_error_set(GX_E_INTERNAL, "the server's answer has no backup: see 'backup list' whether it was made");
    return status;
}

/* ---------------------------------------------------------------- list, delete */

enum gx_status gx_client_backup_list(gx_client *client, bool with_gone, struct gx_client_backup_info **out,
                                     size_t *out_n)
{
    gx_error_clear();
    *out = NULL;
    *out_n = 0;
    Indexd__V1__ListBackupsRequest request = INDEXD__V1__LIST_BACKUPS_REQUEST__INIT;
    request.with_gone = with_gone;
    struct gx_bump mem;
    ProtobufCMessage *reply;
    enum gx_status status = gx_message_call(client, "/indexd.v1.Backups/List", &request.base, true,
                                            &indexd__v1__list_backups_response__descriptor, &mem, &reply);
    if (status != GX_OK)
        return status;
    const Indexd__V1__ListBackupsResponse *r = (const Indexd__V1__ListBackupsResponse *)reply;
    *out = calloc(r->n_backups + 1, sizeof(**out));
    if (*out == NULL)
        status = gx_message_no_memory();
    for (size_t i = 0; status == GX_OK && i < r->n_backups; i++)
        fill_backup(r->backups[i], &(*out)[(*out_n)++]);
    gx_bump_fini(&mem);
    return status;
}

enum gx_status gx_client_backup_delete(gx_client *client, const char *backup_id, bool files_are_gone,
                                       struct gx_client_backup_info *out)
{
    gx_error_clear();
    if (out != NULL)
        *out = (struct gx_client_backup_info){0};
    Indexd__V1__DeleteBackupRequest request = INDEXD__V1__DELETE_BACKUP_REQUEST__INIT;
    request.backup_id = gx_message_bytes(backup_id);
    request.files_are_gone = files_are_gone;
    struct gx_bump mem;
    ProtobufCMessage *reply;
    enum gx_status status = gx_message_call(client, "/indexd.v1.Backups/Delete", &request.base, true,
                                            &indexd__v1__backup__descriptor, &mem, &reply);
    if (status != GX_OK)
        return status;
    if (out != NULL)
        fill_backup((const Indexd__V1__Backup *)reply, out);
    gx_bump_fini(&mem);
    return GX_OK;
}
