//! Attempts to break out of `isolate try`, made by hand once and kept: `docs/cves.md` lists them with what became of each.
//! The attacker is root inside, with the host's programs and one of our own.

use std::fs;
use std::process::Command;

use crate::support::*;
use crate::tests;

tests![
    no_kernel_setting_opens_for_writing needs [Need::Isolate, Need::UserNamespaces],
    no_file_of_sysfs_or_cgroups_opens_for_writing needs [Need::Isolate, Need::UserNamespaces],
    nothing_of_the_host_is_open_in_any_process needs [Need::Isolate, Need::UserNamespaces],
    no_process_of_the_host_is_in_sight_or_hit needs [Need::Isolate, Need::UserNamespaces],
    no_program_that_is_the_hosts_opens_for_writing needs [Need::Isolate, Need::UserNamespaces],
    a_second_chroot_leads_nowhere needs [Need::Isolate, Need::UserNamespaces],
    no_handle_opens_a_file_of_the_host needs [Need::Isolate, Need::UserNamespaces],
    no_device_can_be_made_and_none_but_harmless_ones_are_there needs [Need::Isolate, Need::UserNamespaces],
    no_namespace_or_mount_can_be_made_or_joined needs [Need::Isolate, Need::UserNamespaces],
    calls_with_a_history_are_refused needs [Need::Isolate, Need::UserNamespaces],
    requests_for_the_input_of_a_terminal_are_refused needs [Need::Isolate, Need::UserNamespaces],
    a_tracer_gets_past_no_filter_and_finds_nobody_outside needs [Need::Isolate, Need::UserNamespaces],
    calls_by_another_door_end_the_caller needs [Need::Isolate, Need::UserNamespaces],
    sockets_are_of_the_usual_families_only needs [Need::Isolate, Need::UserNamespaces],
    secrets_of_the_host_are_not_there needs [Need::Isolate, Need::Root, Need::UserNamespaces],
    set_user_id_programs_of_the_host_gain_nothing needs [Need::Isolate, Need::UserNamespaces],
    characters_for_the_callers_terminal_go_nowhere needs [Need::Isolate, Need::UserNamespaces],
    isolate_itself_makes_nothing_inside needs [Need::Isolate, Need::UserNamespaces],
];

/// `isolate try`, with the attacker at its place.
fn system(options: &[&str], words: &[&str]) -> Output {
    let bind = format!("{}:{}:ro", std::env::current_exe().unwrap().display(), attacker::PATH);
    let container = Bundle::without_root(&["true"]).container();
    let mut command: Command = container.command(&["try", "-v", &bind]);
    child::run(command.args(options).arg("--").args(words))
}

fn sh(script: &str) -> String {
    system(&[], &["sh", "-c", script]).ok().text().to_owned()
}

/// The answer to one system call; without one, all that was said.
fn call(words: &[&str]) -> String {
    let output = system(&[], &[&[attacker::PATH, "call"], words].concat());
    match output.stdout.trim() {
        "" => output.to_string(),
        answer => answer.to_owned(),
    }
}

fn no_kernel_setting_opens_for_writing() {
    let seen = sh(
        "cd /proc; for f in sys/kernel/core_pattern sys/kernel/modprobe sys/kernel/hostname sys/vm/drop_caches \
        sys/fs/binfmt_misc/register sys/kernel/ns_last_pid sysrq-trigger kcore kmsg mtrr timer_list keys 1/mem; do \
        ( : >> $f ) 2>/dev/null && case $f in kcore|timer_list|keys) [ ! -s $f ] || echo open $f;; 1/mem) ;; *) echo open $f;; esac; done; \
        find /proc/sys -type f -perm /222 2>/dev/null | while read f; do ( : >> $f ) 2>/dev/null && echo open $f; done; \
        echo -999 2>/dev/null > /proc/self/oom_score_adj && echo open oom; echo end",
    );
    assert_eq!(seen, "end");
}

fn no_file_of_sysfs_or_cgroups_opens_for_writing() {
    let seen = sh("find /sys -xdev -type f -perm /222 2>/dev/null | head -n 3000 | while read f; do \
        ( : >> $f ) 2>/dev/null && echo open $f; done; \
        find /sys/fs/cgroup -type f 2>/dev/null | while read f; do ( : >> $f ) 2>/dev/null && echo open $f; done; \
        mkdir /sys/fs/cgroup/x 2>/dev/null && echo made; find / -xdev -name release_agent 2>/dev/null; echo end");
    assert_eq!(seen, "end");
}

fn nothing_of_the_host_is_open_in_any_process() {
    let seen = sh("for p in /proc/[0-9]*; do for f in $p/fd/*; do l=$(readlink $f) || continue; \
        case $l in pipe:*|/dev/null|/tmp/isolate-test-*|/proc/*|anon_inode:*) ;; *) echo $f $l;; esac; done; done; echo end");
    assert_eq!(seen, "end");
}

