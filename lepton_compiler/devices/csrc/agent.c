/* The agent: reads requests from standard input, carries them out, and replies on standard output until its input ends. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "channel.h"
#include "requests.h"
#include "scratch.h"

enum { EXIT_OK = 0, EXIT_REFUSED = 2 };

static const char usage[] =
    "usage: lepton-agent [--cores LIST] [--max-trial-ms N] [--version]\n"
    "Runs kernels for the Lepton Compiler: requests on standard input, replies on standard output, as\n"
    "docs/agent_protocol.md describes.\n"
    "  --cores LIST      processors to run on, such as 2 or 2,3\n"
    "  --max-trial-ms N  no trial may ask for more time\n";

/* A last frame with id 0, for a program, and the same on standard error, for people. */
static int refuse(agent_code code, const char *text) {
  agent_writer payload = {0};
  agent_write_u32(&payload, code);
  agent_write_text(&payload, text);
  if (!payload.failed) agent_write_frame(STDOUT_FILENO, AGENT_REPLY_ERROR, 0, payload.data, payload.used);
  free(payload.data);
  fprintf(stderr, "lepton-agent: %s\n", text);
  return EXIT_REFUSED;
}

static bool reply_to(agent_state *agent, const agent_header *header, agent_frame_result result, agent_writer *payload,
                     agent_writer *reply) {
  reply->used = 0;
  reply->failed = false;
  agent_code code;
  if (result == AGENT_NO_MEMORY) {
    code = agent_fail(AGENT_ERROR_MEMORY, "out of memory for a request of %" PRIu64 " bytes", header->bytes);
  } else if (header->version != AGENT_PROTOCOL_VERSION) {
    code = agent_fail(AGENT_ERROR_VERSION, "the request is of version %d of the protocol, this agent speaks version %d",
                      header->version, AGENT_PROTOCOL_VERSION);
  } else {
    agent_reader request = {payload->data, payload->used, false};
    code = agent_answer(agent, header->type, &request, reply);
  }
  if (agent->is_input_closed) return false;
  uint16_t type = header->type | AGENT_REPLY_BIT;
  if (code != AGENT_OK) {
    type = AGENT_REPLY_ERROR;
    reply->used = 0;
    reply->failed = false;
    agent_write_u32(reply, code);
    agent_write_text(reply, agent_error_text());
  }
  return !reply->failed && agent_write_frame(STDOUT_FILENO, type, header->id, reply->data, reply->used);
}

static int serve(agent_state *agent) {
  agent_writer payload = {0}, reply = {0};
  agent_header header;
  agent_frame_result result;
  for (;;) {
    result = agent_read_frame(agent->input, agent->limits.frame_bytes, &header, &payload);
    if (result != AGENT_FRAME && result != AGENT_NO_MEMORY) break;
    if (!reply_to(agent, &header, result, &payload, &reply)) {
      result = AGENT_END;
      break;
    }
  }
  free(payload.data);
  free(reply.data);
  switch (result) {
    case AGENT_TORN: return refuse(AGENT_ERROR_MALFORMED, "the input ended in the middle of a request");
    case AGENT_NO_FRAME: return refuse(AGENT_ERROR_MALFORMED, "what came on the input is no request of this protocol");
    case AGENT_TOO_LONG: return refuse(AGENT_ERROR_LIMIT, "a request is longer than this agent allows");
    case AGENT_READ_FAILED:
      return agent_stopped ? EXIT_OK : refuse(AGENT_ERROR_SYSTEM, "the input can't be read");
    default: return EXIT_OK;
  }
}

static void stop(int number) {
  (void)number;
  agent_stopped = 1;
}

static void set_signals(void) {
  static const int ends[] = {SIGINT, SIGTERM, SIGHUP};
  signal(SIGPIPE, SIG_IGN);
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = stop;
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) sigaction(ends[i], &action, NULL);
}

static bool pin(const char *list) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const char *next = list;;) {
    char *end;
    unsigned long core = strtoul(next, &end, 10);
    if (end == next || core >= CPU_SETSIZE || (*end != ',' && *end != '\0')) return false;
    CPU_SET(core, &set);
    if (*end == '\0') break;
    next = end + 1;
  }
  return sched_setaffinity(0, sizeof set, &set) == 0;
}

/* Reads one option, "--name VALUE". False where it is none. */
static bool read_option(agent_state *agent, const char *name, const char *value) {
  if (strcmp(name, "--cores") == 0) return pin(value);
  if (strcmp(name, "--max-trial-ms") != 0) return false;
  char *end;
  unsigned long long milliseconds = strtoull(value, &end, 10);
  if (end == value || *end != '\0' || milliseconds > agent->limits.trial_ns / 1000000) return false;
  agent->limits.trial_ns = milliseconds * 1000000;
  return true;
}

int main(int argc, char **argv) {
  agent_state agent = {.limits = agent_machine_limits(), .input = STDIN_FILENO};
  if (argc == 2 && strcmp(argv[1], "--version") == 0) {
    printf("lepton-agent, protocol %d\n", AGENT_PROTOCOL_VERSION);
    return EXIT_OK;
  }
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 < argc && read_option(&agent, argv[i], argv[i + 1])) continue;
    char text[256];
    snprintf(text, sizeof text, "the option %.100s %.100s is unknown, or this machine can't do it", argv[i],
             i + 1 < argc ? argv[i + 1] : "");
    fputs(usage, stderr);
    return refuse(AGENT_ERROR_SYSTEM, text);
  }
  /* Kernels call its functions, and are linked with nothing. Where the C library has them itself there is no such file. */
  dlopen("libm.so.6", RTLD_NOW | RTLD_GLOBAL);
  set_signals();
  agent.store.limit = agent.limits.store_bytes;
  agent.store.folder = agent_make_scratch();
  if (agent.store.folder == NULL) return refuse(AGENT_ERROR_SYSTEM, "no scratch folder can be made in $TMPDIR or /tmp");
  int code = serve(&agent);
  agent_drop_all(&agent.store);
  agent_remove_scratch(agent.store.folder);
  free(agent.store.folder);
  return code;
}
