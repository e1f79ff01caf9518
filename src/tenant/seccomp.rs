//! The system calls of a disposable system: an allow list of our own. Pure.
//!
//! Left out is what acts on the host or its kernel as a whole (modules, kexec, swap, clocks, quotas, keyrings,
//! BPF, perf, io_uring, userfaultfd), what the kernel counts for the whole machine without a limit on one user
//! (`io_setup`: a single program could have all of `fs.aio-max-nr`), and what makes or enters namespaces and mounts:
//! programs live in the namespaces they are born in. ptrace(2) stays: the kernel asks the filter after the tracer
//! (Linux 4.8), and there is nobody to be traced but the system's own. What the list does not know answers ENOSYS, so that programs fall back as on
//! an older kernel; what it knows and refuses answers EPERM. Only the native architecture is let in.

use serde_json::{Value, json};

/// Calls that are let through whatever their arguments.
#[rustfmt::skip]
const ALLOWED: &[&str] = &[
    "accept", "accept4", "access", "adjtimex", "alarm", "arch_prctl", "bind", "brk", "cachestat", "capget",
    "capset", "chdir", "chmod", "chown", "chroot", "clock_adjtime", "clock_getres", "clock_gettime",
    "clock_nanosleep", "close", "close_range", "connect", "copy_file_range", "creat", "dup", "dup2", "dup3",
    "epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd",
    "eventfd2", "execve", "execveat", "exit", "exit_group", "faccessat", "faccessat2", "fadvise64",
    "fallocate", "fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchownat", "fcntl", "fdatasync",
    "fgetxattr", "flistxattr", "flock", "fork", "fremovexattr", "fsetxattr", "fstat", "fstatfs", "fsync",
    "ftruncate", "futex", "futex_requeue", "futex_wait", "futex_waitv", "futex_wake", "futimesat",
    "get_mempolicy", "get_robust_list", "getcpu", "getcwd", "getdents", "getdents64", "getegid", "geteuid",
    "getgid", "getgroups", "getitimer", "getpeername", "getpgid", "getpgrp", "getpid", "getppid",
    "getpriority", "getrandom", "getresgid", "getresuid", "getrlimit", "getrusage", "getsid", "getsockname",
    "getsockopt", "gettid", "gettimeofday", "getuid", "getxattr", "getxattrat", "inotify_add_watch",
    "inotify_init", "inotify_init1", "inotify_rm_watch", "ioprio_get", "ioprio_set", "kill",
    "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "lchown", "lgetxattr", "link",
    "linkat", "listen", "listxattr", "listxattrat", "llistxattr", "lremovexattr", "lseek", "lsetxattr",
    "lstat", "madvise", "map_shadow_stack", "membarrier", "memfd_create", "memfd_secret", "mincore",
    "mkdir", "mkdirat", "mknod", "mknodat", "mlock", "mlock2", "mlockall", "mmap", "modify_ldt", "mprotect",
    "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink", "mremap",
    "mseal", "msgctl", "msgget", "msgrcv", "msgsnd", "msync", "munlock", "munlockall", "munmap",
    "name_to_handle_at", "nanosleep", "newfstatat", "open", "openat", "openat2", "pause", "pidfd_open",
    "pidfd_send_signal", "pipe", "pipe2", "pkey_alloc", "pkey_free", "pkey_mprotect", "poll", "ppoll",
    "prctl", "pread64", "preadv", "preadv2", "prlimit64", "process_madvise", "process_mrelease", "pselect6",
    "ptrace", "pwrite64", "pwritev", "pwritev2", "read", "readahead", "readlink", "readlinkat", "readv",
    "recvfrom", "recvmmsg", "recvmsg", "remap_file_pages", "removexattr", "removexattrat", "rename",
    "renameat", "renameat2", "restart_syscall", "rmdir", "rseq", "rt_sigaction", "rt_sigpending",
    "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait",
    "rt_tgsigqueueinfo", "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity",
    "sched_getattr", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval", "sched_setaffinity",
    "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield", "seccomp", "select", "semctl",
    "semget", "semop", "semtimedop", "sendfile", "sendmmsg", "sendmsg", "sendto", "set_robust_list",
    "set_tid_address", "setfsgid", "setfsuid", "setgid", "setgroups", "setitimer", "setpgid", "setpriority",
    "setregid", "setresgid", "setresuid", "setreuid", "setrlimit", "setsid", "setsockopt", "setuid",
    "setxattr", "setxattrat", "shmat", "shmctl", "shmdt", "shmget", "shutdown", "sigaltstack", "signalfd",
    "signalfd4", "socketpair", "splice", "stat", "statfs", "statx", "symlink", "symlinkat", "sync",
    "sync_file_range", "syncfs", "sysinfo", "tee", "tgkill", "time", "timer_create", "timer_delete",
    "timer_getoverrun", "timer_gettime", "timer_settime", "timerfd_create", "timerfd_gettime",
    "timerfd_settime", "times", "tkill", "truncate", "umask", "uname", "unlink", "unlinkat", "utime",
    "utimensat", "utimes", "vfork", "vmsplice", "wait4", "waitid", "write", "writev",
];

