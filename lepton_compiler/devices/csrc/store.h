/* What requests have brought: arrays in memory and libraries in the scratch folder, found by key. */
#ifndef AGENT_STORE_H
#define AGENT_STORE_H

#include "array.h"

typedef struct {
  uint8_t key[AGENT_KEY_BYTES];
  agent_array array; /* of an array */
  char *path;        /* of a library, NULL for an array */
  uint64_t bytes;
} agent_item;

typedef struct {
  agent_item *items;
  size_t count, capacity;
  uint64_t bytes, limit; /* of all items together */
  uint64_t libraries;    /* ever written, for their file names */
  char *folder;
} agent_store;

/* The item of that key, NULL where there is none. */
agent_item *agent_find(agent_store *store, const uint8_t *key);

/* As agent_find, with an error where there is none or it is of the other kind. */
agent_code agent_find_array(agent_store *store, const uint8_t *key, const agent_array **array);
agent_code agent_find_library(agent_store *store, const uint8_t *key, const char **path);

/* Memory for an array of known type, within the store's limit. */
agent_code agent_allocate_array(agent_store *store, agent_array *array);

/* Takes the array over under its key; where the key is known already, its memory is given back. */
agent_code agent_add_array(agent_store *store, const uint8_t *key, agent_array *array);

/* Writes the library into the scratch folder, complete or not at all. */
agent_code agent_add_library(agent_store *store, const uint8_t *key, const uint8_t *data, uint64_t bytes);

/* True where there was such an item. */
bool agent_drop(agent_store *store, const uint8_t *key);
void agent_drop_all(agent_store *store);

/* Keys. A library's is the SHA-256 of its bytes. */
void agent_library_key(const uint8_t *data, uint64_t bytes, uint8_t *key);

/* SHA-256 of "lepton-array", the array's type as it is written, and its bytes. */
void agent_array_key(const agent_array *array, uint8_t *key);

/* SHA-256 of "lepton-recipe" and the payload of AGENT_GENERATE. */
void agent_recipe_key(const uint8_t *payload, uint64_t bytes, uint8_t *key);

#endif
