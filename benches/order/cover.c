/* cover.c - which functions of a program are used, in the order of their first use.
 *
 *   cover ADDRESSES OUT PROGRAM [ARGUMENT ...]
 *
 * Puts a breakpoint at each address (hexadecimal, one a line) of PROGRAM, in all its children too, and appends the
 * addresses that are reached to OUT. Ends with PROGRAM, and ends its children then. x86-64; root, or the same user.
 *
 * Build: cc -O2 -o cover cover.c
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 1 << 18, BREAKPOINT = 0xcc };

static unsigned long address[MOST];
static unsigned char original[MOST], used[MOST];
static size_t number;
static ino_t inode;

static int compare(const void *left, const void *right) {
  unsigned long a = *(const unsigned long *)left, b = *(const unsigned long *)right;
  return a < b ? -1 : a > b;
}
static int open_of(int pid, const char *what, int flags) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, what);
  return open(path, flags | O_CLOEXEC);
}
static int is_program(int pid) {
  char path[64];
  struct stat s;
  snprintf(path, sizeof path, "/proc/%d/exe", pid);
  return !stat(path, &s) && s.st_ino == inode;
}
static void plant(int pid) { /* a fresh program has none, whatever it was before exec */
  static int known;
  int memory = open_of(pid, "mem", O_RDWR);
  unsigned char byte = BREAKPOINT;
  for (size_t i = 0; i < number; i++) {
    if (!known && pread(memory, original + i, 1, address[i]) != 1) original[i] = 0x90;
    if (pwrite(memory, &byte, 1, address[i]) != 1) continue;
  }
  known = 1;
  close(memory);
}
static int reached(int pid, FILE *out) { /* 0: no breakpoint of ours */
  struct user_regs_struct registers;
  ptrace(PTRACE_GETREGS, pid, 0, &registers);
  unsigned long at = registers.rip - 1, *found = bsearch(&at, address, number, sizeof at, compare);
  if (!found) return 0;
  size_t i = found - address;
  if (!used[i]) used[i] = 1, fprintf(out, "%lx\n", at);
  int memory = open_of(pid, "mem", O_RDWR);
  if (pwrite(memory, original + i, 1, at) != 1) return 0;
  close(memory);
  registers.rip = at;
  ptrace(PTRACE_SETREGS, pid, 0, &registers);
  return 1;
}

int main(int argc, char **argv) {
  char line[64];
  struct stat s;
  int status, pid, first;
  if (argc < 4) return 2;
  FILE *list = fopen(argv[1], "r"), *out = fopen(argv[2], "a");
  if (!list || !out || stat(argv[3], &s)) return perror(argv[0]), 2;
  inode = s.st_ino;
  while (number < MOST && fgets(line, sizeof line, list)) address[number++] = strtoul(line, 0, 16);
  qsort(address, number, sizeof *address, compare);
  if (!(first = fork())) {
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    execv(argv[3], argv + 3);
    _exit(127);
  }
  waitpid(first, &status, 0);
  ptrace(PTRACE_SETOPTIONS, first, 0,
         PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL);
  ptrace(PTRACE_CONT, first, 0, 0);
  while ((pid = waitpid(-1, &status, __WALL)) > 0) {
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
      if (pid == first) break;
      continue;
    }
    int signal = WSTOPSIG(status), event = status >> 16;
    if (event == PTRACE_EVENT_EXEC && is_program(pid)) plant(pid);
    if (event || signal == SIGSTOP || (signal == SIGTRAP && (reached(pid, out) || 1))) signal = 0;
    ptrace(PTRACE_CONT, pid, 0, signal);
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
