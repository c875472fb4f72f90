/** envelope.h: what a pushed message looks like: the wrapped JSON body, and the headers of the unwrapped one.
 *  Errors: RESOURCE_EXHAUSTED when the buffer or the list of headers is full.
 *  Thread: any; messages are immutable.
 *  Source: wire.md section 1 (wrapped and unwrapped push) and 10. */
#ifndef DISPATCHER_ENVELOPE_H
#define DISPATCHER_ENVELOPE_H

#include "broker/message.h"
#include "core/base/clock.h"
#include "core/http/headers.h"

/* Bytes that a body has above its message's data in base64: names, times, both spellings. */
#define ENVELOPE_EXTRA_MAX (8u * 1024 * 1024)
#define ENVELOPE_BODY_MAX (MESSAGE_BYTES_MAX / 3 * 4 + ENVELOPE_EXTRA_MAX)

/** Append {"message":{…},"subscription":…}; `attempt` 0 is left out. RESOURCE_EXHAUSTED when `b` is full. */
MUST_USE int envelope_wrap(struct buf *b, const struct message *m, const char *subscription, uint32_t attempt, struct err *e);

/** x-goog-pubsub-* and one header per attribute. `time` must stay until the request is done, as must the message and the
 *  subscription's name. Attributes that cannot be headers, or would change how the request is read, are left out.
 *  *content_type becomes the attribute of that name, if there is one. */
MUST_USE int envelope_headers(struct headers *h, const struct message *m, const char *subscription, char time[WALL_TEXT_MAX],
                              struct str *content_type, struct err *e);

#endif
