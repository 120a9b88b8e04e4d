#include "trial_request.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "thread_pool.h"
#include "trial.h"

agent_code agent_check_same_type(const agent_array *a, const agent_array *b) {
  bool is_same = a->dtype == b->dtype && a->rank == b->rank;
  for (int32_t i = 0; is_same && i < a->rank; i++) is_same = a->dims[i] == b->dims[i];
  return is_same ? AGENT_OK : agent_fail(AGENT_ERROR_MALFORMED, "an array and its reference differ in type or shape");
}

void agent_write_comparison(agent_writer *reply, const agent_comparison *found) {
  agent_write_u8(reply, found->agrees);
  agent_write_f64(reply, found->max_error);
  agent_write_f64(reply, found->range);
  agent_write_u64(reply, found->mismatched);
  agent_write_u64(reply, found->worst);
}

static agent_code read_output(agent_state *agent, agent_reader *request, agent_argument *argument) {
  agent_code code = agent_read_array_type(request, agent->limits.trial_bytes, &argument->type);
  if (code != AGENT_OK || agent_read_u8(request) == 0) return code;
  code = agent_find_array(&agent->store, agent_read_bytes(request, AGENT_KEY_BYTES), &argument->array);
  return code == AGENT_OK ? agent_check_same_type(&argument->type, argument->array) : code;
}

static agent_code read_argument(agent_state *agent, agent_reader *request, agent_argument *argument) {
  uint8_t role = agent_read_u8(request);
  memset(argument, 0, sizeof *argument);
  argument->role = (agent_role)role;
  switch (role) {
    case AGENT_ROLE_INPUT:
      return agent_find_array(&agent->store, agent_read_bytes(request, AGENT_KEY_BYTES), &argument->array);
    case AGENT_ROLE_OUTPUT: return read_output(agent, request, argument);
    case AGENT_ROLE_WORKSPACE: return agent_read_array_type(request, agent->limits.trial_bytes, &argument->type);
    case AGENT_ROLE_SCALAR: argument->scalar = (int64_t)agent_read_u64(request); return AGENT_OK;
    default: return agent_fail(AGENT_ERROR_MALFORMED, "there is no role %d of an argument", role);
  }
}

static agent_code check_limit(const char *what, uint64_t value, uint64_t limit) {
  if (value <= limit) return AGENT_OK;
  return agent_fail(AGENT_ERROR_LIMIT, "%s of %" PRIu64 " is above the limit of %" PRIu64, what, value, limit);
}

static agent_code check_limits(const agent_state *agent, const agent_trial *trial) {
  const agent_limits *limits = &agent->limits;
  if (trial->threads == 0) return agent_fail(AGENT_ERROR_MALFORMED, "a trial needs at least one thread");
  if (isnan(trial->tolerance) || trial->tolerance < 0) {
    return agent_fail(AGENT_ERROR_MALFORMED, "the tolerance must not be negative");
  }
  agent_code code = check_limit("a number of threads", trial->threads, (uint64_t)lepton_available_processors());
  if (code == AGENT_OK) code = check_limit("memory in bytes", trial->memory_bytes, limits->trial_bytes);
  if (code == AGENT_OK) code = check_limit("a thread's workspace", trial->thread_workspace_bytes, trial->memory_bytes);
  if (code == AGENT_OK) code = check_limit("time in nanoseconds", trial->time_ns, limits->trial_ns);
  if (code == AGENT_OK) code = check_limit("a number of samples", trial->timing.samples, AGENT_MAX_SAMPLES);
  if (code == AGENT_OK) code = check_limit("bytes to flush", trial->timing.flush_bytes, AGENT_MAX_FLUSH_BYTES);
  if (code == AGENT_OK) code = check_limit("a number of arguments", trial->argument_count, AGENT_MAX_ARGUMENTS);
  return code;
}

