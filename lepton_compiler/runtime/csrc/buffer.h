/* Aligned memory that grows and is kept. */
#ifndef LEPTON_BUFFER_H
#define LEPTON_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#include "lepton.h"

typedef struct {
  void *data;
  uint64_t bytes; /* capacity */
} lepton_buffer;

/* LEPTON_ALIGNMENT aligned memory, never of zero bytes; NULL where there is none. Release it with free. */
void *lepton_aligned_allocate(uint64_t bytes);

/* Makes room for `bytes`. Growing loses the contents; on failure the buffer is empty and the error names `what`. */
lepton_status lepton_buffer_reserve(lepton_buffer *buffer, uint64_t bytes, const char *what);

void lepton_buffer_release(lepton_buffer *buffer);

#endif
