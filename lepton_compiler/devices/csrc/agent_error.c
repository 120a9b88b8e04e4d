#include "agent_error.h"

#include <stdarg.h>
#include <stdio.h>

static char error_text[512];

agent_code agent_fail(agent_code code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(error_text, sizeof error_text, format, arguments);
  va_end(arguments);
  return code;
}

const char *agent_error_text(void) { return error_text; }
