/* The numbers of the agent's protocol, described in docs/agent_protocol.md. Python has the same in devices/protocol.py. */
#ifndef AGENT_PROTOCOL_H
#define AGENT_PROTOCOL_H

#define AGENT_MAGIC 0x4741504cu /* "LPAG" */
#define AGENT_PROTOCOL_VERSION 1
#define AGENT_HEADER_BYTES 24
#define AGENT_KEY_BYTES 32

/* Types of requests; a reply has the request's type with this bit set, or AGENT_REPLY_ERROR. */
#define AGENT_REPLY_BIT 0x8000u
#define AGENT_REPLY_ERROR 0xffffu

typedef enum {
  AGENT_HELLO = 1,
  AGENT_LOAD = 2,
  AGENT_GENERATE = 3,
  AGENT_UPLOAD = 4,
  AGENT_DOWNLOAD = 5,
  AGENT_DROP = 6,
  AGENT_COMPARE = 7,
  AGENT_RUN = 8,
  AGENT_STATUS = 9
} agent_request_type;

typedef enum {
  AGENT_OK = 0,
  AGENT_ERROR_MALFORMED = 1, /* a payload that is too short, too long or holds a value that can't be */
  AGENT_ERROR_VERSION = 2,   /* another version of the protocol */
  AGENT_ERROR_UNKNOWN = 3,   /* a type of request that there is none of */
  AGENT_ERROR_LIMIT = 4,     /* more than the agent allows */
  AGENT_ERROR_MISSING = 5,   /* a key that the agent has nothing for */
  AGENT_ERROR_HASH = 6,      /* data whose hash is not the key that came with it */
  AGENT_ERROR_MEMORY = 7,    /* out of memory */
  AGENT_ERROR_SYSTEM = 8     /* the operating system refused something */
} agent_code;

/* How a trial ended. */
typedef enum {
  AGENT_TRIAL_OK = 0,
  AGENT_TRIAL_WRONG = 1,   /* an output is not the reference */
  AGENT_TRIAL_CRASHED = 2, /* a signal ended it */
  AGENT_TRIAL_TIMEOUT = 3, /* killed at its time limit */
  AGENT_TRIAL_MEMORY = 4,  /* it wanted more memory than its limit */
  AGENT_TRIAL_FAILED = 5,  /* the kernel reported an error */
  AGENT_TRIAL_UNLOADABLE = 6 /* the library can't be loaded, or lacks the function */
} agent_outcome;

typedef enum {
  AGENT_ROLE_INPUT = 0,
  AGENT_ROLE_OUTPUT = 1,
  AGENT_ROLE_WORKSPACE = 2,
  AGENT_ROLE_SCALAR = 3
} agent_role;

/* Flags of AGENT_RUN. */
#define AGENT_KEEP_OUTPUTS 1u

/* The function of a kernel library. */
#define AGENT_KERNEL_SYMBOL "__tvm_ffi_lepton_kernel"

/* Fixed limits; those that depend on the machine are in the reply to AGENT_HELLO. */
#define AGENT_MAX_ARGUMENTS 64
#define AGENT_MAX_SAMPLES 10000
#define AGENT_MAX_CALLS_PER_SAMPLE 1000000
#define AGENT_MAX_FLUSH_BYTES (1u << 30)
#define AGENT_MAX_DROPPED_KEYS 4096
#define AGENT_MAX_SENSORS 256

#endif
