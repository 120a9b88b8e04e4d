#define _GNU_SOURCE
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buffer.h"
#include "sha256.h"

agent_item *agent_find(agent_store *store, const uint8_t *key) {
  for (size_t i = 0; i < store->count; i++) {
    if (memcmp(store->items[i].key, key, AGENT_KEY_BYTES) == 0) return &store->items[i];
  }
  return NULL;
}

static agent_code find_kind(agent_store *store, const uint8_t *key, bool is_library, agent_item **item) {
  *item = key == NULL ? NULL : agent_find(store, key);
  if (*item != NULL && ((*item)->path != NULL) == is_library) return AGENT_OK;
  const char *kind = is_library ? "library" : "array";
  if (key == NULL) return agent_fail(AGENT_ERROR_MALFORMED, "the payload is too short for the key of the %s", kind);
  return agent_fail(AGENT_ERROR_MISSING, "there is no %s with the key that starts with %02x%02x%02x%02x", kind, key[0],
                    key[1], key[2], key[3]);
}

agent_code agent_find_array(agent_store *store, const uint8_t *key, const agent_array **array) {
  agent_item *item;
  agent_code code = find_kind(store, key, false, &item);
  *array = code == AGENT_OK ? &item->array : NULL;
  return code;
}

agent_code agent_find_library(agent_store *store, const uint8_t *key, const char **path) {
  agent_item *item;
  agent_code code = find_kind(store, key, true, &item);
  *path = code == AGENT_OK ? item->path : NULL;
  return code;
}

static agent_code check_room(const agent_store *store, uint64_t bytes) {
  if (bytes <= store->limit && store->bytes <= store->limit - bytes) return AGENT_OK;
  return agent_fail(AGENT_ERROR_LIMIT,
                    "%" PRIu64 " bytes more would exceed the store's limit of %" PRIu64 "; %" PRIu64 " are in use", bytes,
                    store->limit, store->bytes);
}

agent_code agent_allocate_array(agent_store *store, agent_array *array) {
  agent_code code = check_room(store, array->bytes);
  if (code != AGENT_OK) return code;
  array->data = lepton_aligned_allocate(array->bytes);
  if (array->data != NULL) return AGENT_OK;
  return agent_fail(AGENT_ERROR_MEMORY, "out of memory: an array needs %" PRIu64 " bytes", array->bytes);
}

static agent_code add(agent_store *store, const agent_item *item) {
  if (store->count == store->capacity) {
    size_t capacity = store->capacity == 0 ? 16 : store->capacity * 2;
    agent_item *items = realloc(store->items, capacity * sizeof *items);
    if (items == NULL) return agent_fail(AGENT_ERROR_MEMORY, "out of memory for another item of the store");
    store->items = items;
    store->capacity = capacity;
  }
  store->items[store->count++] = *item;
  store->bytes += item->bytes;
  return AGENT_OK;
}

agent_code agent_add_array(agent_store *store, const uint8_t *key, agent_array *array) {
  agent_item item = {.array = *array, .bytes = array->bytes};
  memcpy(item.key, key, AGENT_KEY_BYTES);
  agent_code code = agent_find(store, key) != NULL ? AGENT_OK : check_room(store, array->bytes);
  if (code == AGENT_OK && agent_find(store, key) == NULL) {
    code = add(store, &item);
    if (code == AGENT_OK) array->data = NULL;
  }
  free(array->data);
  array->data = NULL;
  return code;
}

static agent_code write_file(const char *path, const uint8_t *data, uint64_t bytes) {
  int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
  if (file < 0) return agent_fail(AGENT_ERROR_SYSTEM, "%s can't be created: %s", path, strerror(errno));
  ssize_t count = 0;
  for (uint64_t done = 0; done < bytes && count >= 0; done += (uint64_t)count) {
    count = write(file, data + done, (size_t)(bytes - done));
    if (count < 0 && errno == EINTR) count = 0;
  }
  int error = count < 0 ? errno : 0;
  if (close(file) != 0 && error == 0) error = errno;
  if (error == 0) return AGENT_OK;
  unlink(path);
  return agent_fail(AGENT_ERROR_SYSTEM, "%s can't be written: %s", path, strerror(error));
}

agent_code agent_add_library(agent_store *store, const uint8_t *key, const uint8_t *data, uint64_t bytes) {
  if (agent_find(store, key) != NULL) return AGENT_OK;
  agent_code code = check_room(store, bytes);
  if (code != AGENT_OK) return code;
  agent_item item = {.bytes = bytes};
  memcpy(item.key, key, AGENT_KEY_BYTES);
  if (asprintf(&item.path, "%s/kernel_%" PRIu64 ".so", store->folder, store->libraries++) < 0) {
    return agent_fail(AGENT_ERROR_MEMORY, "out of memory for another item of the store");
  }
  code = write_file(item.path, data, bytes);
  if (code == AGENT_OK) {
    code = add(store, &item);
    if (code != AGENT_OK) unlink(item.path);
  }
  if (code != AGENT_OK) free(item.path);
  return code;
}

static void release(agent_item *item) {
  if (item->path != NULL) unlink(item->path);
  free(item->path);
  free(item->array.data);
}

bool agent_drop(agent_store *store, const uint8_t *key) {
  agent_item *item = agent_find(store, key);
  if (item == NULL) return false;
  store->bytes -= item->bytes;
  release(item);
  *item = store->items[--store->count];
  return true;
}

void agent_drop_all(agent_store *store) {
  for (size_t i = 0; i < store->count; i++) release(&store->items[i]);
  free(store->items);
  store->items = NULL;
  store->count = store->capacity = 0;
  store->bytes = 0;
}

void agent_library_key(const uint8_t *data, uint64_t bytes, uint8_t *key) {
  agent_sha256 hash;
  agent_sha256_begin(&hash);
  agent_sha256_add(&hash, data, bytes);
  agent_sha256_end(&hash, key);
}

void agent_array_key(const agent_array *array, uint8_t *key) {
  agent_sha256 hash;
  agent_sha256_begin(&hash);
  agent_sha256_add(&hash, "lepton-array", 12);
  uint8_t type[2] = {(uint8_t)array->dtype, (uint8_t)array->rank};
  agent_sha256_add(&hash, type, sizeof type);
  agent_sha256_add(&hash, array->dims, (uint64_t)array->rank * sizeof *array->dims);
  agent_sha256_add(&hash, array->data, array->bytes);
  agent_sha256_end(&hash, key);
}

void agent_recipe_key(const uint8_t *payload, uint64_t bytes, uint8_t *key) {
  agent_sha256 hash;
  agent_sha256_begin(&hash);
  agent_sha256_add(&hash, "lepton-recipe", 13);
  agent_sha256_add(&hash, payload, bytes);
  agent_sha256_end(&hash, key);
}
