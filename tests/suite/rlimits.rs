//! Resource limits of the process.

use serde_json::json;

use crate::support::*;
use crate::tests;

tests![
    every_kind_of_limit_is_set needs [Need::Capability("CAP_SYS_RESOURCE", 24)],
    every_kind_of_limit_is_lowered,
    soft_and_hard_limits_are_set_apart,
    a_limit_holds_for_exec_too,
    a_limit_that_is_not_listed_is_the_callers needs [Need::Not("runc", "1.1 raises the soft limit of files")],
    an_unknown_limit_is_refused,
    a_limit_listed_twice_is_refused needs [Need::Not("runc", "1.1 takes the last")],
    a_soft_limit_above_the_hard_one_is_refused,
    a_hard_limit_may_be_raised_in_a_user_namespace
        needs [Need::Capability("CAP_SYS_RESOURCE", 24), Need::UserNamespaces],
];

const KINDS: [(&str, &str); 16] = [
    ("AS", "Max address space"),
    ("CORE", "Max core file size"),
    ("CPU", "Max cpu time"),
    ("DATA", "Max data size"),
    ("FSIZE", "Max file size"),
    ("LOCKS", "Max file locks"),
    ("MEMLOCK", "Max locked memory"),
    ("MSGQUEUE", "Max msgqueue size"),
    ("NICE", "Max nice priority"),
    ("NOFILE", "Max open files"),
    ("NPROC", "Max processes"),
    ("RSS", "Max resident set"),
    ("RTPRIO", "Max realtime priority"),
    ("RTTIME", "Max realtime timeout"),
    ("SIGPENDING", "Max pending signals"),
    ("STACK", "Max stack size"),
];

/// Soft and hard limit in a text of `/proc/PID/limits`.
#[track_caller]
fn limit(text: &str, name: &str) -> (String, String) {
    let line =
        text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {text}"));
    let mut words = line.split_whitespace();
    (words.next().unwrap().to_owned(), words.next().unwrap().to_owned())
}

fn limits(list: serde_json::Value) -> String {
    Bundle::new(&["/bin/cat", "/proc/self/limits"]).set("/process/rlimits", list).output()
}

fn every_kind_of_limit_is_set() {
    // All at once, each its own number, large enough for `cat` to live.
    let number = |index: usize| (1 << 30) + index as u64 * 4096;
    let list: Vec<_> = KINDS
        .iter()
        .enumerate()
        .filter(|(_, (kind, _))| *kind != "NOFILE")
        .map(|(index, (kind, _))| json!({"type": format!("RLIMIT_{kind}"), "soft": number(index), "hard": number(index)}))
        .collect();
    let seen = limits(json!(list));
    for (index, (kind, name)) in KINDS.iter().enumerate().filter(|(_, (kind, _))| *kind != "NOFILE") {
        let wanted = number(index).to_string();
        assert_eq!(limit(&seen, name), (wanted.clone(), wanted), "{kind}");
    }
}

fn every_kind_of_limit_is_lowered() {
    let own = std::fs::read_to_string("/proc/self/limits").unwrap();
    let lowered: Vec<_> = KINDS
        .iter()
        .filter_map(|(kind, name)| {
            let hard = limit(&own, name).1.parse::<u64>().unwrap_or(1 << 40);
            (hard > 1).then(|| (kind, name, hard - 1))
        })
        .collect();
    let list: Vec<_> = lowered
        .iter()
        .map(|(kind, _, value)| json!({"type": format!("RLIMIT_{kind}"), "soft": value - 1, "hard": value}))
        .collect();
    let seen = limits(json!(list));
    for (kind, name, value) in lowered {
        assert_eq!(limit(&seen, name), ((value - 1).to_string(), value.to_string()), "{kind}");
    }
}

fn soft_and_hard_limits_are_set_apart() {
    let seen = limits(json!([
        {"type": "RLIMIT_CPU", "soft": 100, "hard": 200}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}
    ]));
    assert_eq!(limit(&seen, "Max cpu time"), ("100".into(), "200".into()));
    assert_eq!(limit(&seen, "Max core file size"), ("0".into(), "0".into()));
}

fn a_limit_holds_for_exec_too() {
    let list = json!([{"type": "RLIMIT_CPU", "soft": 300, "hard": 400}]);
    let container = Bundle::sleeper().set("/process/rlimits", list).start();
    let seen = container.sh("cat /proc/self/limits");
    assert_eq!(limit(&seen, "Max cpu time"), ("300".into(), "400".into()));
}

fn a_limit_that_is_not_listed_is_the_callers() {
    let own = std::fs::read_to_string("/proc/self/limits").unwrap();
    let seen = limits(json!([]));
    for name in ["Max open files", "Max stack size", "Max processes"] {
        assert_eq!(limit(&seen, name), limit(&own, name), "{name}");
    }
}

fn refused(list: serde_json::Value, words: &[&str]) {
    Bundle::nothing().set("/process/rlimits", list).refused(words);
}

fn an_unknown_limit_is_refused() {
    refused(json!([{"type": "RLIMIT_NONESUCH", "soft": 1, "hard": 1}]), &["RLIMIT_NONESUCH"]);
}

fn a_limit_listed_twice_is_refused() {
    let one = json!({"type": "RLIMIT_CPU", "soft": 1, "hard": 1});
    refused(json!([one, one]), &["RLIMIT_CPU"]);
}

fn a_soft_limit_above_the_hard_one_is_refused() {
    refused(json!([{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]), &[]);
}

fn a_hard_limit_may_be_raised_in_a_user_namespace() {
    let container = Bundle::new(&["/bin/cat", "/proc/self/limits"])
        .user_namespace()
        .set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 2048, "hard": 4096}]))
        .container();
    let inner = container.bundle_command("run", &[]);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -Sn 1024; ulimit -Hn 1024; exec \"$0\" \"$@\""]);
    let output = child::run(command.arg(inner.get_program()).args(inner.get_args())).ok();
    assert_eq!(limit(&output.stdout, "Max open files"), ("2048".into(), "4096".into()));
}
