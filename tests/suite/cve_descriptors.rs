//! Known escapes by what a process of the runtime holds while it is in reach of the container: descriptors, its own
//! binary, its memory. `docs/cves.md` has the list.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::support::console::open_terminal;
use crate::support::*;
use crate::tests;

tests![
    no_working_folder_leads_out_through_a_descriptor,
    no_program_is_found_through_a_descriptor,
    a_descriptor_of_the_caller_is_not_in_the_container,
    exec_holds_no_folder_when_the_program_runs,
    a_tracer_in_the_container_sees_nothing_of_the_runtime needs [Need::Root],
    the_binary_of_the_runtime_cannot_be_written_from_inside
        needs [Need::Root, Need::Not("runc", "its binary is looked at in another place")],
    a_program_that_is_the_runtime_itself_does_nothing,
    nothing_is_typed_into_the_callers_terminal needs [Need::File("/proc/sys/dev/tty/legacy_tiocsti")],
    no_abstract_socket_is_left_in_reach,
    a_caller_that_lacks_standard_streams_hands_nothing_else_over,
];

fn no_working_folder_leads_out_through_a_descriptor() {
    // CVE-2024-21626.
    let running = Bundle::sleeper().start();
    let outside = running.bundle.host_folder("mark");
    let look = format!(
        "ls -d .{0} ..{0} ../..{0} ../../..{0} ../../../../../../..{0} 2>/dev/null; pwd",
        outside.display()
    );
    for number in 3..64 {
        for folder in [
            format!("/proc/self/fd/{number}"),
            format!("/proc/self/fd/{number}/../..{}", outside.display()),
            format!("/proc/1/fd/{number}"),
        ] {
            if number % 8 == 3 {
                let output = Bundle::shell(&look).set("/process/cwd", json!(folder)).run();
                assert_ne!(output.code, 0, "{folder}: {output}");
            }
            if number < 24 {
                let output = running.exec_with(&["--cwd", &folder], &["/bin/sh", "-c", &look]);
                assert_ne!(output.code, 0, "{folder}: {output}");
            }
        }
    }
}

fn no_program_is_found_through_a_descriptor() {
    // The other half of CVE-2024-21626: a program of the host, named through a descriptor that leads there.
    let running = Bundle::sleeper().start();
    let evil = running.bundle.host_folder("mark").join("evil");
    child::while_nothing_is_spawned(|| {
        fs::copy(running.bundle.rootfs().join("bin/busybox"), &evil).unwrap();
    });
    for number in 3..24 {
        for up in ["", "/..", "/../..", "/../../../../../.."] {
            let program = format!("/proc/self/fd/{number}{up}{}", evil.display());
            let output = running.exec(&[&program, "echo", "out"]);
            assert_eq!(output.code, 255, "{output}");
        }
    }
}

