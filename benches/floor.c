/* floor.c - the cheapest known way to make the kernel do one full OCI container
 * life cycle.  It parses nothing, checks little and trusts its root file system;
 * a runtime's distance from it is the runtime's own overhead.
 *
 *   floor run    ID [ARGS...]    container runs, floor waits, everything is removed
 *   floor create ID [ARGS...]    container is ready, its init blocks on a FIFO
 *   floor start  ID              releases it
 *   floor delete ID              kills it if needed, removes cgroups and state
 *   floor exec   ID [ARGS...]    one more process in a created/started container
 *   floor rss    CMD [ARGS...]   not a container: runs CMD silently, prints its peak RSS in
 *                                KiB (a small parent, else the parent's size is reported)
 *
 * Environment: FLOOR_ROOTFS  root file system            (default ./rootfs)
 *              FLOOR_STATE   state directory             (default /run/floor)
 *              FLOOR_MEMORY  memory limit in bytes    (default 268435456)
 *              FLOOR_OPTS    letters that switch one technique off, to measure it:
 *                 p  attach by pid to cgroup.procs (as other runtimes do)
 *                 s  serial: cgroups first, then clone with all namespaces
 *                 l  linear seccomp program of the same size
 *                 v  fork-like clone instead of sharing memory and descriptors
 *                 n  the parent makes the netns, the child joins it (no gain on two cores)
 *                 w  start waits until the program has been executed, as a runtime must, which tells why it could not be
 *                 C  no cgroups   N  no netns   F  no seccomp   (for attribution)
 *
 * The visible result is that of a podman-like config: pid, net, ipc, uts, mount and
 * cgroup namespaces; /proc /dev /dev/pts /dev/mqueue /dev/shm /sys /sys/fs/cgroup(ro);
 * six device nodes and the usual links; masked and read-only paths; "lo" up;
 * ping_group_range sysctl; host name; memory, cpu, pids, device limits in the
 * cgroup v1 hierarchies (or v2, as found); rlimits; 11 capabilities; seccomp
 * program of 450 instructions; session keyring; no output.
 *
 * Techniques that proved worth it (numbers in docs/performance.md):
 *  - child attaches itself by writing "0" to v1 `tasks`, or is born in the v2 cgroup
 *    (CLONE_INTO_CGROUP): neither takes the global thread-group lock for writing,
 *    which costs an RCU grace period (some 10 ms) when no one did it recently;
 *  - two processes work side by side: the parent makes the cgroups, the child the
 *    namespaces and mounts; what depends on the cgroups comes last in the child;
 *  - the child shares memory and descriptors until exec (it allocates nothing);
 *  - pivot_root first, mounts after it, with plain relative paths;
 *  - seccomp program is a search tree.
 *
 * Build: cc -O2 -static -o floor floor.c
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define N(a) (sizeof(a) / sizeof *(a))
#define CG "/sys/fs/cgroup"
#define FLAGS3 (MS_NOSUID | MS_NODEV | MS_NOEXEC)

static const char *opts = "", *rootfs, *state, *id;
static char **args, *deflt[] = {"/bin/true", 0};
static char *env[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                      "container=floor", "HOME=/root", 0};
static struct { char name[64]; } hier[20]; /* cgroup hierarchies of this process */
static int nhier, tasks[20], netfd = -1, v2fd = -1, fifo = -1;
static int getppid_host;
static const char *v2root; /* where the cgroup2 tree is mounted, if it is */
static uint32_t words[3], *word = words; /* cgroups are made, netns is made, container is ready */
enum { CGROUPS, NETNS, READY };

static int off(char c) { return strchr(opts, c) != 0; }
static void die(const char *what) { perror(what); _exit(125); }
static void put(const char *path, const char *v) {
  int f = open(path, O_WRONLY | O_CLOEXEC);
  if (f < 0) return;
  if (write(f, v, strlen(v)) < 0) die(path);
  close(f);
}
static void wait_word(int i) {
  uint32_t *w = word + i;
  while (!__atomic_load_n(w, __ATOMIC_ACQUIRE)) syscall(SYS_futex, w, FUTEX_WAIT, 0, 0, 0, 0);
}
static void set_word(int i) {
  uint32_t *w = word + i;
  __atomic_store_n(w, 1, __ATOMIC_RELEASE);
  syscall(SYS_futex, w, FUTEX_WAKE, 1, 0, 0, 0);
}

