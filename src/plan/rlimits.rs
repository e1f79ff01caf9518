//! `process.rlimits`: names to numbers (setrlimit(2)). Pure.

use oci_spec::runtime::PosixRlimitType as Type;

/// The name and the number of a limit.
pub fn resource(limit: Type) -> (&'static str, u32) {
    match limit {
        Type::RlimitCpu => ("RLIMIT_CPU", libc::RLIMIT_CPU),
        Type::RlimitFsize => ("RLIMIT_FSIZE", libc::RLIMIT_FSIZE),
        Type::RlimitData => ("RLIMIT_DATA", libc::RLIMIT_DATA),
        Type::RlimitStack => ("RLIMIT_STACK", libc::RLIMIT_STACK),
        Type::RlimitCore => ("RLIMIT_CORE", libc::RLIMIT_CORE),
        Type::RlimitRss => ("RLIMIT_RSS", libc::RLIMIT_RSS),
        Type::RlimitNproc => ("RLIMIT_NPROC", libc::RLIMIT_NPROC),
        Type::RlimitNofile => ("RLIMIT_NOFILE", libc::RLIMIT_NOFILE),
        Type::RlimitMemlock => ("RLIMIT_MEMLOCK", libc::RLIMIT_MEMLOCK),
        Type::RlimitAs => ("RLIMIT_AS", libc::RLIMIT_AS),
        Type::RlimitLocks => ("RLIMIT_LOCKS", libc::RLIMIT_LOCKS),
        Type::RlimitSigpending => ("RLIMIT_SIGPENDING", libc::RLIMIT_SIGPENDING),
        Type::RlimitMsgqueue => ("RLIMIT_MSGQUEUE", libc::RLIMIT_MSGQUEUE),
        Type::RlimitNice => ("RLIMIT_NICE", libc::RLIMIT_NICE),
        Type::RlimitRtprio => ("RLIMIT_RTPRIO", libc::RLIMIT_RTPRIO),
        Type::RlimitRttime => ("RLIMIT_RTTIME", libc::RLIMIT_RTTIME),
    }
}
