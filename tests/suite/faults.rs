//! The runtime killed at each of its system calls, and each of them failing: after that there is one clear error or
//! success, `delete --force` cleans up completely, and another container is as it was. A sample of the calls here;
//! `tests/faults` takes them all.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use nix::errno::Errno;
use serde_json::json;

use crate::support::tracer::{self, Call, Fault};
use crate::support::*;
use crate::tests;

tests![
    create_stands_any_death needs [Need::Isolate],
    create_stands_any_failure needs [Need::Isolate],
    run_stands_any_death needs [Need::Isolate],
    run_stands_any_failure_and_gives_no_more_than_without needs [Need::Isolate],
    start_stands_any_death_and_failure needs [Need::Isolate],
    exec_stands_any_death needs [Need::Isolate],
    exec_stands_any_failure_and_gives_no_more_than_without needs [Need::Isolate],
    pause_and_resume_stand_any_death_and_failure needs [Need::Root, Need::Isolate, Need::Cgroup("freezer")],
    update_stands_any_death_and_failure needs [Need::Root, Need::Isolate, Need::Cgroup("pids")],
    kill_stands_any_death_and_failure needs [Need::Isolate],
    delete_stands_any_death_and_failure needs [Need::Isolate],
    a_full_disk_below_the_state_root_is_told_and_cleaned_up needs [Need::Root, Need::Isolate],
    a_state_that_is_cut_or_garbage_is_told_and_cleaned_up needs [Need::Isolate],
];

/// Every how many-th call is taken: ISOLATE_TEST_FAULTS=1 takes them all.
fn stride(sample: usize, calls: usize) -> usize {
    match std::env::var("ISOLATE_TEST_FAULTS").ok().and_then(|text| text.parse().ok()) {
        Some(stride) => stride,
        None => (calls / sample).max(1),
    }
}

/// How many calls of each command the suite takes without being told more.
const SAMPLE: usize = 24;

/// Errors that the call can really give, by its number; none for those that cannot fail, or where there is nothing
/// that anybody could do (memory of our own).
fn errors(number: i64) -> &'static [Errno] {
    match number {
        libc::SYS_read | libc::SYS_pread64 | libc::SYS_getdents64 => &[Errno::EIO],
        libc::SYS_write => &[Errno::ENOSPC, Errno::EIO],
        libc::SYS_open | libc::SYS_openat | libc::SYS_openat2 => &[Errno::EMFILE, Errno::EACCES],
        libc::SYS_mkdir | libc::SYS_mkdirat | libc::SYS_symlinkat | libc::SYS_mknodat => {
            &[Errno::ENOSPC, Errno::EROFS]
        }
        libc::SYS_rename | libc::SYS_renameat | libc::SYS_renameat2 => &[Errno::ENOSPC],
        libc::SYS_unlink | libc::SYS_unlinkat | libc::SYS_rmdir => &[Errno::EBUSY],
        libc::SYS_mount | libc::SYS_move_mount | libc::SYS_open_tree | libc::SYS_mount_setattr => {
            &[Errno::ENOMEM, Errno::EPERM]
        }
        libc::SYS_fsopen
        | libc::SYS_fsconfig
        | libc::SYS_fsmount
        | libc::SYS_pivot_root
        | libc::SYS_umount2 => &[Errno::ENOMEM],
        libc::SYS_clone | libc::SYS_clone3 | libc::SYS_fork => &[Errno::EAGAIN, Errno::ENOMEM],
        libc::SYS_execve | libc::SYS_execveat => &[Errno::ENOMEM, Errno::EACCES],
        libc::SYS_socket
        | libc::SYS_socketpair
        | libc::SYS_pipe2
        | libc::SYS_memfd_create
        | libc::SYS_dup
        | libc::SYS_dup3
        | libc::SYS_pidfd_open
        | libc::SYS_signalfd4
        | libc::SYS_epoll_create1
        | libc::SYS_timerfd_create => &[Errno::EMFILE, Errno::ENOMEM],
        libc::SYS_bind | libc::SYS_listen | libc::SYS_connect | libc::SYS_accept4 => {
            &[Errno::ENOMEM, Errno::EACCES]
        }
        libc::SYS_sendmsg | libc::SYS_recvmsg | libc::SYS_sendto | libc::SYS_recvfrom => {
            &[Errno::ENOMEM, Errno::EINTR]
        }
        libc::SYS_poll | libc::SYS_ppoll | libc::SYS_waitid | libc::SYS_wait4 => &[Errno::EINTR],
        libc::SYS_stat
        | libc::SYS_lstat
        | libc::SYS_fstat
        | libc::SYS_newfstatat
        | libc::SYS_statx
        | libc::SYS_statfs
        | libc::SYS_fstatfs
        | libc::SYS_readlink
        | libc::SYS_readlinkat
        | libc::SYS_access
        | libc::SYS_faccessat2 => &[Errno::ENOMEM],
        libc::SYS_setns | libc::SYS_unshare => &[Errno::ENOMEM, Errno::ENOSPC],
        libc::SYS_setresuid
        | libc::SYS_setresgid
        | libc::SYS_setgroups
        | libc::SYS_capset
        | libc::SYS_prlimit64 => &[Errno::EPERM],
        libc::SYS_prctl | libc::SYS_seccomp | libc::SYS_close_range => &[Errno::EINVAL, Errno::ENOMEM],
        libc::SYS_ioctl | libc::SYS_fsync => &[Errno::EIO],
        libc::SYS_keyctl => &[Errno::EDQUOT, Errno::ENOMEM],
        libc::SYS_chdir | libc::SYS_fchdir | libc::SYS_chroot | libc::SYS_fchmodat | libc::SYS_fchownat => {
            &[Errno::ENOMEM, Errno::EACCES]
        }
        libc::SYS_kill | libc::SYS_pidfd_send_signal => &[Errno::EPERM, Errno::ESRCH],
        libc::SYS_sethostname | libc::SYS_setdomainname => &[Errno::EPERM],
        _ => &[],
    }
}

