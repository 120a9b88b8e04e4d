/* Weights that lie in a file beside the library. */
#ifndef LEPTON_WEIGHTS_H
#define LEPTON_WEIGHTS_H

#include "model.h"

typedef struct {
  const uint8_t *data;
  void *mapping; /* NULL where the weights are embedded */
  size_t mapping_bytes;
} lepton_weights;

/* Points at the embedded weights, or maps the file, read-only and shared by all processes that map it. */
lepton_status lepton_weights_open(const lepton_model *model, lepton_weights *out);

void lepton_weights_close(lepton_weights *weights);

#endif
