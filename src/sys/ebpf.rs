//! Extended BPF, as far as a cgroup's device filter needs it: one instruction, loading a program, attaching it to
//! a cgroup v2 folder beside those of others. The runtime process, with CAP_SYS_ADMIN (or CAP_BPF and
//! CAP_NET_ADMIN) in the initial user namespace.

#![allow(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Commands of bpf(2) (`enum bpf_cmd` of linux/bpf.h).
const PROG_LOAD: i32 = 5;
const PROG_ATTACH: i32 = 8;
const PROG_DETACH: i32 = 9;
const PROG_GET_FD_BY_ID: i32 = 13;
const OBJ_GET_INFO_BY_FD: i32 = 15;
const PROG_QUERY: i32 = 16;

/// `BPF_PROG_TYPE_CGROUP_DEVICE` and its place of attachment.
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;

/// Programs of other owners stay, above, below and in the same cgroup; each must allow.
const ALLOW_MULTI: u32 = 1 << 1;
/// KERNEL(5.6): in the place of another, in one step.
const REPLACE: u32 = 1 << 2;

/// The most programs one cgroup can have for one purpose (BPF_CGROUP_MAX_PROGS).
const MOST_PROGRAMS: usize = 64;

/// Bytes of a program's name, its final zero counted (BPF_OBJ_NAME_LEN).
pub const NAME_LENGTH: usize = 16;

/// One instruction, laid out as `struct bpf_insn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// What to do.
    pub code: u8,
    /// Destination register in the low four bits, source in the high ones.
    pub registers: u8,
    /// Offset: of memory in bytes, of a jump in instructions.
    pub offset: i16,
    /// The operand.
    pub immediate: i32,
}

const _: () = assert!(size_of::<Instruction>() == 8);

/// `union bpf_attr` of BPF_PROG_LOAD, up to what is used.
#[repr(C)]
#[derive(Default)]
struct Load {
    program_type: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; NAME_LENGTH],
    interface: u32,
    attach_type: u32,
}

/// The same of BPF_PROG_ATTACH and BPF_PROG_DETACH.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
    replaced: u32,
}

