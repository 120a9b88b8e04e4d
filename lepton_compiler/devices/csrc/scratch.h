/* The agent's scratch folder: its own, removed at the end, and by the next agent where this one was killed. */
#ifndef AGENT_SCRATCH_H
#define AGENT_SCRATCH_H

/* Removes what agents left that are dead, and makes a folder in $TMPDIR, else /tmp. NULL with errno set. The path is the
 * caller's to free. */
char *agent_make_scratch(void);

/* Removes the folder and the files in it. */
void agent_remove_scratch(const char *folder);

#endif