/// Calls refused with EPERM: programs know this answer, and treat ENOSYS of these as a broken kernel.
const REFUSED: &[&str] = &[
    "acct",
    "bpf",
    "clock_settime",
    "delete_module",
    "fanotify_init",
    "finit_module",
    "fsopen",
    "init_module",
    "kexec_file_load",
    "kexec_load",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pivot_root",
    "quotactl",
    "reboot",
    "setdomainname",
    "sethostname",
    "setns",
    "settimeofday",
    "swapoff",
    "swapon",
    "syslog",
    "umount2",
    "unshare",
    "userfaultfd",
];

/// Every `CLONE_NEW*` flag of `clone(2)`; `CLONE_NEWTIME` lies in the signal's bits there and only counts
/// for clone3 and unshare.
const CLONE_NEW_ANY: u64 = 0x7e02_0000;

/// `AF_UNIX`, `AF_INET`, `AF_INET6`, `AF_NETLINK`, `AF_PACKET`. Others reach rare parts of the kernel, which loads their
/// modules on demand; `AF_VSOCK` the hypervisor, whatever the network namespace.
const FAMILIES: [u64; 5] = [1, 2, 10, 16, 17];

/// `PER_LINUX`, `PER_LINUX32` (uname26 and friends are flags of them), and the question 0xffffffff.
const PERSONALITIES: [u64; 4] = [0, 8, 0x2_0000, 0xffff_ffff];

/// `TIOCSTI` and `TIOCLINUX` put characters into the input of a terminal, which may be one of the host's;
/// `TIOCSETD` reaches rare parts of the kernel, which loads their modules on demand.
const IOCTLS: [u64; 3] = [0x5412, 0x541c, 0x5423];

/// The kernel takes the request of `ioctl(2)` for an `unsigned int`, whatever stands in the upper half.
const LOWER_HALF: u64 = 0xffff_ffff;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// What a system with an init needs besides: mounts and namespaces of its own, its name, its end. All of it acts
/// within the tenant's user namespace only.
const OF_SYSTEMS: &[&str] = &[
    "clone",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "listmount",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "pivot_root",
    "reboot",
    "setdomainname",
    "sethostname",
    "setns",
    "statmount",
    "umount2",
    "unshare",
    "vhangup",
    "fanotify_mark",
];

/// The `linux.seccomp` object of a system with an init: the list for disposable ones, and what such a system needs.
pub fn system_profile() -> Value {
    let refused: Vec<&&str> = REFUSED.iter().filter(|name| !OF_SYSTEMS.contains(name)).collect();
    build(&[ALLOWED, OF_SYSTEMS].concat(), &refused, &[])
}

