//! Seccomp filters: actions, argument operators, and what a filter must not change.

use serde_json::{Value, json};

use crate::support::*;
use crate::tests;

tests![
    a_filter_does_not_imply_no_new_privileges needs [Need::Root],
    a_filter_is_there_with_no_new_privileges_too,
    errno_is_the_one_of_the_rule,
    errno_defaults_to_eperm,
    the_default_errno_is_the_one_of_the_config,
    kill_ends_the_process_by_sigsys,
    kill_process_and_kill_thread_end_the_process,
    trap_ends_the_process_by_sigsys,
    log_lets_the_call_pass,
    trace_without_a_tracer_is_enosys,
    a_default_that_refuses_lets_the_listed_calls_pass,
    every_operator_compares_the_argument,
    two_conditions_must_both_hold,
    two_conditions_on_one_argument_are_alternatives,
    arguments_are_compared_with_all_their_64_bits,
    an_unknown_call_is_ignored,
    an_unknown_action_is_refused,
    an_unknown_operator_is_refused,
    an_unknown_architecture_is_refused,
    an_unknown_flag_is_refused needs [Need::Not("runc", "Debian's 1.1 has no flags")],
    an_argument_index_out_of_range_is_refused,
    a_rule_without_names_is_refused needs [Need::Not("runc", "1.1 takes it")],
    an_errno_with_an_action_that_has_none_is_refused needs [Need::Not("runc", "1.1 refuses it for two actions alone")],
    the_filter_of_podman_works,
    foreign_architectures_are_accepted,
    the_log_flag_is_accepted needs [Need::Not("runc", "Debian's 1.1 has no flags")],
    a_call_newer_than_the_filter_is_enosys
        needs [Need::Root, Need::Program("gcc")],
];

fn filtered(script: &str, filter: Value) -> Bundle {
    Bundle::shell(script).set("/linux/seccomp", filter)
}

fn rule(names: &[&str], action: &str) -> Value {
    json!({"names": names, "action": action})
}

fn allow_but(rules: &[Value]) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})
}

const MKDIR: [&str; 2] = ["mkdir", "mkdirat"];

fn status_with(bundle: Bundle) -> String {
    bundle.config(|json| json["process"]["args"] = json!(["/bin/cat", "/proc/self/status"])).output()
}

fn a_filter_does_not_imply_no_new_privileges() {
    let text = status_with(filtered("", allow_but(&[rule(&MKDIR, "SCMP_ACT_ERRNO")])));
    assert_eq!(process::field_of(&text, "Seccomp").as_deref(), Some("2"));
    assert_eq!(process::field_of(&text, "NoNewPrivs").as_deref(), Some("0"));
}

fn a_filter_is_there_with_no_new_privileges_too() {
    let bundle = filtered("", allow_but(&[rule(&MKDIR, "SCMP_ACT_ERRNO")]));
    let text = status_with(bundle.set("/process/noNewPrivileges", json!(true)));
    assert_eq!(process::field_of(&text, "Seccomp").as_deref(), Some("2"));
    assert_eq!(process::field_of(&text, "NoNewPrivs").as_deref(), Some("1"));
}

fn errno_is_the_one_of_the_rule() {
    let rule = json!({"names": MKDIR, "action": "SCMP_ACT_ERRNO", "errnoRet": 100});
    let output = filtered("mkdir /tmp/x", allow_but(&[rule])).run();
    assert!(output.code == 1 && output.stderr.contains("Network is down"), "{output}");
}

fn errno_defaults_to_eperm() {
    let output = filtered("mkdir /tmp/x", allow_but(&[rule(&MKDIR, "SCMP_ACT_ERRNO")])).run();
    assert!(output.code == 1 && output.stderr.contains("Operation not permitted"), "{output}");
}

/// What a shell, a few applets and the runtime's own last steps need.
fn calls_of_busybox() -> Vec<&'static str> {
    "access arch_prctl brk capget capset chdir chmod clone clone3 close close_range dup dup2 dup3 epoll_create1 \
     epoll_ctl epoll_pwait execve execveat exit exit_group faccessat faccessat2 fchdir fchmodat fchown fcntl fork \
     fstat fstatfs futex getcwd getdents64 getegid geteuid getgid getpgrp getpid getppid getrandom getrlimit \
     gettid getuid ioctl kill lseek lstat madvise mmap mprotect munmap nanosleep newfstatat open openat openat2 \
     pipe pipe2 poll prctl pread64 prlimit64 pselect6 read readlink readlinkat recvmsg rseq rt_sigaction \
     rt_sigprocmask rt_sigreturn sched_getaffinity sched_yield seccomp select sendmsg sendto recvfrom \
     set_robust_list set_tid_address setgid setgroups setresgid setresuid setsid setuid sigaltstack socket stat \
     statfs statx tgkill time umask uname unlink vfork wait4 waitid write writev"
        .split_whitespace()
        .collect()
}

