/* Scratch memory of one thread: blocks on a stack that is allocated once, on the heap where the stack is full. */
#ifndef LEPTON_WORKSPACE_H
#define LEPTON_WORKSPACE_H

#include <stdbool.h>

#include "buffer.h"

/* Kernels nest a handful of blocks; more than this many at once go to the heap. */
#define LEPTON_WORKSPACE_BLOCKS 32

typedef struct {
  uint64_t offset;
  bool released;
} lepton_workspace_block;

typedef struct lepton_heap_block lepton_heap_block;

typedef struct {
  lepton_buffer stack;
  uint64_t used;
  int32_t count;
  lepton_workspace_block blocks[LEPTON_WORKSPACE_BLOCKS];
  lepton_heap_block *heap; /* doubly linked, newest first */
} lepton_workspace;

/* Aligned memory of the thread that owns the workspace; NULL where there is none left. */
void *lepton_workspace_allocate(lepton_workspace *workspace, uint64_t bytes);

/* Gives a block back, in any order. False where it is none of this workspace. */
bool lepton_workspace_free(lepton_workspace *workspace, void *data);

/* Gives back every block: a kernel that fails leaves its own behind. */
void lepton_workspace_reset(lepton_workspace *workspace);

void lepton_workspace_release(lepton_workspace *workspace);

#endif