/// A container that must not notice anything.
struct Bystander {
    container: Container,
    pid: i32,
}

impl Bystander {
    fn new() -> Bystander {
        let container = Bundle::sleeper().start();
        Bystander { pid: container.pid(), container }
    }

    #[track_caller]
    fn is_well(&self) {
        assert_eq!((self.container.status().as_str(), self.container.pid()), ("running", self.pid));
        assert_eq!(self.container.sh("echo well"), "well");
    }
}

/// One command under test: how a container is brought to where it can be given, and the command.
struct Subject {
    what: &'static str,
    prepare: fn() -> Container,
    command: fn(&Container) -> Command,
    /// What is on standard output when nothing fails, if that has to be the same whenever the command succeeds.
    same_output: bool,
}

/// What happened, for whoever takes every call.
#[derive(Default)]
struct Tally {
    calls: BTreeMap<usize, usize>,
    rounds: usize,
    errors: usize,
    successes: usize,
}

/// Waits longer than the tracer does, whose word it is that something hangs.
#[track_caller]
fn trace(command: &mut Command) -> Output {
    Run::start(command).finish_within(std::time::Duration::from_secs(120))
}

impl Subject {
    /// The calls of the command when nothing happens to them, and its output.
    fn calls(&self) -> (Vec<Call>, String) {
        let container = (self.prepare)();
        let log = container.bundle.folder.join("calls");
        let nothing = Call { role: 99, index: 0, number: 0 };
        let output = trace(&mut tracer::traced(&(self.command)(&container), nothing, Fault::None, &log)).ok();
        (tracer::listed(&log), output.stdout)
    }

    fn try_all(&self, faults: fn(&Call) -> Vec<Fault>) {
        let (calls, expected) = self.calls();
        assert!(calls.len() > 30, "only {} calls: the tracer saw too little", calls.len());
        let bystander = Bystander::new();
        let mut tally = Tally::default();
        calls.iter().for_each(|call| *tally.calls.entry(call.role).or_default() += 1);
        let cases: Vec<_> =
            calls.iter().flat_map(|call| faults(call).into_iter().map(move |fault| (*call, fault))).collect();
        for (call, fault) in cases.iter().step_by(stride(SAMPLE, cases.len())) {
            self.one(*call, *fault, &expected, &mut tally);
        }
        bystander.is_well();
        if std::env::var_os("ISOLATE_TEST_FAULTS").is_some() {
            let Tally { calls, rounds, errors, successes } = tally;
            println!(
                "faults: {}: calls of each process {calls:?}; {rounds} faults, {errors} ended with an error, {successes} succeeded",
                self.what
            );
        }
    }

