/* What the machine is, and how it is at the moment. */
#ifndef AGENT_MACHINE_H
#define AGENT_MACHINE_H

#include "payload.h"

typedef struct {
  uint64_t frame_bytes;  /* payload of one request or reply */
  uint64_t store_bytes;  /* all arrays and libraries together */
  uint64_t trial_bytes;  /* memory of one trial */
  uint64_t trial_ns;     /* time of one trial */
} agent_limits;

/* Limits that this machine's memory allows. */
agent_limits agent_machine_limits(void);

/* The reply to AGENT_HELLO. */
void agent_write_machine(agent_writer *reply, const agent_limits *limits);

/* The reply to AGENT_STATUS: what sensors the system has, by name. */
void agent_write_status(agent_writer *reply);

#endif
