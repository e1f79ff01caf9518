//! What runtime-spec 1.3 lets stand where, as a table: config.md, config-linux.md. Pure data.
//!
//! One row a property, in the order of the specification's own schema; [`super::shape`] walks it. Which
//! values go together is not said here but in [`super::validate`].

use super::shape::Shape::{Bool, Capability, Foreign, Integer, List, Map, NumberList, Object, OneOf, Text};
use super::shape::{Field, Presence, Shape};

const U16: Shape = Integer(0, u16::MAX as i128);
const U32: Shape = Integer(0, u32::MAX as i128);
const U64: Shape = Integer(0, u64::MAX as i128);
const I32: Shape = Integer(i32::MIN as i128, i32::MAX as i128);
const I64: Shape = Integer(i64::MIN as i128, i64::MAX as i128);
const TEXTS: Shape = List(&Text);

const fn may(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, presence: Presence::Optional }
}

const fn must(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, presence: Presence::Required }
}

/// The whole of `config.json`.
pub const SPEC: Shape = Object(&[
    must("ociVersion", Text),
    may("root", Object(&[may("path", Text), may("readonly", Bool)])),
    may("mounts", List(&MOUNT)),
    may("process", PROCESS),
    may("hostname", Text),
    may("domainname", Text),
    may("hooks", HOOKS),
    may("annotations", Map(&Text)),
    may("linux", LINUX),
    may("solaris", Foreign),
    may("windows", Foreign),
    may("vm", Foreign),
    may("zos", Foreign),
    may("freebsd", Foreign),
]);

/// The `process` object, also a file of its own for `exec --process`.
pub const PROCESS: Shape = Object(&[
    may("terminal", Bool),
    may("consoleSize", Object(&[may("height", U64), may("width", U64)])),
    Field { name: "user", shape: USER, presence: Presence::Defaulted },
    may("args", TEXTS),
    may("commandLine", Text),
    may("env", TEXTS),
    must("cwd", Text),
    may("capabilities", CAPABILITIES),
    may("rlimits", List(&RLIMIT)),
    may("noNewPrivileges", Bool),
    may("apparmorProfile", Text),
    may("oomScoreAdj", I32),
    may("selinuxLabel", Text),
    may("ioPriority", IO_PRIORITY),
    may("scheduler", SCHEDULER),
    may("execCPUAffinity", Object(&[may("initial", NumberList), may("final", NumberList)])),
]);

const USER: Shape = Object(&[
    may("uid", U32),
    may("gid", U32),
    may("umask", U32),
    may("additionalGids", List(&U32)),
    may("username", Text),
]);

const CAPABILITY_SET: Shape = List(&Capability);

const CAPABILITIES: Shape = Object(&[
    may("bounding", CAPABILITY_SET),
    may("effective", CAPABILITY_SET),
    may("inheritable", CAPABILITY_SET),
    may("permitted", CAPABILITY_SET),
    may("ambient", CAPABILITY_SET),
]);

const RLIMIT: Shape = Object(&[must("type", RLIMIT_TYPE), may("hard", U64), may("soft", U64)]);

const RLIMIT_TYPE: Shape = OneOf(
    "resource limit",
    &[
        "RLIMIT_CPU",
        "RLIMIT_FSIZE",
        "RLIMIT_DATA",
        "RLIMIT_STACK",
        "RLIMIT_CORE",
        "RLIMIT_RSS",
        "RLIMIT_NPROC",
        "RLIMIT_NOFILE",
        "RLIMIT_MEMLOCK",
        "RLIMIT_AS",
        "RLIMIT_LOCKS",
        "RLIMIT_SIGPENDING",
        "RLIMIT_MSGQUEUE",
        "RLIMIT_NICE",
        "RLIMIT_RTPRIO",
        "RLIMIT_RTTIME",
    ],
);

