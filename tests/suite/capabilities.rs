//! Capabilities as the kernel shows them in `/proc/self/status`.

use serde_json::{Value, json};

use crate::support::*;
use crate::tests;

tests![
    the_sets_are_those_of_the_config,
    absent_capabilities_are_none_at_all needs [Need::Not("runc", "1.1 leaves the sets of root alone")],
    an_absent_bounding_set_is_empty needs [Need::Not("runc", "1.1 leaves it alone")],
    inheritable_is_empty_unless_asked_for,
    ambient_reaches_a_user_who_is_not_root needs [Need::Root],
    a_user_who_is_not_root_has_no_effective_ones needs [Need::Root],
    every_capability_of_the_kernel_can_be_given needs [Need::Root, Need::Capability("CAP_SYS_RESOURCE", 24)],
    an_unknown_capability_is_a_warning,
    a_capability_that_is_missing_cannot_be_used,
    a_set_user_id_program_gets_no_more_than_the_bounding_set needs [Need::Root],
    a_prctl_that_fails_leaves_no_capability_in_the_bounding_set
        needs [Need::Program("strace"), Need::Isolate],
];

fn sets(bundle: Bundle) -> [u64; 5] {
    let text =
        bundle.config(|json| json["process"]["args"] = json!(["/bin/cat", "/proc/self/status"])).output();
    ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]
        .map(|name| u64::from_str_radix(&process::field_of(&text, name).unwrap(), 16).unwrap())
}

const CHOWN: u64 = 1;
const KILL: u64 = 1 << 5;
const NET_RAW: u64 = 1 << 13;

fn with(capabilities: Value) -> Bundle {
    Bundle::nothing().set("/process/capabilities", capabilities)
}

fn the_sets_are_those_of_the_config() {
    let bundle = with(json!({
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
        "permitted": ["CAP_CHOWN", "CAP_KILL"],
        "effective": ["CAP_KILL"],
        "inheritable": []
    }));
    // The kernel gives root all of the bounding set anew on exec; the bounding set is what binds.
    let [inheritable, permitted, effective, bounding, ambient] = sets(bundle);
    assert_eq!(bounding, CHOWN | KILL | NET_RAW);
    assert_eq!((permitted & !bounding, effective & !bounding, inheritable, ambient), (0, 0, 0, 0));
}

fn absent_capabilities_are_none_at_all() {
    assert_eq!(sets(Bundle::nothing().unset("/process/capabilities")), [0; 5]);
}

fn an_absent_bounding_set_is_empty() {
    assert_eq!(sets(with(json!({"permitted": [], "effective": []})))[3], 0);
}

fn inheritable_is_empty_unless_asked_for() {
    let [inheritable, _, effective, bounding, _] = sets(Bundle::nothing());
    assert_eq!((inheritable, effective), (0, bounding));
}

fn ambient_reaches_a_user_who_is_not_root() {
    let list = json!(["CAP_NET_RAW"]);
    let bundle = with(json!({
        "bounding": list, "permitted": list, "effective": list, "inheritable": list, "ambient": list
    }));
    assert_eq!(sets(bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}))), [NET_RAW; 5]);
}

fn a_user_who_is_not_root_has_no_effective_ones() {
    let [_, permitted, effective, bounding, _] =
        sets(Bundle::nothing().set("/process/user", json!({"uid": 1000, "gid": 1000})));
    assert_eq!((permitted, effective), (0, 0));
    assert!(bounding & CHOWN != 0);
}