fn no_process_of_the_host_is_in_sight_or_hit() {
    let victim = Run::start(Command::new("sleep").arg("1000"));
    let script = format!(
        "cat /proc/self/status | grep ^NSpid | wc -w; ls -d /proc/[0-9]* | wc -l; readlink /proc/1/exe | grep -c isolate; \
         kill -KILL {} 2>/dev/null && echo hit; [ $(sed -n 's/^PPid:.//p' /proc/1/status) = 0 ] && echo alone",
        victim.pid()
    );
    let seen = sh(&script);
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!((lines[0], lines[2], lines[3]), ("2", "0", "alone"), "{seen}");
    assert!(lines[1].parse::<u32>().unwrap() < 8, "{seen}");
    assert!(process::is_alive(victim.pid()));
}

fn no_program_that_is_the_hosts_opens_for_writing() {
    let seen = sh(
        "for f in /proc/1/exe /proc/self/exe /usr/bin/env /bin/sh /lib64/ld-linux-x86-64.so.2; do \
        ( : >> $f ) 2>/dev/null && echo open $f; done; rm -f /usr/bin/env 2>/dev/null; mv /usr /x 2>/dev/null; [ -x /usr/bin/env ] && echo end",
    );
    assert_eq!(seen, "end");
}

fn a_second_chroot_leads_nowhere() {
    let secret = session().folder.join(session::unique("secret-"));
    fs::write(&secret, "").unwrap();
    let seen = system(&[], &[attacker::PATH, "leave-root", secret.to_str().unwrap()]);
    assert!(!seen.stdout.contains("gained"), "{seen}");
}

fn no_handle_opens_a_file_of_the_host() {
    let secret = session().folder.join(session::unique("secret-"));
    fs::write(&secret, "a secret").unwrap();
    let Some(handle) = deeds::handle_of(&secret) else { skip("this file system has no handles") };
    let seen = system(&[], &[attacker::PATH, "open-by-handle", &handle]);
    assert!(seen.stdout.contains("EPERM"), "{seen}");
}

fn no_device_can_be_made_and_none_but_harmless_ones_are_there() {
    let seen = sh(
        "mknod /tmp/d b 7 0 2>/dev/null && echo made; mknod /dev/m c 1 1 2>/dev/null && echo made; \
        find /dev -type b; find /dev -type c | grep -v -E '^/dev/(console|full|null|ptmx|random|tty|urandom|zero|pts/.*)$'; echo end",
    );
    assert_eq!(seen, "end");
}

fn no_namespace_or_mount_can_be_made_or_joined() {
    let seen = sh("unshare -U true 2>/dev/null && echo user; unshare -m true 2>/dev/null && echo mount; \
        mount -t tmpfs t /tmp 2>/dev/null && echo mounted; mount --bind / /mnt 2>/dev/null && echo bound; \
        umount /sys 2>/dev/null && echo unmounted; mount -o remount,rw /usr 2>/dev/null && echo remounted; \
        nsenter -t 1 -m true 2>/dev/null && echo joined; echo end");
    assert_eq!(seen, "end");
    // CLONE_NEWUSER, by the call that is left: clone3 is not there, clone looks at its flags.
    assert_eq!(call(&["clone3", "0", "0"]), "ENOSYS");
    assert_eq!(call(&["unshare", "268435456"]), "EPERM");
    assert_eq!(call(&["setns", "0", "0"]), "EPERM");
}

fn calls_with_a_history_are_refused() {
    let calls: [&[&str]; 25] = [
        &["keyctl", "0", "-3", "0"],
        &["add_key", "user", "x", "x", "1", "-3"],
        &["bpf", "0", "x", "1"],
        &["io_uring_setup", "1", "0"],
        &["userfaultfd", "1"],
        &["perf_event_open", "0"],
        &["kexec_load", "0", "0", "0", "0"],
        &["init_module", "x", "1", "x"],
        &["fsopen", "tmpfs", "0"],
        &["reboot", "0"],
        &["swapon", "/x", "0"],
        &["quotactl", "0", "/x", "0", "0"],
        &["iopl", "3"],
        &["syslog", "3", "0", "0"],
        &["kcmp", "1", "1", "0"],
        &["process_vm_readv", "1", "0", "0", "0", "0"],
        &["process_vm_writev", "1", "0", "0", "0", "0"],
        &["pidfd_getfd", "0", "0", "0"],
        &["request_key", "user", "x", "0", "0"],
        &["io_uring_enter", "0", "0", "0", "0"],
        &["open_tree", "-100", "/", "1"],
        &["move_pages", "1", "0", "0", "0", "0"],
        &["acct", "/tmp/x"],
        &["fanotify_init", "0", "0"],
        // ADDR_NO_RANDOMIZE.
        &["personality", "262144"],
    ];
    for words in calls {
        let answer = call(words);
        assert!(["EPERM", "ENOSYS"].contains(&answer.as_str()), "{words:?}: {answer}");
    }
}

