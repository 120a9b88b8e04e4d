/* The request AGENT_RUN: a trial read with every limit checked, and its result written. */
#ifndef AGENT_TRIAL_REQUEST_H
#define AGENT_TRIAL_REQUEST_H

#include "compare.h"
#include "requests.h"

agent_code agent_answer_run(agent_state *agent, agent_reader *request, agent_writer *reply);

/* For AGENT_COMPARE as well. */
agent_code agent_check_same_type(const agent_array *a, const agent_array *b);
void agent_write_comparison(agent_writer *reply, const agent_comparison *found);

#endif
