#define _GNU_SOURCE
#include "scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX "lepton-agent-"

/* A folder is locked while its agent lives; the lock ends with the process, however it ends. */
static int lock_folder(const char *folder) {
  int handle = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (handle < 0) return -1;
  if (flock(handle, LOCK_EX | LOCK_NB) == 0) return handle;
  close(handle);
  return -1;
}

void agent_remove_scratch(const char *folder) {
  DIR *entries = opendir(folder);
  if (entries == NULL) return;
  for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
      unlinkat(dirfd(entries), entry->d_name, 0);
    }
  }
  closedir(entries);
  rmdir(folder);
}

/* Removes the folder where this user's agent made it and is dead. The lock is held meanwhile: a folder that another agent
 * has just made is either removed before that one locks it, or not at all. */
static void remove_if_dead(const char *path) {
  struct stat status;
  if (lstat(path, &status) != 0 || !S_ISDIR(status.st_mode) || status.st_uid != getuid()) return;
  int handle = lock_folder(path);
  if (handle < 0) return;
  agent_remove_scratch(path);
  close(handle);
}

static void remove_left_overs(const char *parent) {
  DIR *entries = opendir(parent);
  if (entries == NULL) return;
  for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
    char *path;
    if (strncmp(entry->d_name, PREFIX, sizeof PREFIX - 1) != 0) continue;
    if (asprintf(&path, "%s/%s", parent, entry->d_name) < 0) break;
    remove_if_dead(path);
    free(path);
  }
  closedir(entries);
}

/* A folder that another agent, starting at the same time, took for a dead one's is made again. */
static int make_locked(const char *parent, char **path) {
  for (int attempt = 0; attempt < 100; attempt++) {
    if (asprintf(path, "%s/" PREFIX "XXXXXX", parent) < 0) return -1;
    if (mkdtemp(*path) == NULL) break;
    int handle = lock_folder(*path);
    if (handle >= 0 && access(*path, W_OK) == 0) return handle;
    if (handle >= 0) close(handle);
    free(*path);
    *path = NULL;
  }
  free(*path);
  *path = NULL;
  return -1;
}

char *agent_make_scratch(void) {
  const char *parent = getenv("TMPDIR");
  if (parent == NULL || parent[0] == '\0') parent = "/tmp";
  remove_left_overs(parent);
  char *path = NULL;
  /* The lock's handle stays open until the process ends. */
  return make_locked(parent, &path) < 0 ? NULL : path;
}
