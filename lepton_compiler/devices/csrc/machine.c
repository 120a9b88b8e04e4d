#define _GNU_SOURCE
#include "machine.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cpu_features.h"
#include "thread_pool.h"

#define MAX_FEATURES 128
#define MAX_FRAME_BYTES (UINT64_C(256) << 20)
#define MAX_TRIAL_NS (UINT64_C(600) * 1000000000)

/* First line of a file, without its end. */
static bool read_line(const char *path, char *line, size_t capacity) {
  FILE *file = fopen(path, "re");
  if (file == NULL) return false;
  bool found = fgets(line, (int)capacity, file) != NULL;
  fclose(file);
  if (found) line[strcspn(line, "\n")] = '\0';
  return found;
}

/* The text behind `key` and a colon in a file of such lines. */
static bool read_field(const char *path, const char *key, char *value, size_t capacity) {
  FILE *file = fopen(path, "re");
  if (file == NULL) return false;
  char line[512];
  bool found = false;
  while (!found && fgets(line, sizeof line, file) != NULL) {
    size_t length = strlen(key);
    if (strncmp(line, key, length) != 0) continue;
    char *text = line + length + strspn(line + length, " \t");
    if (*text++ != ':') continue;
    text += strspn(text, " \t");
    text[strcspn(text, "\n")] = '\0';
    snprintf(value, capacity, "%s", text);
    found = true;
  }
  fclose(file);
  return found;
}

/* 0 where the system doesn't say. */
static uint64_t memory_field(const char *key) {
  char text[64];
  return read_field("/proc/meminfo", key, text, sizeof text) ? strtoull(text, NULL, 10) * 1024 : 0;
}

static uint64_t installed_memory(void) {
  return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t at_most(uint64_t value, uint64_t limit) { return value < limit ? value : limit; }

agent_limits agent_machine_limits(void) {
  uint64_t memory = at_most(installed_memory(), SIZE_MAX / 2);
  return (agent_limits){
      .frame_bytes = at_most(MAX_FRAME_BYTES, memory / 8),
      .store_bytes = memory / 2,
      .trial_bytes = memory / 2,
      .trial_ns = MAX_TRIAL_NS,
  };
}

static void write_processor(agent_writer *reply) {
  char name[256] = "";
  if (!read_field("/proc/cpuinfo", "model name", name, sizeof name) &&
      !read_field("/proc/cpuinfo", "Model", name, sizeof name)) {
    read_line("/proc/device-tree/model", name, sizeof name);
  }
  agent_write_text(reply, name);
}

void agent_write_machine(agent_writer *reply, const agent_limits *limits) {
  struct utsname system;
  memset(&system, 0, sizeof system);
  uname(&system);
  agent_write_text(reply, system.machine);
  agent_write_text(reply, system.sysname);
  agent_write_text(reply, system.release);
  write_processor(reply);
  const char *features[MAX_FEATURES];
  size_t count = lepton_list_cpu_features(features, MAX_FEATURES);
  agent_write_u32(reply, (uint32_t)count);
  for (size_t i = 0; i < count; i++) agent_write_text(reply, features[i]);
  agent_write_u32(reply, (uint32_t)lepton_available_processors());
  agent_write_u64(reply, installed_memory());
  agent_write_u64(reply, memory_field("MemAvailable"));
  agent_write_u64(reply, limits->frame_bytes);
  agent_write_u64(reply, limits->store_bytes);
  agent_write_u64(reply, limits->trial_bytes);
  agent_write_u64(reply, limits->trial_ns);
}

/* Readings are collected before they are written: their number comes first. */
typedef struct {
  agent_writer rows;
  uint32_t count;
} readings;

static void add_reading(readings *found, const char *kind, const char *name, double value) {
  char text[128];
  if (found->count == AGENT_MAX_SENSORS) return;
  snprintf(text, sizeof text, "%s%s%.80s", kind, name[0] ? ":" : "", name);
  agent_write_text(&found->rows, text);
  agent_write_f64(&found->rows, value);
  found->count++;
}

static bool read_number(const char *path, double *value) {
  char line[64], *end;
  if (!read_line(path, line, sizeof line)) return false;
  *value = strtod(line, &end);
  return end != line;
}

/* Calls `add` for each entry of a folder whose name starts with `prefix` and a digit. */
static void for_each(const char *folder, const char *prefix, readings *found,
                     void (*add)(readings *found, const char *path, const char *name)) {
  DIR *entries = opendir(folder);
  if (entries == NULL) return;
  size_t length = strlen(prefix);
  for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
    char first = entry->d_name[0] == '\0' ? '\0' : entry->d_name[length < strlen(entry->d_name) ? length : 0];
    if (strncmp(entry->d_name, prefix, length) != 0 || first < '0' || first > '9') continue;
    char *path;
    if (asprintf(&path, "%s/%s", folder, entry->d_name) < 0) break;
    add(found, path, entry->d_name);
    free(path);
  }
  closedir(entries);
}

static void add_temperature(readings *found, const char *zone, const char *name) {
  char path[512], type[64];
  double value;
  snprintf(path, sizeof path, "%.400s/temp", zone);
  if (!read_number(path, &value)) return;
  snprintf(path, sizeof path, "%.400s/type", zone);
  bool is_typed = read_line(path, type, sizeof type);
  add_reading(found, "temperature_celsius", is_typed ? type : name, value / 1000);
}

static void add_frequency(readings *found, const char *cpu, const char *name) {
  static const char *const files[][2] = {{"scaling_cur_freq", "frequency_hertz"}, {"scaling_max_freq", "max_frequency_hertz"}};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    char path[512];
    double value;
    snprintf(path, sizeof path, "%.400s/cpufreq/%s", cpu, files[i][0]);
    if (read_number(path, &value)) add_reading(found, files[i][1], name, value * 1000);
  }
}

void agent_write_status(agent_writer *reply) {
  readings found = {0};
  double load;
  if (read_number("/proc/loadavg", &load)) add_reading(&found, "load_average", "", load);
  uint64_t memory = memory_field("MemAvailable");
  if (memory > 0) add_reading(&found, "available_memory_bytes", "", (double)memory);
  for_each("/sys/class/thermal", "thermal_zone", &found, add_temperature);
  for_each("/sys/devices/system/cpu", "cpu", &found, add_frequency);
  agent_write_u32(reply, found.count);
  agent_write_bytes(reply, found.rows.data, found.rows.used);
  reply->failed = reply->failed || found.rows.failed;
  free(found.rows.data);
}
