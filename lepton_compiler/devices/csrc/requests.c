#include "requests.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "dtype.h"
#include "generate.h"
#include "trial_request.h"

typedef agent_code (*handler)(agent_state *agent, agent_reader *request, agent_writer *reply);

static agent_code say_hello(agent_state *agent, agent_reader *request, agent_writer *reply) {
  agent_code code = agent_read_end(request);
  if (code == AGENT_OK) agent_write_machine(reply, &agent->limits);
  return code;
}

static agent_code tell_status(agent_state *agent, agent_reader *request, agent_writer *reply) {
  (void)agent;
  agent_code code = agent_read_end(request);
  if (code == AGENT_OK) agent_write_status(reply);
  return code;
}

static agent_code check_hash(const uint8_t *wanted, const uint8_t *found) {
  if (wanted == NULL) return agent_fail(AGENT_ERROR_MALFORMED, "the payload is too short for a key");
  if (memcmp(wanted, found, AGENT_KEY_BYTES) == 0) return AGENT_OK;
  return agent_fail(AGENT_ERROR_HASH, "the data's hash is not the key that came with it: it was damaged on its way");
}

/* Key, then the library's bytes up to the end. */
static agent_code load_library(agent_state *agent, agent_reader *request, agent_writer *reply) {
  (void)reply;
  const uint8_t *wanted = agent_read_bytes(request, AGENT_KEY_BYTES);
  uint8_t key[AGENT_KEY_BYTES];
  agent_library_key(request->data, request->left, key);
  agent_code code = check_hash(wanted, key);
  return code == AGENT_OK ? agent_add_library(&agent->store, key, request->data, request->left) : code;
}

/* Bounds that a type of fewer bits has. */
static bool fits(int32_t dtype, int64_t value) {
  int bits = (int)lepton_dtype_size(dtype) * 8;
  if (dtype == LEPTON_BOOL) return value == 0 || value == 1;
  if (bits == 64) return true;
  bool is_signed = dtype == LEPTON_INT8 || dtype == LEPTON_INT16 || dtype == LEPTON_INT32;
  if (is_signed) return value >= -(INT64_C(1) << (bits - 1)) && value < INT64_C(1) << (bits - 1);
  return value >= 0 && value < INT64_C(1) << bits;
}

static agent_code read_recipe(agent_reader *request, const agent_array *array, agent_recipe *recipe) {
  memset(recipe, 0, sizeof *recipe);
  recipe->seed = agent_read_u64(request);
  if (agent_is_float(array->dtype)) {
    recipe->low = agent_read_f64(request);
    recipe->high = agent_read_f64(request);
    agent_code code = agent_read_end(request);
    if (code != AGENT_OK) return code;
    if (isfinite(recipe->low) && isfinite(recipe->high - recipe->low) && recipe->low <= recipe->high) return AGENT_OK;
    return agent_fail(AGENT_ERROR_MALFORMED, "the range of a recipe must be finite and not empty");
  }
  recipe->low_int = (int64_t)agent_read_u64(request);
  recipe->high_int = (int64_t)agent_read_u64(request);
  agent_code code = agent_read_end(request);
  if (code != AGENT_OK) return code;
  bool is_ordered = array->dtype == LEPTON_UINT64 ? (uint64_t)recipe->low_int <= (uint64_t)recipe->high_int
                                                  : recipe->low_int <= recipe->high_int;
  if (is_ordered && fits(array->dtype, recipe->low_int) && fits(array->dtype, recipe->high_int)) return AGENT_OK;
  return agent_fail(AGENT_ERROR_MALFORMED, "the range of a recipe must not be empty, and fit into %s",
                    lepton_dtype_text(array->dtype));
}

/* Type, seed and range; the reply is the key. */
static agent_code generate_array(agent_state *agent, agent_reader *request, agent_writer *reply) {
  uint8_t key[AGENT_KEY_BYTES];
  agent_recipe_key(request->data, request->left, key);
  agent_array array;
  agent_recipe recipe;
  agent_code code = agent_read_array_type(request, agent->limits.store_bytes, &array);
  if (code == AGENT_OK) code = read_recipe(request, &array, &recipe);
  if (code == AGENT_OK && agent_find(&agent->store, key) == NULL) {
    code = agent_allocate_array(&agent->store, &array);
    if (code == AGENT_OK) {
      agent_generate(&recipe, &array);
      code = agent_add_array(&agent->store, key, &array);
    }
  }
  if (code == AGENT_OK) agent_write_bytes(reply, key, sizeof key);
  return code;
}