/// The same of BPF_PROG_QUERY.
#[repr(C)]
struct Query {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

/// The same of BPF_OBJ_GET_INFO_BY_FD.
#[repr(C)]
struct GetInfo {
    fd: u32,
    length: u32,
    info: u64,
}

/// `struct bpf_prog_info` up to the name.
#[repr(C)]
#[derive(Default)]
struct Info {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_length: u32,
    translated_length: u32,
    jited: u64,
    translated: u64,
    load_time: u64,
    created_by: u32,
    map_count: u32,
    maps: u64,
    name: [u8; NAME_LENGTH],
}

/// One call of bpf(2). The kernel only reads and writes what `attribute` and the addresses in it describe.
fn bpf<T>(command: i32, attribute: &mut T) -> nix::Result<i64> {
    let pointer = std::ptr::from_mut(attribute);
    // SAFETY: every caller in this file passes the structure of its command, whole and of this size; the addresses in
    // it are of slices that live until the call returns.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size_of::<T>()) };
    Errno::result(result)
}

fn new_descriptor(result: i64) -> nix::Result<OwnedFd> {
    let fd = i32::try_from(result).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor (with close-on-exec) and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn number(fd: impl AsFd) -> u32 {
    fd.as_fd().as_raw_fd().unsigned_abs()
}

/// Loads a device program under a name of at most 15 bytes.
///
/// # Errors
/// EPERM without the privilege, or because system calls are filtered; EINVAL, EACCES when the kernel's verifier
/// refuses the program; ENOSYS, EINVAL without CONFIG_CGROUP_BPF.
pub fn load_device_program(program: &[Instruction], name: &CStr) -> nix::Result<OwnedFd> {
    match load(program, name) {
        // KERNEL(5.11): before, programs counted against RLIMIT_MEMLOCK, which is soon used up with many of them.
        Err(Errno::EPERM) => with_unlimited_memlock(|| load(program, name)),
        result => result,
    }
}

fn load(program: &[Instruction], name: &CStr) -> nix::Result<OwnedFd> {
    let license = c"Apache-2.0";
    let mut attribute = Load {
        program_type: TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
        instructions: program.as_ptr().addr() as u64,
        license: license.as_ptr().addr() as u64,
        attach_type: ATTACH_CGROUP_DEVICE,
        ..Load::default()
    };
    for (place, byte) in attribute.name.iter_mut().take(NAME_LENGTH - 1).zip(name.to_bytes()) {
        *place = *byte;
    }
    bpf(PROG_LOAD, &mut attribute).and_then(new_descriptor)
}

fn with_unlimited_memlock<T>(act: impl FnOnce() -> nix::Result<T>) -> nix::Result<T> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    if setrlimit(Resource::RLIMIT_MEMLOCK, libc::RLIM_INFINITY, libc::RLIM_INFINITY).is_err() {
        return Err(Errno::EPERM);
    }
    let result = act();
    setrlimit(Resource::RLIMIT_MEMLOCK, soft, hard)?;
    result
}

/// Attaches a device program to a cgroup v2 folder, in the place of `replaced` if there is one. Programs of others
/// stay.
///
/// # Errors
/// EPERM when a cgroup above, or somebody's program here, admits no other; E2BIG with 64 programs.
pub fn attach_device_program(
    folder: impl AsFd,
    program: &OwnedFd,
    replaced: Option<&OwnedFd>,
) -> nix::Result<()> {
    let mut attribute = Attach {
        target: number(folder.as_fd()),
        program: number(program),
        attach_type: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI | if replaced.is_some() { REPLACE } else { 0 },
        replaced: replaced.map_or(0, number),
    };
    match (bpf(PROG_ATTACH, &mut attribute), replaced) {
        // A kernel without REPLACE: first the new one, so that there is no moment without any.
        (Err(Errno::EINVAL), Some(old)) => {
            attach_device_program(folder.as_fd(), program, None)?;
            detach(folder, old)
        }
        (result, _) => result.map(drop),
    }
}

fn detach(folder: impl AsFd, program: &OwnedFd) -> nix::Result<()> {
    let mut attribute = Attach {
        target: number(folder),
        program: number(program),
        attach_type: ATTACH_CGROUP_DEVICE,
        flags: 0,
        replaced: 0,
    };
    bpf(PROG_DETACH, &mut attribute).map(drop)
}

/// The device program of this name that is attached to a cgroup v2 folder itself.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN (or CAP_BPF).
pub fn find_device_program(folder: impl AsFd, name: &CStr) -> nix::Result<Option<OwnedFd>> {
    let mut ids = [0u32; MOST_PROGRAMS];
    let mut attribute = Query {
        target: number(folder),
        attach_type: ATTACH_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr().addr() as u64,
        count: MOST_PROGRAMS as u32,
        padding: 0,
    };
    bpf(PROG_QUERY, &mut attribute)?;
    let count = usize::try_from(attribute.count).unwrap_or(0);
    for id in ids.iter().take(count) {
        let program = match open(*id) {
            // Detached and gone between the two calls.
            Err(Errno::ENOENT) => continue,
            result => result?,
        };
        if self::name(&program)?.split(|byte| *byte == 0).next() == Some(name.to_bytes()) {
            return Ok(Some(program));
        }
    }
    Ok(None)
}

fn open(id: u32) -> nix::Result<OwnedFd> {
    // `prog_id`, then `next_id` and `open_flags`.
    bpf(PROG_GET_FD_BY_ID, &mut [id, 0, 0]).and_then(new_descriptor)
}

fn name(program: &OwnedFd) -> nix::Result<[u8; NAME_LENGTH]> {
    let mut info = Info::default();
    let mut attribute = GetInfo {
        fd: number(program),
        length: size_of::<Info>() as u32,
        info: std::ptr::from_mut(&mut info).addr() as u64,
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut attribute)?;
    Ok(info.name)
}
