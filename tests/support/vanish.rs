//! System calls that vanish: a kernel without them (ENOSYS), or an outer container whose filter denies them (EPERM).
//! The suite's own binary, called as `suite --without CALLS:ERRNO PROGRAM ARGUMENT…`, loads a filter and becomes the
//! program, which hands the filter on to all that it starts.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use isolate::sys::bpf::Instruction;
use isolate::sys::seccomp;

use super::session::session;

const FLAG: &str = "--without";

/// The calls that can vanish.
const CALLS: [(&str, i64); 8] = [
    ("openat2", libc::SYS_openat2),
    ("clone3", libc::SYS_clone3),
    ("mount_setattr", libc::SYS_mount_setattr),
    ("close_range", libc::SYS_close_range),
    ("open_tree", libc::SYS_open_tree),
    ("move_mount", libc::SYS_move_mount),
    ("fsopen", libc::SYS_fsopen),
    ("fsmount", libc::SYS_fsmount),
];

/// Becomes the program, if the suite was called that way; comes back only to tell that it could not.
pub fn become_program_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != FLAG {
        return None;
    }
    let words = arguments.next()?.into_string().ok()?;
    let (calls, errno) = words.split_once(':')?;
    let errno = if errno == "EPERM" { libc::EPERM } else { libc::ENOSYS };
    let program: Vec<OsString> = arguments.collect();
    seccomp::load(&filter(calls, errno), 0).expect("the filter is loaded");
    let error = Command::new(program.first()?).args(&program[1..]).exec();
    eprintln!("{}: {error}", program[0].display());
    Some(ExitCode::FAILURE)
}

/// The number is compared with each call's; a call of another architecture is none of ours.
fn filter(calls: &str, errno: i32) -> Vec<Instruction> {
    let code = |code: u32| code as u16;
    let deny = libc::SECCOMP_RET_ERRNO | errno as u32;
    let mut program =
        vec![Instruction { code: code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS), jt: 0, jf: 0, k: 0 }];
    for name in calls.split(',') {
        let (_, number) = CALLS.iter().find(|(known, _)| *known == name).expect("a call that can vanish");
        let compare = code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K);
        program.push(Instruction { code: compare, jt: 0, jf: 1, k: *number as u32 });
        program.push(Instruction { code: code(libc::BPF_RET | libc::BPF_K), jt: 0, jf: 0, k: deny });
    }
    program.push(Instruction {
        code: code(libc::BPF_RET | libc::BPF_K),
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    });
    program
}

/// A program that is the runtime under test without `calls`.
pub fn runtime_without(calls: &str, errno: &str) -> PathBuf {
    let folder = session().folder.join(super::session::unique("without"));
    fs::create_dir_all(&folder).unwrap();
    let program = folder.join("isolate");
    let suite = std::env::current_exe().unwrap();
    let (suite, runtime) = (suite.display(), session().runtime.display());
    let text = format!("#!/bin/sh\nexec '{suite}' {FLAG} {calls}:{errno} '{runtime}' \"$@\"\n");
    super::child::while_nothing_is_spawned(|| fs::write(&program, text).unwrap());
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

/// Runs the part of the suite whose names hold `part` with that program; gives the last line, `N passed, …`.
pub fn suite_with(runtime: &std::path::Path, part: &str) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    // Other containers of this run come and go meanwhile.
    command.arg(part).env("ISOLATE_TEST_RUNTIME", runtime).env("ISOLATE_TEST_SHARED_HOST", "1");
    let output = super::child::Run::start(&mut command).finish_within(std::time::Duration::from_secs(400));
    let last = output.stdout.lines().rfind(|line| line.ends_with("skipped")).unwrap_or_default().to_owned();
    assert!(last.contains(" 0 failed") && !last.starts_with("1 passed"), "{output}");
    last
}
