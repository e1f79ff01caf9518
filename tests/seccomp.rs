//! Filters in a real kernel. A filter binds the thread that loads it, so each test loads its own in a thread.

#![allow(clippy::unwrap_used)]

use std::os::unix::process::parent_id;
use std::thread;

use isolate::plan::seccomp::compile;
use isolate::sys::seccomp::load;
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use serde_json::{Value, json};

/// Runs `test` in a thread that has loaded `profile`.
fn under<T: Send + 'static>(profile: Value, test: impl FnOnce() -> T + Send + 'static) -> T {
    let config = serde_json::from_value(profile).unwrap();
    let filter = compile(&config).unwrap();
    let confined = move || {
        if !nix::unistd::geteuid().is_root() {
            // Without CAP_SYS_ADMIN the kernel takes no filter otherwise; `load` must not do this itself.
            prctl::set_no_new_privs().unwrap();
        }
        load(&filter.program, filter.flags).unwrap();
        test()
    };
    thread::spawn(confined).join().unwrap()
}

#[test]
fn a_denied_call_gives_its_errno_and_no_new_privs_stays_as_it_was() {
    let before = prctl::get_no_new_privs().unwrap();
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls":
        [{"names": ["getppid"], "action": "SCMP_ACT_ERRNO"}]});
    let (parent, after) = under(profile, || (parent_id(), prctl::get_no_new_privs().unwrap()));
    // The C library hands on what the kernel returned, since getppid cannot fail.
    assert_eq!(parent.cast_signed(), -libc::EPERM);
    if nix::unistd::geteuid().is_root() {
        assert_eq!(after, before);
    } else {
        println!("not root: no_new_privs had to be set for the test, so that it stays unset is not tested");
    }
}

#[test]
fn conditions_on_arguments_bite() {
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::EAFNOSUPPORT,
         "args": [{"index": 0, "value": libc::AF_NETLINK, "op": "SCMP_CMP_EQ"}]},
        {"names": ["ftruncate"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::EFBIG,
         "args": [{"index": 1, "value": 0xffff_ffff_u32, "op": "SCMP_CMP_GT"}]},
    ]});
    let file = tempfile::tempfile().unwrap();
    let resize = move |length| file.set_len(length).map_err(|error| error.raw_os_error());
    let open = |family| socket(family, SockType::Datagram, SockFlag::empty(), None).map(drop);
    let (netlink, unix) =
        under(profile.clone(), move || (open(AddressFamily::Netlink), open(AddressFamily::Unix)));
    let (large, small) = under(profile, move || (resize(1 << 32), resize(0xffff_ffff)));
    assert_eq!(netlink, Err(Errno::EAFNOSUPPORT));
    assert_eq!(unix, Ok(()));
    assert_eq!(large, Err(Some(libc::EFBIG)));
    assert_eq!(small, Ok(()));
}

#[test]
fn calls_newer_than_the_profile_are_unknown_to_the_program() {
    let allowed = json!({"names": ["read", "write", "mmap", "munmap", "mprotect", "madvise", "futex", "exit",
        "sigaltstack", "rt_sigprocmask", "brk", "rseq", "set_robust_list", "getppid"], "action": "SCMP_ACT_ALLOW"});
    let profile = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [allowed]});
    let (newer, older) = under(profile, || {
        let newer = nix::fcntl::openat2(nix::fcntl::AT_FDCWD, "/", nix::fcntl::OpenHow::new()).map(drop);
        (newer, nix::unistd::setsid().map(drop))
    });
    assert_eq!(newer, Err(Errno::ENOSYS));
    assert_eq!(older, Err(Errno::EPERM));
}

#[test]
fn podmans_profile_loads_and_lets_ordinary_calls_pass() {
    let profile = serde_json::from_str(include_str!("data/seccomp/podman.json")).unwrap();
    let (parent, unshared) =
        under(profile, || (parent_id(), nix::sched::unshare(nix::sched::CloneFlags::empty())));
    assert_eq!(parent, parent_id());
    assert_eq!(unshared, Ok(()));
}