/* ---- cgroups ------------------------------------------------------------- */
static void find_cgroups(void) { /* one small read; by convention mounted under CG */
  static char b[8192];
  int f = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC), n = f < 0 ? 0 : read(f, b, sizeof b - 1);
  close(f);
  if (n <= 0 || off('C')) return;
  b[n] = 0;
  for (char *l = strtok(b, "\n"); l && nhier < (int)N(hier); l = strtok(0, "\n")) {
    char *c = strchr(l, ':') + 1;
    *strchr(c, ':') = 0;
    if (!strncmp(c, "name=", 5)) c += 5;
    if (!*c) {
      v2root = access(CG "/cgroup.controllers", F_OK) ? CG "/unified" : CG;
      if (access(v2root, F_OK)) { v2root = 0; continue; }
    } else { /* a hierarchy that exists but is not mounted here is not for us */
      char t[128];
      snprintf(t, sizeof t, CG "/%s/tasks", c);
      if (access(t, F_OK)) continue;
    }
    snprintf(hier[nhier++].name, sizeof hier->name, "%s", c);
  }
}
static char *cgpath(int i, const char *file) {
  static __thread char p[512];
  if (*hier[i].name) snprintf(p, sizeof p, CG "/%s/%s%s%s", hier[i].name, id, *file ? "/" : "", file);
  else snprintf(p, sizeof p, "%s/%s%s%s", v2root, id, *file ? "/" : "", file);
  return p;
}
static void devices(int i) {
  static const char *allow[] = {"c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm",
                                "c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm"};
  put(cgpath(i, "devices.deny"), "a");
  int f = open(cgpath(i, "devices.allow"), O_WRONLY | O_CLOEXEC);
  for (size_t k = 0; k < N(allow); k++)
    if (write(f, allow[k], strlen(allow[k])) < 0) die("devices");
  close(f);
}
static void copy_parent(int i, const char *file) { /* cpuset v1 starts empty */
  char b[256];
  snprintf(b, sizeof b, CG "/%s/%s", hier[i].name, file);
  int f = open(b, O_RDONLY | O_CLOEXEC), n = f < 0 ? 0 : read(f, b, sizeof b - 1);
  close(f);
  b[n > 0 ? n : 0] = 0;
  put(cgpath(i, file), b);
}
static void make_cgroup(int i) {
  const char *n = hier[i].name;
  if (mkdir(cgpath(i, ""), 0755) && errno != EEXIST) die(cgpath(i, ""));
  if (!strcmp(n, "memory")) put(cgpath(i, "memory.limit_in_bytes"), getenv("FLOOR_MEMORY") ? getenv("FLOOR_MEMORY") : "268435456"), put(cgpath(i, "memory.memsw.limit_in_bytes"), "536870912");
  else if (!strncmp(n, "cpu", 3) && (!n[3] || n[3] == ',')) put(cgpath(i, "cpu.cfs_quota_us"), "100000");
  else if (!strcmp(n, "pids")) put(cgpath(i, "pids.max"), "100");
  else if (!strcmp(n, "devices")) devices(i);
  else if (!strcmp(n, "cpuset")) copy_parent(i, "cpuset.cpus"), copy_parent(i, "cpuset.mems");
  else if (!*n) { /* v2: files exist only where the controller is enabled; device rules need BPF, left out */
    put(cgpath(i, "memory.max"), "268435456"), put(cgpath(i, "memory.swap.max"), "268435456");
    put(cgpath(i, "cpu.max"), "100000 100000"), put(cgpath(i, "pids.max"), "100");
    v2fd = open(cgpath(i, ""), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  }
}
static void make_cgroups(int v2) {
  for (int i = 0; i < nhier; i++)
    if (!*hier[i].name == !!v2) {
      make_cgroup(i);
      if (!v2) tasks[i] = open(cgpath(i, "tasks"), O_WRONLY | O_CLOEXEC);
    }
}
static void join_self(int root) { /* root: directory handle of CG where descriptors are not shared */
  for (int i = 0; i < nhier; i++) {
    if (!*hier[i].name) continue;
    int f = root < 0 ? tasks[i] : openat(root, cgpath(i, "tasks") + sizeof CG, O_WRONLY | O_CLOEXEC);
    if (write(f, "0", 1) != 1) die("tasks");
  }
}
static void join_pid(int pid) {
  char b[16];
  snprintf(b, sizeof b, "%d", pid);
  for (int i = 0; i < nhier; i++) put(cgpath(i, "cgroup.procs"), b);
}
static void remove_cgroups(void) {
  for (int i = 0; i < nhier; i++)
    for (int t = 0; rmdir(cgpath(i, "")) && errno == EBUSY && t < 2000; t++) usleep(100);
}

/* ---- seccomp: 450 instructions, allow-list with errno default ------------- */
static struct sock_filter prog[512];
static int np;
#define OP(c, k_, t, f) (prog[np++] = (struct sock_filter){c, t, f, k_})
static void leaf(int lo, int hi) {
  OP(BPF_JMP | BPF_JGE | BPF_K, lo, 0, 1);
  OP(BPF_JMP | BPF_JGT | BPF_K, hi, 0, 1);
  OP(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS, 0, 0);
  OP(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
}
static void tree(const int (*r)[2], int n) {
  if (n == 1) { leaf(r[0][0], r[0][1]); return; }
  int m = n / 2, at = np++;
  tree(r, m);
  int d = np - at - 1, right = r[m][0];
  if (d > 255) { /* a conditional jump reaches 255: go through an unconditional one */
    memmove(prog + at + 2, prog + at + 1, d * sizeof *prog);
    np++;
    prog[at] = (struct sock_filter){BPF_JMP | BPF_JGE | BPF_K, 0, 1, right};
    prog[at + 1] = (struct sock_filter){BPF_JMP | BPF_JA, 0, 0, d};
  } else prog[at] = (struct sock_filter){BPF_JMP | BPF_JGE | BPF_K, d, 0, right};
  tree(r + m, n - m);
}
static void build_filter(void) {
  enum { R = 89 };
  static int r[R][2];
  for (int i = 0; i < R; i++) r[i][0] = i * 6, r[i][1] = i * 6 + 5; /* every native number passes */
  OP(BPF_LD | BPF_W | BPF_ABS, 4, 0, 0);
  OP(BPF_JMP | BPF_JEQ | BPF_K, 0xC000003E, 1, 0);
  OP(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS, 0, 0);
  OP(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0);
  if (off('l')) {
    while (np < 447) OP(BPF_JMP | BPF_JEQ | BPF_K, np, 0, 1), OP(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
    OP(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
  } else tree((const int(*)[2])r, R);
  while (np < 450) OP(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
}

/* ---- what becomes the container's process --------------------------------- */
static const uint64_t caps = 1 << CAP_CHOWN | 1 << CAP_DAC_OVERRIDE | 1 << CAP_FOWNER | 1 << CAP_FSETID | 1 << CAP_KILL |
                             1 << CAP_NET_BIND_SERVICE | 1U << CAP_SETFCAP | 1 << CAP_SETGID | 1 << CAP_SETPCAP |
                             1 << CAP_SETUID | 1 << CAP_SYS_CHROOT;
static void drop_privileges(void) {
  struct rlimit nf = {20000, 20000}, pr = {96365, 96365};
  setrlimit(RLIMIT_NOFILE, &nf), setrlimit(RLIMIT_NPROC, &pr);
  umask(022);
  syscall(SYS_setgroups, 0, 0);
  struct sock_fprog p = {np, prog};
  if (!off('F') && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &p)) die("seccomp");
  for (int c = 0; c <= CAP_LAST_CAP; c++)
    if (!(caps >> c & 1)) prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
  struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct d[2] = {{caps, caps, 0}, {caps >> 32, caps >> 32, 0}};
  if (syscall(SYS_capset, &h, d)) die("capset");
}
static void go(void) {
  execve(args[0], args, env);
  die("execve");
}

/* ---- the root file system -------------------------------------------------- */
static void mnt(const char *src, const char *dst, const char *type, unsigned long fl, const char *data) {
  if (mount(src, dst, type, fl, data)) die(dst);
}
static const char *mask_file[] = {"proc/kcore", "proc/keys", "proc/latency_stats", "proc/sched_debug",
                                  "proc/timer_list", "proc/timer_stats", "proc/interrupts"};
static const char *mask_dir[] = {"proc/acpi", "proc/scsi", "sys/devices/virtual/powercap", "sys/firmware", "sys/fs/selinux"};
static const char *readonly[] = {"proc/asound", "proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
static const struct { const char *n; int maj, min; } dev[] = {{"dev/null", 1, 3}, {"dev/zero", 1, 5}, {"dev/full", 1, 7},
  {"dev/tty", 5, 0}, {"dev/random", 1, 8}, {"dev/urandom", 1, 9}};

static void root_and_dev(void) { /* needs neither cgroups nor netns */
  mnt(0, "/", 0, MS_REC | MS_PRIVATE, 0);
  mnt(rootfs, rootfs, 0, MS_BIND | MS_REC, 0);
  if (chdir(rootfs)) die(rootfs);
  if (syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/")) die("pivot_root");
  mnt("proc", "proc", "proc", FLAGS3, 0);
  mnt("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
  mkdir("dev/pts", 0755), mkdir("dev/mqueue", 0755), mkdir("dev/shm", 0755);
  mnt("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
  mnt("mqueue", "dev/mqueue", "mqueue", FLAGS3, 0);
  mnt("shm", "dev/shm", "tmpfs", FLAGS3, "mode=1777,size=65536k");
  for (size_t i = 0; i < N(dev); i++) mknod(dev[i].n, S_IFCHR | 0666, makedev(dev[i].maj, dev[i].min));
  symlink("/proc/self/fd", "dev/fd"), symlink("/proc/self/fd/0", "dev/stdin"), symlink("/proc/self/fd/1", "dev/stdout");
  symlink("/proc/self/fd/2", "dev/stderr"), symlink("pts/ptmx", "dev/ptmx"), symlink("/proc/kcore", "dev/core");
  for (size_t i = 0; i < N(mask_file); i++)
    if (mount("dev/null", mask_file[i], 0, MS_BIND, 0) && errno != ENOENT) die(mask_file[i]);
}
static void network(void) {
  struct ifreq q = {.ifr_name = "lo"};
  q.ifr_flags = IFF_UP | IFF_RUNNING;
  int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (ioctl(s, SIOCSIFFLAGS, &q)) die("lo");
  close(s);
  put("proc/sys/net/ipv4/ping_group_range", "0 0");
}
static void sys_and_cgroup(void) { /* sysfs shows the netns, cgroup mounts the cgroup namespace */
  mnt("sysfs", "sys", "sysfs", FLAGS3 | MS_RDONLY, 0);
  if (nhier == 1 && !*hier[0].name) mnt("cgroup", "sys/fs/cgroup", "cgroup2", FLAGS3 | MS_RDONLY, 0);
  else if (nhier) {
    mnt("cgroup", "sys/fs/cgroup", "tmpfs", FLAGS3, "mode=755,size=1024k");
    for (int i = 0; i < nhier; i++) {
      char d[128], o[128];
      const char *n = hier[i].name;
      strcpy(stpcpy(d, "sys/fs/cgroup/"), *n ? n : "unified");
      mkdir(d, 0755);
      strcpy(stpcpy(o, strcmp(n, "systemd") ? "" : "name="), n);
      mnt("cgroup", d, *n ? "cgroup" : "cgroup2", FLAGS3 | MS_RDONLY, *n ? o : 0);
    }
    mnt(0, "sys/fs/cgroup", 0, MS_REMOUNT | MS_BIND | FLAGS3 | MS_RDONLY, 0);
  }
  const char *empty = 0; /* one empty tmpfs serves all masked directories */
  for (size_t i = 0; i < N(mask_dir); i++)
    if (!(empty ? mount(empty, mask_dir[i], 0, MS_BIND, 0) : mount("tmpfs", mask_dir[i], "tmpfs", MS_RDONLY, "size=0k,nr_inodes=2"))) empty = mask_dir[i];
    else if (errno != ENOENT) die(mask_dir[i]);
  for (size_t i = 0; i < N(readonly); i++)
    if (!mount(readonly[i], readonly[i], 0, MS_BIND | MS_REC, 0)) mnt(0, readonly[i], 0, MS_BIND | MS_REMOUNT | MS_RDONLY | FLAGS3, 0);
    else if (errno != ENOENT) die(readonly[i]);
}

#define NS_BASE (CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC)
static int own_net(void) { return !off('N') && (!off('n') || off('s')); }
static int container(void *unused) {
  (void)unused;
  int cg = -1, ns = -1, shared = !off('v');
  setsid();
  umask(0);
  if (!shared) { /* handles to what pivot_root will hide */
    char p[40];
    sprintf(p, "/proc/%d/ns", getppid_host);
    cg = open(CG, O_PATH | O_CLOEXEC), ns = open(p, O_PATH | O_CLOEXEC);
  }
  if (!off('s') && unshare(NS_BASE | (own_net() ? CLONE_NEWNET : 0))) die("unshare");
  syscall(SYS_keyctl, 1 /* join session keyring */, id);
  sethostname("floor", 5);
  root_and_dev();
  wait_word(CGROUPS);
  if (!off('p')) join_self(cg);
  if (unshare(CLONE_NEWCGROUP)) die("cgroup namespace");
  if (!own_net() && !off('N')) {
    wait_word(NETNS);
    if (!shared) netfd = openat(ns, "net", O_RDONLY | O_CLOEXEC);
    if (setns(netfd, CLONE_NEWNET)) die("setns");
  }
  if (!off('N')) network();
  sys_and_cgroup();
  if (fifo >= 0) { /* created: tell, then wait for start (the FIFO is an O_PATH handle) */
    char p[40], c;
    sprintf(p, "/proc/self/fd/%d", fifo);
    set_word(READY);
    int f = open(p, O_RDONLY | O_CLOEXEC);
    if (f < 0 || read(f, &c, 1) != 1) die("start");
  }
  drop_privileges();
  go();
  return 0;
}

/* ---- parent side ------------------------------------------------------------ */
static char statebuf[4096];
static char *spath(const char *f) {
  static char p[512];
  snprintf(p, sizeof p, "%s/%s%s%s", state, id, *f ? "/" : "", f);
  return p;
}
static void write_state(int pid) {
  int f = open(spath("state"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  int n = snprintf(statebuf, sizeof statebuf, "%d %s\n", pid, id);
  if (f < 0 || write(f, statebuf, n) != n) die("state");
  close(f);
}
static int read_pid(void) {
  int f = open(spath("state"), O_RDONLY | O_CLOEXEC), n = f < 0 ? -1 : read(f, statebuf, sizeof statebuf - 1);
  if (n <= 0) die(spath("state"));
  close(f);
  statebuf[n] = 0;
  return atoi(statebuf);
}
static void remove_state(void) {
  unlink(spath("state")), unlink(spath("fifo")), unlink(spath("done"));
  rmdir(spath(""));
}
static void make_state(void) {
  if (mkdir(spath(""), 0700) && (mkdir(state, 0700), mkdir(spath(""), 0700))) die(spath(""));
}
static int launch(void) {
  static char stack[256 << 10] __attribute__((aligned(4096)));
  int serial = off('s');
  getppid_host = getpid();
  find_cgroups();
  build_filter();
  make_cgroups(1); /* v2 must exist before the child is born into it */
  if (serial) make_cgroups(0);
  uint64_t fl = CLONE_NEWPID | (serial ? NS_BASE | (own_net() ? CLONE_NEWNET : 0) : 0) | (off('v') ? 0 : CLONE_VM | CLONE_FILES);
  if (v2fd >= 0 && !off('p')) fl |= CLONE_INTO_CGROUP;
  struct clone_args a = {.flags = fl, .exit_signal = SIGCHLD, .cgroup = v2fd < 0 ? 0 : v2fd};
  long pid;
  if (off('v')) {
    if (!(pid = syscall(SYS_clone3, &a, sizeof a))) _exit(container(0));
  } else { /* own stack; jump into container() without returning through ours */
    a.stack = (uint64_t)stack, a.stack_size = sizeof stack;
    register long rax __asm__("rax") = SYS_clone3;
    register void *rdi __asm__("rdi") = &a;
    register long rsi __asm__("rsi") = sizeof a;
    register void *r8 __asm__("r8") = (void *)container;
    __asm__ volatile("syscall\n\ttest %%eax,%%eax\n\tjnz 1f\n\txor %%ebp,%%ebp\n\txor %%edi,%%edi\n\tcall *%%r8\n\t"
                     "mov $60,%%eax\n\tsyscall\n1:" : "+r"(rax), "+r"(rdi), "+r"(rsi), "+r"(r8) : : "rcx", "r11", "memory");
    pid = rax;
  }
  if (pid < 0) die("clone3");
  if (!serial) make_cgroups(0);
  if (off('p')) join_pid(pid);
  set_word(CGROUPS);
  if (!own_net() && !off('N')) {
    if (unshare(CLONE_NEWNET)) die("netns");
    netfd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    set_word(NETNS);
  }
  write_state(pid);
  return pid;
}

static int rss(char **cmd) {
  struct rusage u;
  int st, pid = vfork();
  if (!pid) {
    int f = open("/dev/null", O_RDWR);
    dup2(f, 0), dup2(f, 1), dup2(f, 2);
    execv(cmd[0], cmd);
    _exit(127);
  }
  if (wait4(pid, &st, 0, &u) != pid) die("wait4");
  printf("%ld\n", u.ru_maxrss);
  return st != 0;
}

int main(int argc, char **argv) {
  if (argc < 3) return 125;
  if (!strcmp(argv[1], "rss")) return rss(argv + 2);
  id = argv[2], args = argc > 3 ? argv + 3 : deflt;
  if (getenv("FLOOR_OPTS")) opts = getenv("FLOOR_OPTS");
  if (!(rootfs = getenv("FLOOR_ROOTFS"))) rootfs = "rootfs";
  if (!(state = getenv("FLOOR_STATE"))) state = "/run/floor";
  int st = 0, pid;
  if (off('v')) word = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

  if (!strcmp(argv[1], "run")) {
    make_state();
    pid = launch();
    if (waitpid(pid, &st, 0) != pid) die("wait");
    remove_cgroups();
    remove_state();
    return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
  }
  if (!strcmp(argv[1], "create")) {
    make_state();
    if (mkfifo(spath("fifo"), 0600) || (fifo = open(spath("fifo"), O_PATH | O_CLOEXEC)) < 0) die(spath("fifo"));
    /* the child's copy of this descriptor is the last one, and closes at exec */
    if (off('w') && (mkfifo(spath("done"), 0600) || open(spath("done"), O_RDWR | O_CLOEXEC) < 0)) die(spath("done"));
    pid = launch();
    wait_word(READY);
    _exit(0);
  }
  if (!strcmp(argv[1], "start")) {
    int done = off('w') ? open(spath("done"), O_RDONLY | O_CLOEXEC) : -1;
    int f = open(spath("fifo"), O_WRONLY | O_CLOEXEC);
    char c;
    return f < 0 || write(f, "", 1) != 1 || (done >= 0 && read(done, &c, 1) != 0);
  }
  if (!strcmp(argv[1], "delete")) {
    struct pollfd p = {.events = POLLIN};
    find_cgroups();
    if ((p.fd = syscall(SYS_pidfd_open, read_pid(), 0)) >= 0) {
      syscall(SYS_pidfd_send_signal, p.fd, SIGKILL, 0, 0);
      poll(&p, 1, -1);
    }
    remove_cgroups();
    remove_state();
    return 0;
  }
  if (!strcmp(argv[1], "exec")) {
    int target = read_pid(), pf = syscall(SYS_pidfd_open, target, 0);
    find_cgroups();
    build_filter();
    char (*tasks)[512] = malloc(sizeof(char[512]) * 20);
    int fd[20];
    for (int i = 0; i < nhier; i++) { /* open before the host's view is gone */
      snprintf(tasks[i], 512, "%s", cgpath(i, *hier[i].name ? "tasks" : ""));
      fd[i] = open(tasks[i], (*hier[i].name ? O_WRONLY : O_RDONLY | O_DIRECTORY) | O_CLOEXEC);
      if (!*hier[i].name) v2fd = fd[i];
    }
    char r[40]; /* started inside a chroot, the namespace's root is not the container's */
    sprintf(r, "/proc/%d/root", target);
    int root = open(r, O_PATH | O_DIRECTORY | O_CLOEXEC);
    /* the cgroup namespace comes after the birth: from within one, the kernel makes nobody in it from outside */
    if (setns(pf, NS_BASE | CLONE_NEWPID | CLONE_NEWNET) || fchdir(root) || chroot(".")) die("setns");
    struct clone_args a = {.flags = v2fd >= 0 ? CLONE_INTO_CGROUP : 0, .exit_signal = SIGCHLD, .cgroup = v2fd < 0 ? 0 : v2fd};
    if (!(pid = syscall(SYS_clone3, &a, sizeof a))) {
      for (int i = 0; i < nhier; i++)
        if (*hier[i].name && write(fd[i], "0", 1) != 1) die("tasks");
      if (setns(pf, CLONE_NEWCGROUP)) die("setns");
      setsid();
      drop_privileges();
      go();
    }
    if (pid < 0) die("clone3");
    if (waitpid(pid, &st, 0) != pid) die("wait");
    return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
  }
  return 125;
}
