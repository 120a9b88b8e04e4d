/* Why the current request fails: a code and a text for the reply. */
#ifndef AGENT_ERROR_H
#define AGENT_ERROR_H

#include "protocol.h"

/* Sets the text and returns `code`. The agent has one thread. */
__attribute__((format(printf, 2, 3))) agent_code agent_fail(agent_code code, const char *format, ...);

const char *agent_error_text(void);

#endif