fn a_descriptor_of_the_caller_is_not_in_the_container() {
    // CVE-2024-21626, CVE-2016-8649: the caller has the host's root open, and has left it open on exec.
    let container = Bundle::shell("ls /proc/self/fd; ls /proc/1/fd; ls -d /proc/1/fd/9/proc").container();
    let command = container.bundle_command("run", &[]);
    let output = with_open_root(&command);
    // 3 is the folder that `ls` itself has open. (In a pipeline the shell could hold a pipe for a moment.)
    assert_eq!(output.text().split_whitespace().collect::<String>(), "0123012", "{output}");
    let running = Bundle::sleeper().start();
    let output = with_open_root(&running.exec_command(&[], &["/bin/ls", "/proc/self/fd"]));
    assert_eq!(output.text().split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"], "{output}");
}

/// Runs it with `/` open as descriptor 9 and `/etc` as 63.
fn with_open_root(command: &Command) -> Output {
    let words: Vec<_> = command.get_args().map(|part| format!("'{}'", part.to_str().unwrap())).collect();
    let line = format!("exec {:?} {} 9</ 8</etc", command.get_program(), words.join(" "));
    child::run(Command::new("/bin/sh").args(["-c", &line]))
}

fn exec_holds_no_folder_when_the_program_runs() {
    // CVE-2016-8649: what was opened to join is closed.
    let running = attacker::bring(Bundle::sleeper()).start();
    let output = running.exec(&[attacker::PATH, "list-folders"]).ok();
    // The one folder is that which is being listed.
    assert!(output.text().lines().count() <= 1, "{output}");
}

fn a_tracer_in_the_container_sees_nothing_of_the_runtime() {
    // CVE-2016-9962: whoever may trace in the container looks at every process that comes in by exec.
    let all = ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN"];
    let script = "while [ ! -e /tmp/enough ]; do for p in /proc/[0-9]*; do \
                  readlink $p/fd/* $p/cwd $p/root $p/exe 2>/dev/null >> /tmp/seen; \
                  [ -e $p/root/isolate-mark ] || [ $p = /proc/self ] || echo other-root $p >> /tmp/roots; done; done; echo done > /tmp/done";
    let bundle =
        Bundle::shell(script).file("/isolate-mark", "").config(|json| config::add_capabilities(json, &all));
    let rounds = rounds();
    let container = bundle.start();
    for _ in 0..rounds {
        container.exec(&["/bin/true"]).ok();
    }
    fs::write(container.bundle.rootfs().join("tmp/enough"), "").unwrap();
    child::eventually("it has looked", || !container.peek("/tmp/done").is_empty());
    let seen = container.peek("/tmp/seen");
    let strange: Vec<_> = seen.lines().filter(|line| is_of_the_host(line, &container)).collect();
    assert!(strange.is_empty(), "seen of the host: {strange:?}");
}

/// Rounds of what is repeated because it is a race: few in the suite, as many as ISOLATE_TEST_ROUNDS says by hand.
fn rounds() -> usize {
    std::env::var("ISOLATE_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(30)
}

fn is_of_the_host(target: &str, container: &Container) -> bool {
    let harmless =
        ["pipe:", "socket:", "anon_inode:", "/dev/null", "/memfd:isolate", "/proc/", "/bin/", "/tmp/"];
    let known = target == "/" || harmless.iter().any(|known| target.starts_with(known));
    // The runtime's own output files are the test's; they are opened before, and handed over on purpose.
    let handed_over = target.contains("output-") || target == container.bundle.rootfs().to_str().unwrap();
    !known
        && !handed_over
        && (target.starts_with("/run") || target.contains("isolate-test") || target.starts_with("/sys"))
}

fn the_binary_of_the_runtime_cannot_be_written_from_inside() {
    // CVE-2019-5736, CVE-2020-14298, CVE-2020-14300: on a copy of the binary, because the attack may succeed.
    let bundle = attacker::bring(Bundle::new(&[attacker::PATH, "overwrite-runtime"]));
    let copy = bundle.host_folder("bin").join("isolate");
    child::while_nothing_is_spawned(|| fs::copy(&session().runtime, &copy).unwrap());
    let before = fs::read(&copy).unwrap();
    let all = ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN"];
    let container = bundle.config(|json| config::add_capabilities(json, &all)).start();
    child::eventually("the attacker waits", || container.bundle.rootfs().join("tmp/ready").exists());
    for _ in 0..40 {
        // The image's program may be the runtime itself, by a link or by the first line of a script.
        let exec = container.exec_command(&[], &["/proc/self/exe", "features"]);
        child::run(Command::new(&copy).args(exec.get_args()));
        let exec = container.exec_command(&[], &["/bin/sleep", "0.01"]);
        child::run(Command::new(&copy).args(exec.get_args())).ok();
    }
    fs::write(container.bundle.rootfs().join("tmp/enough"), "").unwrap();
    child::eventually("the attacker has ended", || !container.peek("/tmp/seen").is_empty());
    assert_eq!(container.peek("/tmp/won"), "", "it was opened for writing");
    assert!(fs::read(&copy).unwrap() == before, "the binary has changed");
}

fn a_program_that_is_the_runtime_itself_does_nothing() {
    // The entry of CVE-2019-5736: a script whose interpreter is /proc/self/exe, and a link to it.
    let bundle = Bundle::new(&["/attack"]).program("/attack", "#!/proc/self/exe\n");
    let before = fs::read(&session().runtime).unwrap();
    let _ = bundle.run();
    let _ = Bundle::new(&["/way"]).link("/proc/self/exe", "way").run();
    assert!(fs::read(&session().runtime).unwrap() == before);
}

fn nothing_is_typed_into_the_callers_terminal() {
    // CVE-2016-10124: `exec` without a terminal of its own, called from a terminal, which is then its standard input.
    let container = attacker::bring(Bundle::sleeper()).start();
    for options in [&[][..], &["--cwd", "/"]] {
        let (mut terminal, slave) = open_terminal();
        let mut command = container.exec_command(options, &[attacker::PATH, "type-into-terminal"]);
        Run::start_on(&mut command, &slave).finish();
        terminal.wait_for("\n");
        assert!(!terminal.seen.contains("typed") && !terminal.seen.contains('#'), "{}", terminal.seen);
    }
}

fn no_abstract_socket_is_left_in_reach() {
    // CVE-2020-15257: a socket without a path is everybody's in the network namespace.
    let sockets = || {
        let table = fs::read_to_string("/proc/net/unix").unwrap();
        table
            .lines()
            .filter(|line| line.contains(" @") && line.contains("isolate"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let before = sockets();
    let created = Bundle::sleeper().create();
    assert_eq!(sockets(), before);
    let table = fs::read_to_string(format!("/proc/{}/net/unix", created.pid())).unwrap();
    assert!(!table.contains(" @"), "{table}");
}

fn a_caller_that_lacks_standard_streams_hands_nothing_else_over() {
    // With 0, 1 or 2 closed, the next thing opened would get that number and go to the program.
    let container = Bundle::shell("ls -l /proc/self/fd > /tmp/seen").container();
    let command = container.bundle_command("run", &[]);
    let words: Vec<_> = command.get_args().map(|part| format!("'{}'", part.to_str().unwrap())).collect();
    let line = format!("exec {:?} {} <&- >&- 2>&-", command.get_program(), words.join(" "));
    child::run(Command::new("/bin/sh").args(["-c", &line]));
    let seen = container.peek("/tmp/seen");
    let targets: Vec<_> = seen.lines().filter_map(|line| line.split(" -> ").nth(1)).collect();
    let right = |target: &&str| ["/dev/null", "/tmp/seen"].contains(target) || target.starts_with("/proc/");
    assert!(targets.iter().all(right), "{seen}");
}