/* Key, type, then the array's bytes. */
static agent_code upload_array(agent_state *agent, agent_reader *request, agent_writer *reply) {
  (void)reply;
  const uint8_t *wanted = agent_read_bytes(request, AGENT_KEY_BYTES);
  agent_array array;
  agent_code code = agent_read_array_type(request, agent->limits.store_bytes, &array);
  if (code != AGENT_OK) return code;
  const uint8_t *data = agent_read_bytes(request, array.bytes);
  code = agent_read_end(request);
  if (code != AGENT_OK) return code;
  uint8_t key[AGENT_KEY_BYTES];
  agent_array view = array;
  view.data = (void *)(uintptr_t)data;
  agent_array_key(&view, key);
  code = check_hash(wanted, key);
  if (code == AGENT_OK) code = agent_allocate_array(&agent->store, &array);
  if (code != AGENT_OK) return code;
  if (array.bytes > 0) memcpy(array.data, data, (size_t)array.bytes);
  return agent_add_array(&agent->store, key, &array);
}

/* Key; the reply is the type and the bytes. */
static agent_code download_array(agent_state *agent, agent_reader *request, agent_writer *reply) {
  const agent_array *array;
  agent_code code = agent_find_array(&agent->store, agent_read_bytes(request, AGENT_KEY_BYTES), &array);
  if (code == AGENT_OK) code = agent_read_end(request);
  if (code != AGENT_OK) return code;
  if (array->bytes > agent->limits.frame_bytes / 2) {
    return agent_fail(AGENT_ERROR_LIMIT, "an array of %" PRIu64 " bytes is too long for a reply", array->bytes);
  }
  agent_write_array_type(reply, array);
  agent_write_bytes(reply, array->data, array->bytes);
  return AGENT_OK;
}

/* Number of keys, then the keys; none at all drops everything. The reply is how many items are left. */
static agent_code drop_items(agent_state *agent, agent_reader *request, agent_writer *reply) {
  uint32_t count = agent_read_u32(request);
  if (count > AGENT_MAX_DROPPED_KEYS) {
    return agent_fail(AGENT_ERROR_LIMIT, "%" PRIu32 " keys are above the limit of %d", count, AGENT_MAX_DROPPED_KEYS);
  }
  const uint8_t *keys = agent_read_bytes(request, (uint64_t)count * AGENT_KEY_BYTES);
  agent_code code = agent_read_end(request);
  if (code != AGENT_OK) return code;
  if (count == 0) agent_drop_all(&agent->store);
  for (uint32_t i = 0; i < count; i++) agent_drop(&agent->store, keys + (size_t)i * AGENT_KEY_BYTES);
  agent_write_u32(reply, (uint32_t)agent->store.count);
  return AGENT_OK;
}

/* Key, key of the reference, tolerance. */
static agent_code compare_arrays(agent_state *agent, agent_reader *request, agent_writer *reply) {
  const agent_array *actual, *reference;
  agent_code code = agent_find_array(&agent->store, agent_read_bytes(request, AGENT_KEY_BYTES), &actual);
  if (code != AGENT_OK) return code;
  code = agent_find_array(&agent->store, agent_read_bytes(request, AGENT_KEY_BYTES), &reference);
  if (code != AGENT_OK) return code;
  double tolerance = agent_read_f64(request);
  code = agent_read_end(request);
  if (code == AGENT_OK) code = agent_check_same_type(actual, reference);
  if (code != AGENT_OK) return code;
  agent_comparison found = agent_compare(actual, reference, tolerance);
  agent_write_comparison(reply, &found);
  return AGENT_OK;
}

agent_code agent_answer(agent_state *agent, uint16_t type, agent_reader *request, agent_writer *reply) {
  static const handler handlers[] = {
      [AGENT_HELLO] = say_hello,         [AGENT_LOAD] = load_library,       [AGENT_GENERATE] = generate_array,
      [AGENT_UPLOAD] = upload_array,     [AGENT_DOWNLOAD] = download_array, [AGENT_DROP] = drop_items,
      [AGENT_COMPARE] = compare_arrays,  [AGENT_RUN] = agent_answer_run,           [AGENT_STATUS] = tell_status,
  };
  handler found = type < sizeof handlers / sizeof *handlers ? handlers[type] : NULL;
  if (found == NULL) return agent_fail(AGENT_ERROR_UNKNOWN, "there is no request of type %d", type);
  agent_code code = found(agent, request, reply);
  if (code == AGENT_OK && reply->failed) return agent_fail(AGENT_ERROR_MEMORY, "out of memory for a reply");
  return code;
}
