/** support_zone.h: time zone files (TZif) that hold nothing but a rule.
 *  Owner:  the caller's buffer.
 *  Thread: any. */
#ifndef TESTS_SUPPORT_SUPPORT_ZONE_H
#define TESTS_SUPPORT_SUPPORT_ZONE_H

#include "core/base/buf.h"

/** Big-endian. */
void support_put32(struct buf *b, uint32_t v);
/** The head of a block with these counts and no others. */
void support_tzif_head(struct buf *b, char version, uint32_t times, uint32_t types, uint32_t characters);
/** A file of version 2 with one type, LMT at UTC, no change, and this rule ("CET-1CEST,M3.5.0,M10.5.0/3") at its end. */
void support_tzif(struct buf *b, const char *rule);

#endif