fn the_default_errno_is_the_one_of_the_config() {
    let filter = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 100,
        "syscalls": [rule(&calls_of_busybox(), "SCMP_ACT_ALLOW")]
    });
    let output = filtered("mkdir /tmp/x", filter).run();
    assert!(output.code == 1 && output.stderr.contains("Network is down"), "{output}");
}

fn ends_by_sigsys(action: &str) {
    let bundle = filtered("mkdir /tmp/x; echo $?", allow_but(&[rule(&MKDIR, action)]));
    assert!(bundle.output().ends_with("159"), "{action}");
}

fn kill_ends_the_process_by_sigsys() {
    ends_by_sigsys("SCMP_ACT_KILL");
}

fn kill_process_and_kill_thread_end_the_process() {
    ends_by_sigsys("SCMP_ACT_KILL_PROCESS");
    ends_by_sigsys("SCMP_ACT_KILL_THREAD");
}

fn trap_ends_the_process_by_sigsys() {
    ends_by_sigsys("SCMP_ACT_TRAP");
}

fn log_lets_the_call_pass() {
    filtered("mkdir /tmp/x", allow_but(&[rule(&MKDIR, "SCMP_ACT_LOG")])).run().ok();
}

fn trace_without_a_tracer_is_enosys() {
    let output = filtered("mkdir /tmp/x", allow_but(&[rule(&MKDIR, "SCMP_ACT_TRACE")])).run();
    assert!(output.code == 1 && output.stderr.contains("Function not implemented"), "{output}");
}

fn a_default_that_refuses_lets_the_listed_calls_pass() {
    let filter = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [rule(&calls_of_busybox(), "SCMP_ACT_ALLOW")]
    });
    assert_eq!(filtered("echo works; mkdir /tmp/x || echo refused", filter).output(), "works\nrefused");
}