fn every_capability_of_the_kernel_can_be_given() {
    let names = [
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_ADMIN",
        "NET_RAW",
        "IPC_LOCK",
        "IPC_OWNER",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_NICE",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "MKNOD",
        "LEASE",
        "AUDIT_WRITE",
        "AUDIT_CONTROL",
        "SETFCAP",
        "MAC_OVERRIDE",
        "MAC_ADMIN",
        "SYSLOG",
        "WAKE_ALARM",
        "BLOCK_SUSPEND",
        "AUDIT_READ",
        "PERFMON",
        "BPF",
        "CHECKPOINT_RESTORE",
    ];
    let names: Vec<String> = names.iter().map(|name| format!("CAP_{name}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let bundle = Bundle::nothing().config(|json| config::set_capabilities(json, &names));
    assert_eq!(sets(bundle)[3], (1 << names.len()) - 1);
}

fn an_unknown_capability_is_a_warning() {
    let bundle = with(
        json!({"bounding": ["CAP_CHOWN", "CAP_NONESUCH"], "effective": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"]}),
    );
    let output = bundle.run();
    assert!(output.code == 0 && output.stderr.contains("CAP_NONESUCH"), "{output}");
}

fn a_capability_that_is_missing_cannot_be_used() {
    let script = "touch /tmp/f; chown 5 /tmp/f || echo refused";
    let bundle = Bundle::shell(script).config(|json| config::set_capabilities(json, &["CAP_KILL"]));
    assert_eq!(bundle.output(), "refused");
}

fn a_set_user_id_program_gets_no_more_than_the_bounding_set() {
    use std::os::unix::fs::PermissionsExt;
    let bundle = Bundle::new(&["/bin/su-cat", "/proc/self/status"])
        .config(|json| config::set_capabilities(json, &["CAP_CHOWN"]))
        .set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let program = bundle.rootfs().join("bin/su-cat");
    let busybox = bundle.rootfs().join("bin/busybox");
    child::while_nothing_is_spawned(|| std::fs::copy(busybox, &program)).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o4755)).unwrap();
    // busybox goes by the name it is called by.
    let bundle = bundle.config(|json| json["process"]["args"] = json!(["/bin/cat", "/proc/self/status"]));
    std::fs::remove_file(bundle.rootfs().join("bin/cat")).unwrap();
    std::fs::rename(&program, bundle.rootfs().join("bin/cat")).unwrap();
    let text = bundle.output();
    assert_eq!(process::field_of(&text, "CapBnd").as_deref(), Some("0000000000000001"));
    let permitted = u64::from_str_radix(&process::field_of(&text, "CapPrm").unwrap(), 16).unwrap();
    assert_eq!(permitted & !CHOWN, 0, "{text}");
}

fn a_prctl_that_fails_leaves_no_capability_in_the_bounding_set() {
    // A filter around us can answer with any error, to one call or to all from some one on.
    let faults = |number: usize| {
        ["EINVAL:when=#", "EPERM:when=#", "EINVAL:when=#+"].map(|way| way.replace('#', &number.to_string()))
    };
    let mut hit = 0;
    for number in (1..100).step_by(8) {
        let injected = faults(number).iter().filter(|fault| bounding_set_with(fault)).count();
        hit += injected;
        if injected == 0 {
            break;
        }
    }
    assert!(hit >= 15, "only {hit} calls failed: has the set been lowered in another way?");
}

/// Runs a container that shall have none, with a fault at some prctl: whether there was such a call.
fn bounding_set_with(fault: &str) -> bool {
    let bundle = Bundle::shell("grep ^CapBnd /proc/self/status").unset("/process/capabilities");
    let container = bundle.traceable().container();
    let (run, calls) = (container.bundle_command("run", &[]), container.bundle.folder.join("calls"));
    let mut command = std::process::Command::new("strace");
    command
        .args(["-f", "-qq", "-e", "trace=prctl", "-o"])
        .arg(&calls)
        .arg(format!("--inject=prctl:error={fault}"));
    let output = child::run(command.arg(run.get_program()).args(run.get_args()));
    assert!(output.code != 0 || output.text() == "CapBnd:\t0000000000000000", "{fault}: {output}");
    container.delete_by_force().ok();
    let calls = std::fs::read_to_string(calls).unwrap_or_else(|error| panic!("{error}: {output}"));
    calls.contains("(INJECTED)")
}