    fn one(&self, call: Call, fault: Fault, expected: &str, tally: &mut Tally) {
        let container = (self.prepare)();
        let command = (self.command)(&container);
        let output =
            trace(&mut tracer::traced(&command, call, fault, &container.bundle.folder.join("calls")));
        let when = format!("{} with {fault:?} at {call:?}", self.what);
        tally.rounds += 1;
        assert_ne!(output.code, tracer::HUNG, "{when}: it hung");
        assert!(!output.stderr.contains("panicked"), "{when}: {output}");
        let was_killed = fault == Fault::Kill && call.role == 0;
        match output.code {
            _ if was_killed => {}
            0 => {
                tally.successes += 1;
                let same =
                    !self.same_output || output.stdout == expected || output.stderr.contains("warning");
                assert!(same, "{when}: it succeeded, and gave {:?} instead of {expected:?}", output.stdout);
            }
            1 | 255 => {
                tally.errors += 1;
                let count = output.stderr.matches("isolate: ").count();
                assert!(
                    count == 1 || self.same_output && !output.stdout.is_empty(),
                    "{when}: {count} errors: {output}"
                );
            }
            _ => assert!(fault == Fault::Kill, "{when}: {output}"),
        }
        let deleted = container.delete_by_force();
        assert_eq!(deleted.code, 0, "{when}: {deleted}");
        container.leaves_nothing();
        let mark = container.bundle.folder.display().to_string();
        let left = || {
            process::descendants(std::process::id() as i32)
                .into_iter()
                .any(|pid| process::command_line(pid).contains(&mark))
        };
        child::eventually(&format!("{when}: no process is left"), || !left());
    }
}

fn deaths(_: &Call) -> Vec<Fault> {
    vec![Fault::Kill]
}

fn failures(call: &Call) -> Vec<Fault> {
    errors(call.number).iter().map(|errno| Fault::Fail(*errno as i32)).collect()
}

fn both(call: &Call) -> Vec<Fault> {
    [deaths(call), failures(call)].concat()
}

/// One root for all, which nobody writes to but by mount targets that are there.
fn bundle(args: &[&str]) -> Bundle {
    static ROOT: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();
    let root = ROOT.get_or_init(|| {
        let root = session().folder.join(session::unique("faults-root-"));
        bundle::make_rootfs(&root);
        root
    });
    let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]});
    let bundle = Bundle::without_root(args).set("/root/path", json!(root)).set("/linux/seccomp", seccomp);
    let bundle = bundle.set("/process/noNewPrivileges", json!(true)).traceable();
    if !nix::unistd::geteuid().is_root() {
        return bundle;
    }
    let user = json!({"uid": 1000, "gid": 1000, "additionalGids": [5]});
    bundle.set("/process/user", user).limit("pids", json!({"limit": 50}))
}

/// Prints what the container gives its program.
const CONFESS: &str = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:|Seccomp_f)' /proc/self/status; ulimit -n; hostname; \
    ls /proc/self/fd; awk '{print $4, $5, $6}' /proc/self/mountinfo | sed 's/isolate-test.*rootfs//'; cat /proc/keys 2>/dev/null | wc -l; \
    echo x > /proc/sys/kernel/panic || echo refused; ls /sys/class/net; pwd; env | sort; sed 's/.*isolate-test/x/;s/c[0-9]*$//' /proc/self/cgroup";

fn created() -> Container {
    let container = bundle(&["/bin/sleep", "1000"]).container();
    container.create(&[]).ok();
    container
}

fn running() -> Container {
    let container = created();
    container.start().ok();
    container
}

fn paused() -> Container {
    let container = running();
    container.runtime(&["pause", container.id()]).ok();
    container
}

const CREATE: Subject = Subject {
    what: "create",
    prepare: || bundle(&["/bin/sleep", "1000"]).container(),
    command: |container| container.bundle_command("create", &[]),
    same_output: false,
};

const RUN: Subject = Subject {
    what: "run",
    prepare: || bundle(&["/bin/sh", "-c", CONFESS]).container(),
    command: |container| container.bundle_command("run", &[]),
    same_output: true,
};

const EXEC: Subject = Subject {
    what: "exec",
    prepare: running,
    command: |container| container.exec_command(&[], &["/bin/sh", "-c", CONFESS]),
    same_output: true,
};

