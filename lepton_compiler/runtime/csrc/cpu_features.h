/* What this processor and its operating system can execute, by the names that /proc/cpuinfo prints. */
#ifndef LEPTON_CPU_FEATURES_H
#define LEPTON_CPU_FEATURES_H

#include <stddef.h>

#include "lepton.h"

/* Checks every name of `features`, which NULL ends; the error lists those that are missing. */
lepton_status lepton_check_cpu_features(const char *const *features);

/* Writes the names of features that are there, at most `capacity` of them, and returns how many. */
size_t lepton_list_cpu_features(const char **names, size_t capacity);

#endif
