#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include "weights.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"

typedef struct {
  uintptr_t address; /* an address inside of the object that is looked for */
  const char *path;  /* "" for the program itself */
} object_search;

/* dl_iterate_phdr rather than dladdr: before glibc 2.34 that one is in a library of its own. */
static int find_object(struct dl_phdr_info *object, size_t size, void *argument) {
  (void)size;
  object_search *search = argument;
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
    uintptr_t start = object->dlpi_addr + segment->p_vaddr;
    if (segment->p_type == PT_LOAD && search->address >= start && search->address - start < segment->p_memsz) {
      search->path = object->dlpi_name;
      return 1;
    }
  }
  return 0;
}

/* Writes FOLDER/`file`, FOLDER being the one that holds the code of this runtime. */
static lepton_status path_beside_library(const lepton_model *model, const char *file, char *path, size_t capacity) {
  if (strchr(file, '/') != NULL || strcmp(file, "..") == 0) {
    return lepton_fail(LEPTON_ERROR_WEIGHTS, "the weights file \"%s\" is no plain file name", file);
  }
  object_search search = {(uintptr_t)model, NULL};
  dl_iterate_phdr(find_object, &search);
  char program[PATH_MAX];
  if (search.path == NULL || search.path[0] == '\0') {
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length < 0) return lepton_fail(LEPTON_ERROR_WEIGHTS, "/proc/self/exe can't be read: %s", strerror(errno));
    program[length] = '\0';
    search.path = program;
  }
  const char *slash = strrchr(search.path, '/');
  int folder_length = slash == NULL ? 0 : (int)(slash - search.path + 1);
  int written = snprintf(path, capacity, "%.*s%s", folder_length, search.path, file);
  if (written < 0 || (size_t)written >= capacity) {
    return lepton_fail(LEPTON_ERROR_WEIGHTS, "the path of the weights file \"%s\" is too long", file);
  }
  return LEPTON_OK;
}

/* Reads no weights: comparing what the compiler wrote after them costs nothing, and finds another model's file. */
static lepton_status check_trailer(const lepton_model *model, int file, const char *path) {
  uint8_t expected[LEPTON_WEIGHTS_TRAILER_BYTES] = LEPTON_WEIGHTS_MAGIC, found[LEPTON_WEIGHTS_TRAILER_BYTES];
  memcpy(expected + sizeof expected - LEPTON_SHA256_BYTES, model->weights_sha256, LEPTON_SHA256_BYTES);
  ssize_t length = pread(file, found, sizeof found, (off_t)model->weights_bytes);
  if (length < 0) {
    return lepton_fail(LEPTON_ERROR_WEIGHTS, "the weights file %s can't be read: %s", path, strerror(errno));
  }
  if (length != (ssize_t)sizeof found || memcmp(found, expected, sizeof found) != 0) {
    return lepton_fail(LEPTON_ERROR_WEIGHTS,
                       "the weights file %s does not belong to this library, or it is damaged: put the file there that "
                       "was compiled together with the library",
                       path);
  }
  return LEPTON_OK;
}

static lepton_status map_file(const lepton_model *model, int file, const char *path, lepton_weights *out) {
  struct stat status;
  if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) {
    return lepton_fail(LEPTON_ERROR_WEIGHTS, "the weights file %s is no regular file", path);
  }
  uint64_t needed = model->weights_bytes + LEPTON_WEIGHTS_TRAILER_BYTES;
  if ((uint64_t)status.st_size != needed) {
    return lepton_fail(LEPTON_ERROR_WEIGHTS, "the weights file %s has %" PRIu64 " bytes, the model needs %" PRIu64, path,
                       (uint64_t)status.st_size, needed);
  }
  lepton_status checked = check_trailer(model, file, path);
  if (checked != LEPTON_OK) return checked;
  if (model->weights_bytes == 0) return LEPTON_OK;
  if (model->weights_bytes > SIZE_MAX) {
    return lepton_fail(LEPTON_ERROR_MEMORY, "the weights file %s does not fit into this address space", path);
  }
  void *data = mmap(NULL, (size_t)model->weights_bytes, PROT_READ, MAP_PRIVATE, file, 0);
  if (data == MAP_FAILED) {
    return lepton_fail(LEPTON_ERROR_MEMORY, "the weights file %s can't be mapped: %s", path, strerror(errno));
  }
  *out = (lepton_weights){data, data, (size_t)model->weights_bytes};
  return LEPTON_OK;
}

lepton_status lepton_weights_open(const lepton_model *model, lepton_weights *out) {
  *out = (lepton_weights){model->weights, NULL, 0};
  if (model->weights_file == NULL) return LEPTON_OK;
  char path[PATH_MAX];
  lepton_status status = path_beside_library(model, model->weights_file, path, sizeof path);
  if (status != LEPTON_OK) return status;
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    return lepton_fail(LEPTON_ERROR_WEIGHTS, "the weights file %s can't be opened: %s", path, strerror(errno));
  }
  status = map_file(model, file, path, out);
  close(file);
  return status;
}

void lepton_weights_close(lepton_weights *weights) {
  if (weights->mapping != NULL) munmap(weights->mapping, weights->mapping_bytes);
  *weights = (lepton_weights){NULL, NULL, 0};
}
