#include "workspace.h"

#include <stdlib.h>

/* Fills one alignment unit in front of the block's data. */
struct lepton_heap_block {
  _Alignas(LEPTON_ALIGNMENT) lepton_heap_block *next;
  lepton_heap_block *previous;
};

static void *allocate_on_heap(lepton_workspace *workspace, uint64_t bytes) {
  if (bytes > UINT64_MAX - sizeof(lepton_heap_block)) return NULL;
  lepton_heap_block *block = lepton_aligned_allocate(bytes + sizeof(lepton_heap_block));
  if (block == NULL) return NULL;
  block->previous = NULL;
  block->next = workspace->heap;
  if (block->next != NULL) block->next->previous = block;
  workspace->heap = block;
  return block + 1;
}

void *lepton_workspace_allocate(lepton_workspace *workspace, uint64_t bytes) {
  uint64_t room = workspace->stack.bytes - workspace->used;
  if (bytes > room || workspace->count == LEPTON_WORKSPACE_BLOCKS) return allocate_on_heap(workspace, bytes);
  uint64_t rounded = (bytes + LEPTON_ALIGNMENT - 1) / LEPTON_ALIGNMENT * LEPTON_ALIGNMENT;
  if (rounded == 0) rounded = LEPTON_ALIGNMENT; /* blocks are told apart by their address */
  if (rounded > room) return allocate_on_heap(workspace, bytes);
  workspace->blocks[workspace->count++] = (lepton_workspace_block){workspace->used, false};
  void *data = (uint8_t *)workspace->stack.data + workspace->used;
  workspace->used += rounded;
  return data;
}

static bool free_from_stack(lepton_workspace *workspace, const void *data) {
  for (int32_t i = workspace->count - 1; i >= 0; i--) {
    if ((uint8_t *)workspace->stack.data + workspace->blocks[i].offset != data) continue;
    workspace->blocks[i].released = true;
    while (workspace->count > 0 && workspace->blocks[workspace->count - 1].released) {
      workspace->used = workspace->blocks[--workspace->count].offset;
    }
    return true;
  }
  return false;
}

static void unlink_and_free(lepton_workspace *workspace, lepton_heap_block *block) {
  if (block->next != NULL) block->next->previous = block->previous;
  if (block->previous != NULL) {
    block->previous->next = block->next;
  } else {
    workspace->heap = block->next;
  }
  free(block);
}

bool lepton_workspace_free(lepton_workspace *workspace, void *data) {
  if (data == NULL || free_from_stack(workspace, data)) return true;
  for (lepton_heap_block *block = workspace->heap; block != NULL; block = block->next) {
    if (block + 1 == data) {
      unlink_and_free(workspace, block);
      return true;
    }
  }
  return false;
}

void lepton_workspace_reset(lepton_workspace *workspace) {
  workspace->used = 0;
  workspace->count = 0;
  while (workspace->heap != NULL) unlink_and_free(workspace, workspace->heap);
}

void lepton_workspace_release(lepton_workspace *workspace) {
  lepton_workspace_reset(workspace);
  lepton_buffer_release(&workspace->stack);
}