const IO_PRIORITY: Shape = Object(&[
    may("class", OneOf("I/O class", &["IOPRIO_CLASS_BE", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_IDLE"])),
    may("priority", I64),
]);

const SCHEDULER: Shape = Object(&[
    must(
        "policy",
        OneOf(
            "scheduling policy",
            &[
                "SCHED_OTHER",
                "SCHED_FIFO",
                "SCHED_RR",
                "SCHED_BATCH",
                "SCHED_ISO",
                "SCHED_IDLE",
                "SCHED_DEADLINE",
            ],
        ),
    ),
    may("nice", I32),
    may("priority", I32),
    may("flags", List(&OneOf("scheduling flag", &SCHEDULER_FLAGS))),
    may("runtime", U64),
    may("deadline", U64),
    may("period", U64),
]);

/// The specification's names of the scheduling flags.
const SCHEDULER_FLAGS: [&str; 7] = [
    "SCHED_FLAG_RESET_ON_FORK",
    "SCHED_FLAG_RECLAIM",
    "SCHED_FLAG_DL_OVERRUN",
    "SCHED_FLAG_KEEP_POLICY",
    "SCHED_FLAG_KEEP_PARAMS",
    "SCHED_FLAG_UTIL_CLAMP_MIN",
    "SCHED_FLAG_UTIL_CLAMP_MAX",
];

const MOUNT: Shape = Object(&[
    must("destination", Text),
    may("type", Text),
    may("source", Text),
    may("options", TEXTS),
    may("uidMappings", List(&ID_MAPPING)),
    may("gidMappings", List(&ID_MAPPING)),
]);

const ID_MAPPING: Shape = Object(&[may("containerID", U32), may("hostID", U32), may("size", U32)]);

const HOOKS: Shape = Object(&[
    may("prestart", List(&HOOK)),
    may("createRuntime", List(&HOOK)),
    may("createContainer", List(&HOOK)),
    may("startContainer", List(&HOOK)),
    may("poststart", List(&HOOK)),
    may("poststop", List(&HOOK)),
]);

const HOOK: Shape = Object(&[must("path", Text), may("args", TEXTS), may("env", TEXTS), may("timeout", I64)]);

const LINUX: Shape = Object(&[
    may("netDevices", Map(&Object(&[may("name", Text)]))),
    may("uidMappings", List(&ID_MAPPING)),
    may("gidMappings", List(&ID_MAPPING)),
    may("sysctl", Map(&Text)),
    may("resources", RESOURCES),
    may("cgroupsPath", Text),
    may("namespaces", List(&NAMESPACE)),
    may("devices", List(&DEVICE)),
    may("seccomp", SECCOMP),
    may("rootfsPropagation", Text),
    may("maskedPaths", TEXTS),
    may("readonlyPaths", TEXTS),
    may("mountLabel", Text),
    may(
        "intelRdt",
        Object(&[
            may("closID", Text),
            may("schemata", TEXTS),
            may("l3CacheSchema", Text),
            may("memBwSchema", Text),
            may("enableMonitoring", Bool),
        ]),
    ),
    may("memoryPolicy", MEMORY_POLICY),
    may(
        "personality",
        Object(&[must("domain", OneOf("personality", &["LINUX", "LINUX32"])), may("flags", TEXTS)]),
    ),
    may("timeOffsets", Map(&Object(&[may("secs", I64), may("nanosecs", U32)]))),
]);

const NAMESPACE: Shape = Object(&[
    must(
        "type",
        OneOf("namespace type", &["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"]),
    ),
    may("path", Text),
]);

const DEVICE: Shape = Object(&[
    may("path", Text),
    must("type", OneOf("type of a device node", &["c", "b", "u", "p"])),
    may("major", I64),
    may("minor", I64),
    may("fileMode", U32),
    may("uid", U32),
    may("gid", U32),
]);

const MEMORY_POLICY: Shape = Object(&[
    must(
        "mode",
        OneOf(
            "memory policy",
            &[
                "MPOL_DEFAULT",
                "MPOL_BIND",
                "MPOL_INTERLEAVE",
                "MPOL_WEIGHTED_INTERLEAVE",
                "MPOL_PREFERRED",
                "MPOL_PREFERRED_MANY",
                "MPOL_LOCAL",
            ],
        ),
    ),
    may("nodes", NumberList),
    may(
        "flags",
        List(&OneOf(
            "memory policy flag",
            &["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"],
        )),
    ),
]);

/// `linux.resources`, also a document of its own for `update --resources`.
pub const RESOURCES: Shape = Object(&[
    may("devices", List(&DEVICE_RULE)),
    may("memory", MEMORY),
    may("cpu", CPU),
    may("pids", Object(&[may("limit", I64)])),
    may("blockIO", BLOCK_IO),
    may("hugepageLimits", List(&Object(&[may("pageSize", Text), may("limit", I64)]))),
    may("network", NETWORK),
    may("rdma", Map(&Object(&[may("hcaHandles", U32), may("hcaObjects", U32)]))),
    may("unified", Map(&Text)),
]);

const DEVICE_RULE: Shape = Object(&[
    may("allow", Bool),
    may("type", OneOf("device type", &["a", "c", "b", "u", "p"])),
    may("major", I64),
    may("minor", I64),
    may("access", Text),
]);

const MEMORY: Shape = Object(&[
    may("limit", I64),
    may("reservation", I64),
    may("swap", I64),
    may("kernel", I64),
    may("kernelTCP", I64),
    may("swappiness", U64),
    may("disableOOMKiller", Bool),
    may("useHierarchy", Bool),
    may("checkBeforeUpdate", Bool),
]);

const CPU: Shape = Object(&[
    may("shares", U64),
    may("quota", I64),
    may("idle", I64),
    may("burst", U64),
    may("period", U64),
    may("realtimeRuntime", I64),
    may("realtimePeriod", U64),
    may("cpus", Text),
    may("mems", Text),
]);

const BLOCK_IO: Shape = Object(&[
    may("weight", U16),
    may("leafWeight", U16),
    may("weightDevice", List(&WEIGHT_DEVICE)),
    may("throttleReadBpsDevice", List(&THROTTLE_DEVICE)),
    may("throttleWriteBpsDevice", List(&THROTTLE_DEVICE)),
    may("throttleReadIOPSDevice", List(&THROTTLE_DEVICE)),
    may("throttleWriteIOPSDevice", List(&THROTTLE_DEVICE)),
]);

const WEIGHT_DEVICE: Shape =
    Object(&[may("major", I64), may("minor", I64), may("weight", U16), may("leafWeight", U16)]);

const THROTTLE_DEVICE: Shape = Object(&[may("major", I64), may("minor", I64), may("rate", U64)]);

const NETWORK: Shape = Object(&[
    may("classID", U32),
    may("priorities", List(&Object(&[may("name", Text), may("priority", U32)]))),
]);

const SECCOMP: Shape = Object(&[
    must("defaultAction", SECCOMP_ACTION),
    may("defaultErrnoRet", U32),
    may("architectures", List(&SECCOMP_ARCH)),
    may("flags", List(&SECCOMP_FLAG)),
    may("listenerPath", Text),
    may("listenerMetadata", Text),
    may("syscalls", List(&SECCOMP_SYSCALL)),
]);

const SECCOMP_ACTION: Shape = OneOf(
    "seccomp action",
    &[
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_KILL_THREAD",
        "SCMP_ACT_LOG",
        "SCMP_ACT_NOTIFY",
        "SCMP_ACT_TRACE",
        "SCMP_ACT_TRAP",
    ],
);

const SECCOMP_ARCH: Shape = OneOf(
    "seccomp architecture",
    &[
        "SCMP_ARCH_NATIVE",
        "SCMP_ARCH_X86",
        "SCMP_ARCH_X86_64",
        "SCMP_ARCH_X32",
        "SCMP_ARCH_ARM",
        "SCMP_ARCH_AARCH64",
        "SCMP_ARCH_MIPS",
        "SCMP_ARCH_MIPS64",
        "SCMP_ARCH_MIPS64N32",
        "SCMP_ARCH_MIPSEL",
        "SCMP_ARCH_MIPSEL64",
        "SCMP_ARCH_MIPSEL64N32",
        "SCMP_ARCH_PPC",
        "SCMP_ARCH_PPC64",
        "SCMP_ARCH_PPC64LE",
        "SCMP_ARCH_S390",
        "SCMP_ARCH_S390X",
        "SCMP_ARCH_PARISC",
        "SCMP_ARCH_PARISC64",
        "SCMP_ARCH_RISCV64",
        "SCMP_ARCH_LOONGARCH64",
        "SCMP_ARCH_M68K",
        "SCMP_ARCH_SH",
        "SCMP_ARCH_SHEB",
    ],
);

const SECCOMP_FLAG: Shape = OneOf(
    "seccomp flag",
    &[
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    ],
);

const SECCOMP_SYSCALL: Shape = Object(&[
    must("names", TEXTS),
    must("action", SECCOMP_ACTION),
    may("errnoRet", U32),
    may("args", List(&SECCOMP_ARG)),
]);

const SECCOMP_ARG: Shape = Object(&[
    must("index", U32),
    must("value", U64),
    may("valueTwo", U64),
    must(
        "op",
        OneOf(
            "seccomp operator",
            &[
                "SCMP_CMP_NE",
                "SCMP_CMP_LT",
                "SCMP_CMP_LE",
                "SCMP_CMP_EQ",
                "SCMP_CMP_GE",
                "SCMP_CMP_GT",
                "SCMP_CMP_MASKED_EQ",
            ],
        ),
    ),
]);