/// The `linux.seccomp` object.
pub fn profile() -> Value {
    // No namespace of its own: see below.
    let clone = json!({"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [
        {"index": 0, "value": CLONE_NEW_ANY, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]});
    build(ALLOWED, &REFUSED.iter().collect::<Vec<_>>(), &[clone])
}

fn build(allowed: &[&str], refused: &[&&str], more: &[Value]) -> Value {
    let mut rules = vec![
        json!({"names": allowed, "action": "SCMP_ACT_ALLOW"}),
        json!({"names": refused, "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM}),
        // clone3 keeps its flags in memory, where no filter can look: ENOSYS makes libc use clone.
        json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS}),
    ];
    rules.extend(more.iter().cloned());
    rules.extend(FAMILIES.map(|value| {
        json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": value, "op": "SCMP_CMP_EQ"}]})
    }));
    rules.extend(PERSONALITIES.map(|value| {
        json!({"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": value, "op": "SCMP_CMP_EQ"}]})
    }));
    rules.extend(ioctl());
    json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": ENOSYS, "syscalls": rules})
}

/// All requests but a few. A rule without a condition would beat those that have one; this one always holds, and is
/// asked last.
fn ioctl() -> Vec<Value> {
    let rule = |action, args: Value| json!({"names": ["ioctl"], "action": action, "args": [args]});
    let refused = IOCTLS.map(|value| {
        let same = json!({"index": 1, "value": LOWER_HALF, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"});
        let mut refused = rule("SCMP_ACT_ERRNO", same);
        refused["errnoRet"] = json!(EPERM);
        refused
    });
    let rest = rule("SCMP_ACT_ALLOW", json!({"index": 1, "value": 0, "op": "SCMP_CMP_GE"}));
    refused.into_iter().chain([rest]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_both_allowed_and_refused() {
        for name in REFUSED.iter().chain(&[
            "clone",
            "clone3",
            "socket",
            "personality",
            "ioctl",
            "keyctl",
            "io_uring_setup",
        ]) {
            assert!(!ALLOWED.contains(name), "{name}");
        }
    }

    #[test]
    fn no_system_may_take_what_is_counted_for_the_whole_machine() {
        for name in ["io_setup", "io_uring_setup", "add_key", "keyctl"] {
            assert!(!ALLOWED.contains(&name) && !OF_SYSTEMS.contains(&name), "{name}");
        }
    }

    /// What the filter answers to `ioctl(0, request)`.
    fn ioctl_answer(profile: Value, request: u64) -> u32 {
        use crate::plan::seccomp::{compile, interpret};
        let filter = compile(&serde_json::from_value(profile).unwrap()).unwrap();
        let args = [0, request, 0, 0, 0, 0];
        let data = interpret::Data {
            arch: crate::sys::syscalls::AUDIT_ARCH_X86_64,
            number: libc::SYS_ioctl as u32,
            args,
        };
        interpret::run(&filter.program, &data).unwrap().0
    }

    #[test]
    fn requests_for_the_input_of_a_terminal_are_refused_whatever_stands_in_the_upper_half() {
        for profile in [profile(), system_profile()] {
            for request in IOCTLS {
                for upper in [0, 1 << 32, 0xffff_ffff << 32] {
                    let answer = ioctl_answer(profile.clone(), upper | request);
                    assert_eq!(answer, libc::SECCOMP_RET_ERRNO | EPERM, "{request:#x}");
                }
            }
            for request in [libc::TCGETS, libc::TIOCGWINSZ, libc::FIONREAD, libc::TIOCSCTTY, 0, u64::MAX] {
                assert_eq!(ioctl_answer(profile.clone(), request), libc::SECCOMP_RET_ALLOW, "{request:#x}");
            }
        }
    }

    #[test]
    fn the_profile_is_a_valid_oci_object() {
        let profile: oci_spec::runtime::LinuxSeccomp = serde_json::from_value(profile()).unwrap();
        assert_eq!(profile.default_errno_ret(), Some(ENOSYS));
    }
}