static agent_code read_trial(agent_state *agent, agent_reader *request, agent_trial *trial) {
  memset(trial, 0, sizeof *trial);
  agent_code code =
      agent_find_library(&agent->store, agent_read_bytes(request, AGENT_KEY_BYTES), &trial->library);
  if (code != AGENT_OK) return code;
  trial->threads = agent_read_u32(request);
  trial->flags = agent_read_u32(request);
  trial->thread_workspace_bytes = agent_read_u64(request);
  trial->memory_bytes = agent_read_u64(request);
  trial->time_ns = agent_read_u64(request);
  trial->tolerance = agent_read_f64(request);
  trial->timing.samples = agent_read_u32(request);
  trial->timing.min_repeat_ns = agent_read_u64(request);
  trial->timing.budget_ns = agent_read_u64(request);
  trial->timing.flush_bytes = agent_read_u64(request);
  trial->argument_count = agent_read_u32(request);
  if (request->failed) return agent_read_end(request);
  code = check_limits(agent, trial);
  uint64_t shared_bytes = 0;
  for (uint32_t i = 0; code == AGENT_OK && i < trial->argument_count; i++) {
    code = read_argument(agent, request, &trial->arguments[i]);
    /* Each is within the limit of a trial, and there are few: the sum can't overflow. */
    shared_bytes += trial->arguments[i].type.bytes;
    if (code == AGENT_OK) code = check_limit("outputs and workspaces in bytes", shared_bytes, trial->memory_bytes);
  }
  return code == AGENT_OK ? agent_read_end(request) : code;
}

/* Puts what is kept into the store; for each argument the reply says with a byte whether a key follows. */
static agent_code write_outputs(agent_state *agent, const agent_trial *trial, agent_result *result, agent_writer *reply) {
  for (uint32_t i = 0; i < trial->argument_count; i++) {
    if (trial->arguments[i].role != AGENT_ROLE_OUTPUT) continue;
    agent_write_u8(reply, result->was_compared[i]);
    if (result->was_compared[i]) agent_write_comparison(reply, &result->comparisons[i]);
    agent_array *output = &result->outputs[i];
    bool is_kept = output->data != NULL;
    agent_write_u8(reply, is_kept);
    if (!is_kept) continue;
    uint8_t key[AGENT_KEY_BYTES];
    agent_array_key(output, key);
    agent_code code = agent_add_array(&agent->store, key, output);
    if (code != AGENT_OK) return code;
    agent_write_bytes(reply, key, sizeof key);
  }
  return AGENT_OK;
}

static void write_samples(agent_writer *reply, const agent_samples *samples) {
  agent_write_u32(reply, samples == NULL ? 0 : samples->calls_per_sample);
  agent_write_u32(reply, samples == NULL ? 0 : samples->count);
  for (uint32_t i = 0; samples != NULL && i < samples->count; i++) {
    agent_write_u64(reply, samples->samples[i].wall);
    agent_write_u64(reply, samples->samples[i].cpu);
    agent_write_u64(reply, samples->samples[i].control_wall);
    agent_write_u64(reply, samples->samples[i].control_cpu);
  }
}

agent_code agent_answer_run(agent_state *agent, agent_reader *request, agent_writer *reply) {
  agent_trial trial;
  agent_result result;
  agent_trial_end end;
  agent_code code = read_trial(agent, request, &trial);
  if (code != AGENT_OK) return code;
  code = agent_run_trial(&trial, agent->input, &result, &end);
  agent->is_input_closed = end == AGENT_TRIAL_INPUT_CLOSED;
  if (code == AGENT_OK) {
    agent_write_u32(reply, result.outcome);
    agent_write_u32(reply, (uint32_t)result.signal);
    agent_write_text(reply, result.text);
    agent_write_u64(reply, result.peak_bytes);
    code = write_outputs(agent, &trial, &result, reply);
    if (code == AGENT_OK) write_samples(reply, result.samples);
  }
  agent_release_result(&result);
  return code;
}