/// For each mode of chmod: whether the filter lets it pass. The mode is argument 1 of chmod.
fn passed(conditions: &Value, modes: &[&str]) -> String {
    let rule = json!({"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "args": conditions});
    let script = format!(
        "touch /tmp/f; for m in {}; do chmod $m /tmp/f 2>/dev/null && printf y || printf n; done",
        modes.join(" ")
    );
    filtered(&script, allow_but(&[rule])).output()
}

fn every_operator_compares_the_argument() {
    let modes = ["0600", "0644", "0700"];
    let cases = [("EQ", "yny"), ("NE", "nyn"), ("LT", "nyy"), ("LE", "nny"), ("GT", "yyn"), ("GE", "ynn")];
    for (operator, wanted) in cases {
        let condition = json!([{"index": 1, "value": 0o644, "op": format!("SCMP_CMP_{operator}")}]);
        assert_eq!(passed(&condition, &modes), wanted, "{operator}");
    }
    let masked = json!([{"index": 1, "value": 0o100, "valueTwo": 0o100, "op": "SCMP_CMP_MASKED_EQ"}]);
    assert_eq!(passed(&masked, &modes), "yyn");
}

fn two_conditions_must_both_hold() {
    let rule = json!({"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [
        {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 0, "op": "SCMP_CMP_EQ"}
    ]});
    let script = "kill -0 1 || echo refused; kill -CONT 1 && echo passed; sleep 9 & kill -0 $! && echo passed; kill $!";
    assert_eq!(filtered(script, allow_but(&[rule])).output(), "refused\npassed\npassed");
}

fn two_conditions_on_one_argument_are_alternatives() {
    let conditions = json!([
        {"index": 1, "value": 0o600, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 0o700, "op": "SCMP_CMP_EQ"}
    ]);
    assert_eq!(passed(&conditions, &["0600", "0644", "0700"]), "nyn");
}

fn arguments_are_compared_with_all_their_64_bits() {
    let mount = json!({"destination": "/t", "type": "tmpfs", "source": "tmpfs"});
    let five_gigabytes: u64 = 5 << 30;
    let rule = json!({"names": ["ftruncate", "truncate"], "action": "SCMP_ACT_ERRNO", "args": [
        {"index": 1, "value": five_gigabytes, "op": "SCMP_CMP_EQ"}
    ]});
    // One gigabyte has the same lower 32 bits.
    let script = "truncate -s 5368709120 /t/f || echo refused; truncate -s 1073741824 /t/f && echo passed";
    assert_eq!(filtered(script, allow_but(&[rule])).mount(mount).output(), "refused\npassed");
}

fn an_unknown_call_is_ignored() {
    let filter = allow_but(&[rule(&["nonesuch_call", "mkdir", "mkdirat"], "SCMP_ACT_ERRNO")]);
    assert_eq!(filtered("mkdir /tmp/x || echo refused", filter).output(), "refused");
}

fn refused(filter: Value, words: &[&str]) {
    filtered("true", filter).refused(words);
}

fn an_unknown_action_is_refused() {
    refused(allow_but(&[rule(&MKDIR, "SCMP_ACT_NONESUCH")]), &["SCMP_ACT_NONESUCH"]);
    refused(json!({"defaultAction": "SCMP_ACT_NONESUCH"}), &["SCMP_ACT_NONESUCH"]);
}

fn an_unknown_operator_is_refused() {
    let rule = json!({"names": MKDIR, "action": "SCMP_ACT_ERRNO", "args": [
        {"index": 0, "value": 0, "op": "SCMP_CMP_NONESUCH"}
    ]});
    refused(allow_but(&[rule]), &["SCMP_CMP_NONESUCH"]);
}

fn an_unknown_architecture_is_refused() {
    let mut filter = allow_but(&[]);
    filter["architectures"] = json!(["SCMP_ARCH_NONESUCH"]);
    refused(filter, &["SCMP_ARCH_NONESUCH"]);
}

fn an_unknown_flag_is_refused() {
    let mut filter = allow_but(&[rule(&MKDIR, "SCMP_ACT_ERRNO")]);
    filter["flags"] = json!(["SECCOMP_FILTER_FLAG_NONESUCH"]);
    refused(filter, &["SECCOMP_FILTER_FLAG_NONESUCH"]);
}

fn an_argument_index_out_of_range_is_refused() {
    let rule = json!({"names": MKDIR, "action": "SCMP_ACT_ERRNO", "args": [
        {"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}
    ]});
    refused(allow_but(&[rule]), &[]);
}

fn a_rule_without_names_is_refused() {
    refused(allow_but(&[rule(&[], "SCMP_ACT_ERRNO")]), &["linux.seccomp.syscalls[0]"]);
}

fn an_errno_with_an_action_that_has_none_is_refused() {
    let rule = json!({"names": MKDIR, "action": "SCMP_ACT_KILL", "errnoRet": 1});
    refused(allow_but(&[rule]), &["errnoRet"]);
}

fn the_filter_of_podman_works() {
    let Ok(text) = std::fs::read_to_string("/usr/share/containers/seccomp.json") else {
        skip("no /usr/share/containers/seccomp.json on this host");
    };
    // podman resolves `includes` and `excludes` itself; what remains for the runtime is the list.
    let mut filter: Value = serde_json::from_str(&text).unwrap();
    let whole = filter.as_object_mut().unwrap();
    whole.remove("archMap");
    whole.remove("defaultErrno");
    whole.insert("architectures".into(), json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]));
    let empty = |rule: &Value, key: &str| rule[key].as_object().is_none_or(serde_json::Map::is_empty);
    let for_amd64 =
        |rule: &Value| rule["includes"]["arches"].as_array().is_some_and(|all| all.contains(&json!("amd64")));
    let rules = filter["syscalls"].as_array_mut().unwrap();
    rules.retain(|rule| {
        (empty(rule, "includes") || for_amd64(rule))
            && (empty(rule, "excludes") || rule["excludes"]["caps"].is_array())
    });
    for rule in rules {
        let rule = rule.as_object_mut().unwrap();
        rule.retain(|key, value| {
            ["names", "action", "args", "errnoRet"].contains(&key.as_str()) && !value.is_null()
        });
    }
    // podman lets a program choose another personality, but not one without address randomisation.
    let script = "echo works; linux32 true && linux32 -R true 2>/dev/null || echo refused";
    assert_eq!(filtered(script, filter).output(), "works\nrefused");
}

fn foreign_architectures_are_accepted() {
    let mut filter = allow_but(&[rule(&MKDIR, "SCMP_ACT_ERRNO")]);
    filter["architectures"] = json!(["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"]);
    assert_eq!(filtered("mkdir /tmp/x || echo refused", filter).output(), "refused");
}

fn the_log_flag_is_accepted() {
    let mut filter = allow_but(&[rule(&MKDIR, "SCMP_ACT_ERRNO")]);
    filter["flags"] = json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]);
    assert_eq!(filtered("mkdir /tmp/x || echo refused", filter).output(), "refused");
}

fn a_call_newer_than_the_filter_is_enosys() {
    // A C library tries new calls first and falls back on ENOSYS, not on EPERM.
    let source = "#include <errno.h>\n#include <stdio.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n\
                  int main(void) { syscall(9999); printf(\"%d\\n\", errno); return 0; }\n";
    let filter = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [rule(&calls_of_busybox(), "SCMP_ACT_ALLOW")]
    });
    let bundle = filtered("", filter).config(|json| json["process"]["args"] = json!(["/probe"]));
    let file = bundle.host_folder("source").join("probe.c");
    std::fs::write(&file, source).unwrap();
    let compile = child::run(
        std::process::Command::new("gcc")
            .args(["-static", "-o"])
            .arg(bundle.rootfs().join("probe"))
            .arg(&file),
    );
    if compile.code != 0 {
        skip("gcc cannot link a static program");
    }
    assert_eq!(bundle.output(), "38");
}
