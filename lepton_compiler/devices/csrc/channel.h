/* Frames on two file descriptors: a header of fixed layout, then the payload. */
#ifndef AGENT_CHANNEL_H
#define AGENT_CHANNEL_H

#include <signal.h>

#include "payload.h"

typedef struct {
  uint16_t version, type;
  uint64_t id, bytes;
} agent_header;

typedef enum {
  AGENT_FRAME,       /* a whole frame was read */
  AGENT_END,         /* the input ended between two frames */
  AGENT_TORN,        /* the input ended inside of a frame */
  AGENT_NO_FRAME,    /* what came is no frame's header: nothing after it can be made sense of */
  AGENT_TOO_LONG,    /* the payload is longer than the limit */
  AGENT_NO_MEMORY,   /* a whole frame was read, but there was no memory for its payload */
  AGENT_READ_FAILED, /* the system's error */
} agent_frame_result;

/* Set by a signal that asks the agent to end: reading then fails. */
extern volatile sig_atomic_t agent_stopped;

/* Reads one frame. `payload` keeps its memory from call to call; it grows with what arrives, never with what a header
 * announces. */
agent_frame_result agent_read_frame(int input, uint64_t limit, agent_header *header, agent_writer *payload);

/* False where the other side is gone. */
bool agent_write_frame(int output, uint16_t type, uint64_t id, const void *payload, uint64_t bytes);

#endif
