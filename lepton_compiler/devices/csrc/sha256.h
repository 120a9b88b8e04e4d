/* SHA-256, as FIPS 180-4 defines it. */
#ifndef AGENT_SHA256_H
#define AGENT_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define AGENT_SHA256_BYTES 32

typedef struct {
  uint32_t state[8];
  uint64_t bytes;
  uint8_t block[64];
} agent_sha256;

void agent_sha256_begin(agent_sha256 *hash);
void agent_sha256_add(agent_sha256 *hash, const void *data, uint64_t bytes);
void agent_sha256_end(agent_sha256 *hash, uint8_t digest[AGENT_SHA256_BYTES]);

#endif