fn create_stands_any_death() {
    CREATE.try_all(deaths);
}

fn create_stands_any_failure() {
    CREATE.try_all(failures);
}

fn run_stands_any_death() {
    RUN.try_all(deaths);
}

fn run_stands_any_failure_and_gives_no_more_than_without() {
    RUN.try_all(failures);
}

fn exec_stands_any_death() {
    EXEC.try_all(deaths);
}

fn exec_stands_any_failure_and_gives_no_more_than_without() {
    EXEC.try_all(failures);
}

fn plain(what: &'static str, prepare: fn() -> Container, command: fn(&Container) -> Command) {
    Subject { what, prepare, command, same_output: false }.try_all(both);
}

fn start_stands_any_death_and_failure() {
    plain("start", created, |container| container.command(&["start", container.id()]));
}

fn pause_and_resume_stand_any_death_and_failure() {
    plain("pause", running, |container| container.command(&["pause", container.id()]));
    plain("resume", paused, |container| container.command(&["resume", container.id()]));
}

fn update_stands_any_death_and_failure() {
    plain("update", running, |container| {
        container.command(&["update", "--pids-limit", "40", "--memory", "64M", container.id()])
    });
}

fn kill_stands_any_death_and_failure() {
    plain("kill", running, |container| container.command(&["kill", container.id(), "TERM"]));
}

fn delete_stands_any_death_and_failure() {
    plain("delete --force", running, |container| container.command(&["delete", "--force", container.id()]));
}

fn a_full_disk_below_the_state_root_is_told_and_cleaned_up() {
    let container = bundle(&["/bin/sleep", "1000"]).container();
    let root = &container.bundle.root;
    fs::create_dir(root).unwrap();
    child::run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs"]).arg(root))
        .ok();
    let mut told = 0;
    for free in [0, 4096, 8192, 12288, 16384, 24576, 32768] {
        fs::write(root.join("filler"), vec![0u8; 65536 - free]).ok();
        let output = container.create(&[]);
        assert!(output.code == 0 || output.code == 1, "{free}: {output}");
        if output.code == 1 {
            told += 1;
            assert!(output.stderr.contains("ENOSPC"), "{free}: {output}");
        }
        let deleted = container.delete_by_force();
        assert_eq!(deleted.code, 0, "{free}: {deleted}");
        assert!(!root.join(container.id()).exists(), "{free}");
        fs::remove_file(root.join("filler")).unwrap();
    }
    nix::mount::umount2(root, nix::mount::MntFlags::MNT_DETACH).unwrap();
    assert!(told > 0, "the disk was never full");
    container.leaves_nothing();
}

fn a_state_that_is_cut_or_garbage_is_told_and_cleaned_up() {
    for file in ["state.json", "journal", "config.json"] {
        for how in 0..6 {
            let container = Bundle::sleeper().start();
            let pid = container.pid();
            let path = container.bundle.root.join(container.id()).join(file);
            let good = fs::read(&path).unwrap();
            let bad = match how {
                0 => Vec::new(),
                1 => good[..good.len() / 2].to_vec(),
                2 => b"\0\xff\xfe garbage".to_vec(),
                3 => b"null".to_vec(),
                4 => [good.as_slice(), b"}"].concat(),
                _ => b"{\"version\":99999}".to_vec(),
            };
            fs::write(&path, bad).unwrap();
            for words in [&["state"][..], &["kill", "KILL"], &["exec", "true"], &["pause"], &["delete"]] {
                let mut all = vec![words[0], container.id()];
                all.extend(&words[1..]);
                if words[0] != "kill" {
                    let output = container.runtime(&all);
                    assert!(
                        !output.stderr.contains("panicked") && output.code < 128 || output.code == 255,
                        "{file} {how}: {output}"
                    );
                    assert!(
                        output.code == 0 || output.stderr.starts_with("isolate: "),
                        "{file} {how}: {output}"
                    );
                }
            }
            container.runtime(&["list"]).ok();
            let deleted = container.delete_by_force();
            assert_eq!(deleted.code, 0, "{file} {how}: {deleted}");
            child::eventually(&format!("{file} {how}: its init is gone"), || !process::is_alive(pid));
            container.leaves_nothing();
        }
    }
}
