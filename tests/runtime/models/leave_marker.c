/* Linked into a library, leaves a file behind when its code runs for the first time. */
#include <fcntl.h>
#include <unistd.h>

__attribute__((constructor)) static void leave_marker(void) {
  int file = open(MARKER, O_CREAT | O_WRONLY, 0600);
  if (file >= 0) close(file);
}
