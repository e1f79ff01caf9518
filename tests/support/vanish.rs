//! System calls that vanish: a kernel without them (ENOSYS), or an outer container whose filter denies them (EPERM).
//! The suite's own binary, called as `suite --without CALLS:ERRNO PROGRAM ARGUMENT…`, loads a filter and becomes the
//! program, which hands the filter on to all that it starts. `ISOLATE_TEST_WITHOUT=CALLS:ERRNO` runs the whole suite
//! that way, `tests/run without` the suite for each call in turn.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
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

/// Not a call, but one way to use it: setns(2) with several kinds at once, which only a pidfd can be meant by.
/// Linux 5.8; what an older one says is always EINVAL.
const SETNS_ON_PIDFD: &str = "setns-pidfd";

/// What the environment wants taken away from the whole suite: calls, and the errno in their place.
pub fn asked_for() -> Option<(String, String)> {
    let words = std::env::var("ISOLATE_TEST_WITHOUT").ok().filter(|words| !words.is_empty())?;
    let (calls, errno) = words.split_once(':').unwrap_or((&words, "ENOSYS"));
    Some((calls.to_owned(), errno.to_owned()))
}

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
    let compare = code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K);
    let answer = |k| Instruction { code: code(libc::BPF_RET | libc::BPF_K), jt: 0, jf: 0, k };
    for name in calls.split(',').filter(|name| *name != SETNS_ON_PIDFD) {
        let (_, number) = CALLS.iter().find(|(known, _)| *known == name).expect("a call that can vanish");
        program.push(Instruction { code: compare, jt: 0, jf: 1, k: *number as u32 });
        program.push(answer(deny));
    }
    if calls.split(',').any(|name| name == SETNS_ON_PIDFD) {
        // The second argument begins at byte 24 of seccomp_data. `jf` counts what is left to the last line.
        let kinds = [
            libc::CLONE_NEWUSER,
            libc::CLONE_NEWNS,
            libc::CLONE_NEWPID,
            libc::CLONE_NEWNET,
            libc::CLONE_NEWIPC,
            libc::CLONE_NEWUTS,
            libc::CLONE_NEWCGROUP,
            libc::CLONE_NEWTIME,
        ];
        let count = kinds.len() as u8;
        program.push(Instruction { code: compare, jt: 0, jf: count + 2, k: libc::SYS_setns as u32 });
        program.push(Instruction {
            code: code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS),
            jt: 0,
            jf: 0,
            k: 24,
        });
        for (left, kind) in (1..=count).rev().zip(kinds) {
            program.push(Instruction { code: compare, jt: left, jf: 0, k: kind as u32 });
        }
        program.push(answer(libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32));
    }
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    program
}

/// A program that is the runtime under test without `calls`.
pub fn runtime_without(calls: &str, errno: &str) -> PathBuf {
    program_without(&session().folder, &session().runtime, calls, errno)
}

/// The same for any program; the script lies in a folder of its own below `folder`.
pub fn program_without(folder: &Path, runtime: &Path, calls: &str, errno: &str) -> PathBuf {
    let folder = folder.join(super::session::unique("without"));
    fs::create_dir_all(&folder).unwrap();
    let program = folder.join("isolate");
    let suite = std::env::current_exe().unwrap();
    let (suite, runtime) = (suite.display(), runtime.display());
    let text = format!("#!/bin/sh\nexec '{suite}' {FLAG} {calls}:{errno} '{runtime}' \"$@\"\n");
    super::child::while_nothing_is_spawned(|| fs::write(&program, text).unwrap());
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

/// Runs the part of the suite whose names hold `part` with that program; gives the last line, `N passed, …`.
pub fn suite_with(runtime: &Path, part: &str) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    // Other containers of this run come and go meanwhile.
    command.arg(part).env("ISOLATE_TEST_RUNTIME", runtime).env("ISOLATE_TEST_SHARED_HOST", "1");
    command.env_remove("ISOLATE_TEST_ONLY").env_remove("ISOLATE_TEST_WITHOUT");
    let output = super::child::Run::start(&mut command).finish_within(std::time::Duration::from_secs(400));
    suite_summary(&output)
}

/// The last line of a run of a part of the suite, of which no test failed and at least one passed.
#[track_caller]
pub fn suite_summary(output: &super::child::Output) -> String {
    let last = output.stdout.lines().rfind(|line| line.ends_with("skipped")).unwrap_or_default().to_owned();
    assert!(last.contains(" 0 failed") && !last.starts_with("1 passed"), "{output}");
    last
}
