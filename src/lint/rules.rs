//! The rules by name: what each gives an attacker, and what to write instead. Plain data.

use serde::Serialize;

/// One kind of weakness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// How it is called.
    pub name: &'static str,
    /// What is looked for.
    pub about: &'static str,
    /// What an attacker in the container gains.
    pub gain: &'static str,
    /// What to write instead.
    pub instead: &'static str,
}

macro_rules! rules {
    ($($constant:ident $name:literal: $about:literal, $gain:literal, $instead:literal;)*) => {
        $(pub(super) const $constant: &Rule = &Rule { name: $name, about: $about, gain: $gain, instead: $instead };)*
        /// Every rule.
        pub const RULES: &[&Rule] = &[$($constant),*];
    };
}

rules! {
    USER_NAMESPACE "user-namespace": "root inside is root outside",
        "every file and process it reaches by another fault obeys it as root; files it leaves are root's",
        "add {\"type\": \"user\"} to linux.namespaces, and map ids that belong to nobody";
    PID_NAMESPACE "pid-namespace": "the host's processes are in sight",
        "it sees the command lines of all processes, and signals those of its user; root's with CAP_KILL",
        "add {\"type\": \"pid\"} to linux.namespaces";
    NETWORK_NAMESPACE "network-namespace": "the host's network",
        "it talks to services that listen on the loopback address and on abstract sockets",
        "add {\"type\": \"network\"} to linux.namespaces, and let an engine connect it";
    IPC_NAMESPACE "ipc-namespace": "the host's System V IPC and message queues",
        "it reads and writes shared memory of the host's programs",
        "add {\"type\": \"ipc\"} to linux.namespaces";
    UTS_NAMESPACE "uts-namespace": "the host's name",
        "with CAP_SYS_ADMIN it renames the host",
        "add {\"type\": \"uts\"} to linux.namespaces";
    CGROUP_NAMESPACE "cgroup-namespace": "the host's cgroup paths are in sight",
        "it learns how the host names and nests what runs on it; a fault in cgroup mounts shows all of it",
        "add {\"type\": \"cgroup\"} to linux.namespaces";
    MOUNT_NAMESPACE "mount-namespace": "a root by chroot alone",
        "with CAP_SYS_CHROOT it leaves the root by a second chroot, and has all files of the host",
        "add {\"type\": \"mount\"} to linux.namespaces";
    CAP_SYS_ADMIN "cap-sys-admin": "CAP_SYS_ADMIN",
        "it mounts: a procfs without masks, whose settings make the host's kernel run its programs; disks; cgroups",
        "remove CAP_SYS_ADMIN, or add a user namespace, in which it counts less";
    CAP_SYS_PTRACE "cap-sys-ptrace": "CAP_SYS_PTRACE",
        "it reads and changes every process in sight, and the files these have open",
        "remove CAP_SYS_PTRACE; debuggers of the same user do not need it";
    CAP_SYS_MODULE "cap-sys-module": "CAP_SYS_MODULE",
        "it loads a module of its own into the host's kernel",
        "remove CAP_SYS_MODULE, and load modules on the host";
    CAP_DAC_READ_SEARCH "cap-dac-read-search": "CAP_DAC_READ_SEARCH",
        "it opens any file of the file system that its root lies on, by its handle, outside of the root too",
        "remove CAP_DAC_READ_SEARCH";
    CAP_SYS_RAWIO "cap-sys-rawio": "CAP_SYS_RAWIO",
        "it talks to the hardware by I/O ports, and reads the kernel's memory",
        "remove CAP_SYS_RAWIO";
    CAP_MKNOD "cap-mknod": "CAP_MKNOD",
        "it makes nodes of any device that the device rules let it use",
        "remove CAP_MKNOD, and list the devices it needs in linux.devices";
    CAP_NET_ADMIN "cap-net-admin": "CAP_NET_ADMIN",
        "it changes addresses, routes and filters of the network namespace it is in",
        "remove CAP_NET_ADMIN, or give it a network namespace";
    CAP_NET_RAW "cap-net-raw": "CAP_NET_RAW",
        "it reads all packets of the network namespace it is in, and forges others' addresses",
        "remove CAP_NET_RAW; ping works without it (net.ipv4.ping_group_range)";
    CAP_BPF "cap-bpf": "CAP_BPF",
        "it loads BPF programs into the host's kernel",
        "remove CAP_BPF";
    CAP_PERFMON "cap-perfmon": "CAP_PERFMON",
        "it measures the kernel and other processes, whose secrets such measurements show",
        "remove CAP_PERFMON";
    CAP_SYSLOG "cap-syslog": "CAP_SYSLOG",
        "it reads and clears the kernel's log, which has addresses that help an exploit",
        "remove CAP_SYSLOG";
    CAP_SYS_TIME "cap-sys-time": "CAP_SYS_TIME",
        "it sets the host's clock",
        "remove CAP_SYS_TIME, and set the time on the host";
    CAP_SYS_BOOT "cap-sys-boot": "CAP_SYS_BOOT",
        "it loads another kernel to be booted by the host (kexec)",
        "remove CAP_SYS_BOOT";
    CAP_SYS_RESOURCE "cap-sys-resource": "CAP_SYS_RESOURCE",
        "it raises its own limits: open files, message queues, pipes, and writes where quotas and reserves end",
        "remove CAP_SYS_RESOURCE, and set process.rlimits as high as is needed";
    AMBIENT "ambient-capabilities": "ambient capabilities",
        "every program it starts keeps them, also those that were never meant to",
        "remove process.capabilities.ambient, or give the program file capabilities";
    INHERITABLE "inheritable-capabilities": "inheritable capabilities",
        "a program file with inheritable file capabilities gives them to a user who has none (CVE-2022-24769)",
        "remove process.capabilities.inheritable";
    NEW_PRIVILEGES "new-privileges": "noNewPrivileges is off",
        "an ordinary user inside becomes root by a set-user-id program of the image",
        "set process.noNewPrivileges to true";
    GROUPS "powerful-group": "a group of the host that has power",
        "it opens what that group may: disks, the socket of a container engine, password hashes",
        "remove the number from process.user.additionalGids (or gid)";
    LABEL "no-label": "the host's security module is not used",
        "AppArmor or SELinux would hold when all else fails, and does nothing here",
        "set process.apparmorProfile or process.selinuxLabel";
    NO_SECCOMP "no-seccomp": "no system-call filter",
        "it reaches every system call of the kernel, those with a history of faults included",
        "add linux.seccomp with an allow list; 'isolate try' and engines have one";
    SECCOMP_DEFAULT "seccomp-default-allow": "calls that no rule names are allowed",
        "each new kernel brings calls that nobody has judged, and they are open",
        "set linux.seccomp.defaultAction to SCMP_ACT_ERRNO, and name what is allowed";
    CALL_KEYRING "call-keyring": "keyctl, add_key or request_key is allowed",
        "keyrings know no namespace but that of users: it fills the quota of its user, whose others then get no key",
        "do not allow keyctl, add_key and request_key";
    CALL_BPF "call-bpf": "bpf is allowed",
        "it reaches the BPF verifier, and with CAP_BPF or a lenient kernel loads programs",
        "do not allow bpf";
    CALL_USERFAULTFD "call-userfaultfd": "userfaultfd is allowed",
        "it can stop the kernel at a memory access of its choice, which makes races in the kernel easy to win",
        "do not allow userfaultfd";
    CALL_PTRACE "call-ptrace": "ptrace is allowed",
        "it changes other programs of its user in the container while they run",
        "do not allow ptrace where no debugger is needed";
    CALL_USER_NAMESPACE "call-user-namespace": "user namespaces can be made inside",
        "it becomes root of a namespace of its own, and reaches mounts, packet filters and more of the kernel as such",
        "allow clone only with SCMP_CMP_MASKED_EQ on its flags, refuse unshare, and answer clone3 with ENOSYS";
    CALL_TIOCSTI "call-tiocsti": "the ioctl TIOCSTI is allowed",
        "it types into a terminal that it shares with a caller (CVE-2016-10124)",
        "refuse ioctl with 0x5412 as its second argument";
    CALL_IO_URING "call-io-uring": "io_uring is allowed",
        "it does input and output that no seccomp filter sees, by code of the kernel that has had many faults",
        "do not allow io_uring_setup, io_uring_enter and io_uring_register";
    CALL_PERF "call-perf": "perf_event_open is allowed",
        "it reaches the kernel's performance counters, which have a history of faults and of leaks",
        "do not allow perf_event_open";
    KCORE "proc-kcore": "/proc/kcore is not masked",
        "with CAP_SYS_RAWIO it reads all memory of the host",
        "add /proc/kcore to linux.maskedPaths";
    UNMASKED "unmasked-path": "a path with the host's facts is not masked",
        "it reads what the kernel tells of the host: its keys, timers, firmware tables",
        "add the path to linux.maskedPaths";
    PROC_SYS "proc-sys": "/proc/sys is writable",
        "it changes settings of the host's kernel, such as the program that handles crashes, and is root of the host",
        "add /proc/sys to linux.readonlyPaths";
    SYSRQ "proc-sysrq": "/proc/sysrq-trigger is writable",
        "it restarts or stops the host with one letter",
        "add /proc/sysrq-trigger to linux.readonlyPaths";
    SYSFS "sysfs-writable": "/sys is writable",
        "it changes devices and settings of the host",
        "add \"ro\" to the options of the sysfs mount";
    CGROUP_WRITABLE "cgroup-writable": "the cgroup mount is writable",
        "it raises its own limits; with CAP_SYS_ADMIN on cgroup v1 it names a program that the host runs (CVE-2022-0492)",
        "add \"ro\" to the options of the cgroup mount, or add a user namespace";
    HOST_PATH "host-path-writable": "a folder of the host's system is writable",
        "it changes programs, accounts or devices of the host",
        "bind a folder made for the container, or add \"ro\"";
    HOST_SECRETS "host-path-readable": "a folder with the host's secrets is in sight",
        "it reads password hashes, keys and tokens of the host",
        "bind only the files it needs";
    SOCKET "engine-socket": "the socket of a service that rules the host",
        "it asks that service for a container with all of the host, or for a program as root; \"ro\" does not hinder it",
        "do not bind the socket";
    PROPAGATION "shared-propagation": "mounts made inside appear outside",
        "with CAP_SYS_ADMIN it mounts over folders of the host",
        "write \"rprivate\" or \"rslave\" instead of \"shared\" and \"rshared\"";
    SETUID_BIND "bind-setuid": "set-user-id programs of a bound folder count",
        "an ordinary user inside becomes root inside by a program that the host, or another container, left there",
        "add \"nosuid\" to the options, or set process.noNewPrivileges";
    ROOT_WRITABLE "root-writable": "the root is writable",
        "what breaks into the program can replace it and its libraries, for good",
        "set root.readonly to true, and mount what must be written";
    DEVICES_ALL "devices-all": "device rules that allow everything",
        "each device node it gets is open: the host's disks, its memory",
        "begin linux.resources.devices with {\"allow\": false, \"access\": \"rwm\"}, and allow single devices";
    BLOCK_DEVICE "block-device": "a disk of the host",
        "it reads and writes the file system below its permissions, and the kernel parses what it wrote",
        "bind a folder of the mounted file system instead";
    NO_PIDS "no-pids-limit": "no limit on processes",
        "a fork bomb takes all process numbers of the host",
        "set linux.resources.pids.limit";
    NO_MEMORY "no-memory-limit": "no limit on memory",
        "it takes all memory of the host, and the kernel ends others' programs",
        "set linux.resources.memory.limit";
    HOOK "hook-writable": "others may replace a hook's program",
        "it writes a program that the runtime executes on the host, with the caller's rights",
        "keep the hook in a folder that only root or the caller may write, and that no writable bind shows";
}
