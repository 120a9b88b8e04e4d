/* Requests: each is read, checked, carried out and answered. */
#ifndef AGENT_REQUESTS_H
#define AGENT_REQUESTS_H

#include "machine.h"
#include "store.h"

typedef struct {
  agent_store store;
  agent_limits limits;
  int input;            /* of frames: a trial watches it */
  bool is_input_closed; /* found while a trial ran */
} agent_state;

/* Carries out a request of that type and writes the reply's payload, or gives the error to reply with. */
agent_code agent_answer(agent_state *agent, uint16_t type, agent_reader *request, agent_writer *reply);

#endif
