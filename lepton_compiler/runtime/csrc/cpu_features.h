/* What this processor and its operating system can execute, by the names that /proc/cpuinfo prints. */
#ifndef LEPTON_CPU_FEATURES_H
#define LEPTON_CPU_FEATURES_H

#include "lepton.h"

/* Checks every name of `features`, which NULL ends; the error lists those that are missing. */
lepton_status lepton_check_cpu_features(const char *const *features);

#endif