fn requests_for_the_input_of_a_terminal_are_refused() {
    // TIOCSTI, TIOCLINUX, TIOCSETD; and TIOCSTI with a bit in the half that the kernel does not look at.
    for request in ["21522", "21532", "21539", "4294988818"] {
        assert_eq!(call(&["ioctl", "0", request, "0"]), "EPERM", "{request}");
    }
    // TCGETS of what is no terminal.
    assert_eq!(call(&["ioctl", "0", "21505", "0"]), "ENOTTY");
}

fn a_tracer_gets_past_no_filter_and_finds_nobody_outside() {
    // Without a filter, and with the capability, the call that the tracer puts in works.
    if nix::unistd::geteuid().is_root() {
        let open = |json: &mut serde_json::Value| config::add_capabilities(json, &["CAP_SYS_ADMIN"]);
        let open = attacker::bring(Bundle::new(&[attacker::PATH, "trace-past-filter"])).config(open);
        assert_eq!(open.output(), "gained");
    }
    let seen = system(&[], &[attacker::PATH, "trace-past-filter"]);
    assert_eq!(seen.text(), "trace-past-filter: the filter was asked", "{seen}");
    let seen = system(&[], &[attacker::PATH, "trace-all"]);
    assert_eq!(seen.text(), "trace-all: no process is there", "{seen}");
}

fn calls_by_another_door_end_the_caller() {
    for door in ["i386", "x32"] {
        let seen = system(&[], &[attacker::PATH, "door", door]);
        assert_eq!((seen.code, seen.text()), (128 + libc::SIGSYS, ""), "{door}: {seen}");
    }
}

fn sockets_are_of_the_usual_families_only() {
    for (family, name) in
        [(38, "AF_ALG"), (40, "AF_VSOCK"), (29, "AF_CAN"), (30, "AF_TIPC"), (44, "AF_XDP"), (15, "AF_KEY")]
    {
        for kind in ["2", "3", "5"] {
            let answer = call(&["socket", &family.to_string(), kind, "0"]);
            assert!(["EPERM", "ENOSYS", "EAFNOSUPPORT"].contains(&answer.as_str()), "{name}: {answer}");
        }
    }
    for family in ["1", "2", "10", "16"] {
        let answer = call(&["socket", family, "2", "0"]);
        assert!(answer.parse::<u32>().is_ok(), "{family}: {answer}");
    }
}

fn secrets_of_the_host_are_not_there() {
    let shadow = fs::read_to_string("/etc/shadow").unwrap_or_default();
    let seen = sh(
        "cat /etc/shadow 2>/dev/null; ls -A /root /home /run/isolate /var/lib/isolate 2>/dev/null; \
        cat /proc/keys /sys/firmware/dmi/tables/DMI /proc/interrupts 2>/dev/null | head -c 10; dmesg 2>/dev/null | head -n 1; echo end",
    );
    for line in shadow.lines().filter(|line| line.contains('$')) {
        assert!(!seen.contains(line), "a password hash of the host");
    }
    let of_system = ["/root:", "/home:", ".bashrc", ".profile", ".bash_history", ""];
    let strange: Vec<&str> = seen
        .lines()
        .filter(|line| !line.starts_with("root:") && !line.contains(":*:") && !of_system.contains(line))
        .collect();
    assert_eq!(strange, ["end"], "{seen}");
}

fn set_user_id_programs_of_the_host_gain_nothing() {
    let seen = sh("grep -E '^(NoNewPrivs|CapBnd)' /proc/self/status; \
        awk '$5 ~ \"^/usr\" && $6 !~ /nosuid/' /proc/self/mountinfo; echo end");
    let lines: Vec<&str> = seen.lines().collect();
    // Of the set none that leads out: what chown, kill and set-user-id need, low ports, chroot.
    assert_eq!(lines[..2], ["CapBnd:\t00000000000404fb", "NoNewPrivs:\t1"], "{seen}");
    assert_eq!(lines[2..], ["end"], "{seen}");
}

fn characters_for_the_callers_terminal_go_nowhere() {
    let (mut terminal, slave) = console::open_terminal();
    let bind = format!("{}:{}:ro", std::env::current_exe().unwrap().display(), attacker::PATH);
    let container = Bundle::without_root(&["true"]).container();
    let mut command = container.command(&["try", "--no-tty", "-v", &bind, "--", attacker::PATH]);
    Run::start_on(command.arg("type-into-terminal"), &slave).finish();
    terminal.wait_for("\n");
    assert!(!terminal.seen.contains("typed") && !terminal.seen.contains('#'), "{}", terminal.seen);
}

fn isolate_itself_makes_nothing_inside() {
    let runtime = session().runtime.display().to_string();
    let bind = format!("{runtime}:/isolate:ro");
    let seen = system(&["-v", &bind], &["/isolate", "try", "--", "true"]);
    assert!(seen.code == 1 && seen.stderr.contains("isolate: "), "{seen}");
}
