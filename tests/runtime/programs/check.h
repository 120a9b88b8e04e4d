/* A failed check ends the program with the line and the runtime's error text. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lepton.h"

#define CHECK(condition)                                                                              \
  do {                                                                                                \
    if (!(condition)) {                                                                               \
      fprintf(stderr, "%s:%d: %s; last error: %s\n", __FILE__, __LINE__, #condition, lepton_last_error()); \
      exit(1);                                                                                        \
    }                                                                                                 \
  } while (0)

/* The call fails with that status, and the text holds that piece. */
#define CHECK_ERROR(call, status, piece)                        \
  do {                                                          \
    CHECK((call) == (status));                                  \
    CHECK(strstr(lepton_last_error(), (piece)) != NULL);        \
  } while (0)

#endif
