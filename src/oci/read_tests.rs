//! Tests of reading: limits, form, oddities, and a storm of broken documents.

use oci_spec::runtime::{Capability, LinuxSchedulerFlag};
use serde_json::{Value, json};

use super::*;
use crate::oci::default_spec::{CgroupNamespace, Rootless, default_spec_text};

fn default_text() -> String {
    default_spec_text(Rootless::No, CgroupNamespace::New)
}

fn changed(change: impl Fn(&mut Value)) -> String {
    let mut config: Value = serde_json::from_str(&default_text()).unwrap();
    change(&mut config);
    config.to_string()
}

fn refusal(text: impl AsRef<[u8]>) -> String {
    parse(text.as_ref()).unwrap_err().to_string()
}

#[test]
fn a_document_that_is_no_json_is_one_fault_with_its_position() {
    assert_eq!(refusal(""), "config.json: it is empty");
    assert_eq!(refusal(" \n"), "config.json: it is empty");
    assert_eq!(refusal(b"{\n \"a\": \"\xff\"}"), "config.json: it is not UTF-8: line 2 column 8");
    let truncated = refusal("{\"ociVersion\":\n  \"1.0");
    assert_eq!(truncated, "config.json: it is not JSON: EOF while parsing a string at line 2 column 6");
    assert_eq!(refusal("{} x"), "config.json: it is not JSON: trailing characters at line 1 column 4");
    assert_eq!(refusal("[]"), "config.json: it must be an object, not a list");
}

#[test]
fn a_document_beyond_the_limits_is_refused_whatever_it_holds() {
    let large = vec![b' '; LARGEST as usize + 1];
    assert_eq!(refusal(large), "config.json: it has 16777217 bytes, more than the 16777216 that are read");
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{{\"x\":{}1{}}}", open.repeat(10_000), close.repeat(10_000));
        let text = refusal(deep);
        assert!(text.starts_with("config.json: it nests deeper than 127 levels: line 1 column "), "{text}");
    }
    assert!(refusal("[".repeat(1 << 20)).contains("nests deeper"));
}

#[test]
fn a_flood_of_faults_is_refused_in_few_words() {
    let flood = format!("{{\"mounts\":[{}0]}}", "0,".repeat(100_000));
    let text = refusal(flood);
    assert!(
        text.starts_with("more than 1000 faults in config.json:\n  mounts[0]: it must be an object"),
        "{text}"
    );
    assert!(text.len() < 10_000);
}

#[test]
fn every_fault_of_form_and_sense_is_in_one_error() {
    let text = changed(|config| {
        config["process"]["args"] = json!("sh");
        config["process"]["user"]["uid"] = json!(4_294_967_296_u64);
        config["process"]["cwd"] = json!("tmp");
        config["mounts"][3]["destination"] = json!(5);
        config["mounts"][4]["destination"] = json!("relative");
        config["linux"]["namespaces"][3]["type"] = json!("utss");
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_MAYBE"});
    });
    assert_eq!(
        refusal(text),
        "7 faults in config.json:\n  \
         linux.namespaces[3].type: unknown namespace type \"utss\": \
         known are pid, network, mount, ipc, uts, user, cgroup, time\n  \
         linux.seccomp.defaultAction: unknown seccomp action \"SCMP_ACT_MAYBE\": \
         known are SCMP_ACT_ALLOW, SCMP_ACT_ERRNO, SCMP_ACT_KILL, SCMP_ACT_KILL_PROCESS, \
         SCMP_ACT_KILL_THREAD, SCMP_ACT_LOG, SCMP_ACT_NOTIFY, SCMP_ACT_TRACE, SCMP_ACT_TRAP\n  \
         mounts[3].destination: it must be a string, not a number\n  \
         process.args: it must be a list, not a string\n  \
         process.user.uid: 4294967296 is out of range: 0 to 4294967295\n  \
         mounts[4].destination: \"relative\" is not an absolute path\n  \
         process.cwd: \"tmp\" is not an absolute path"
    );
}

#[test]
fn a_map_of_the_whole_range_does_not_fit() {
    let text = changed(|config| {
        config["linux"]["namespaces"][5] = json!({"type": "user"});
        let map = json!([{"containerID": 0, "hostID": 0, "size": 4_294_967_296_u64}]);
        config["linux"]["uidMappings"] = map;
        config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    });
    let fault = "linux.uidMappings[0].size: 4294967296 is out of range: 0 to 4294967295";
    assert_eq!(refusal(text), fault);
}

#[test]
fn keys_given_twice_are_faults_in_objects_and_in_maps() {
    let twice = |from: &str, to: &str| refusal(default_text().replacen(from, to, 1));
    assert_eq!(twice("\"cwd\"", "\"cwd\": \"/\", \"cwd\""), "process.cwd: the property is given twice");
    let annotations = "\"hostname\": \"isolate\", \"annotations\": {\"a.b\": \"1\", \"a.b\": \"2\"}";
    assert_eq!(
        twice("\"hostname\": \"isolate\"", annotations),
        "annotations[\"a.b\"]: the key is given twice"
    );
    for map in ["sysctl", "resources\": {\"unified"] {
        let close = if map.contains('{') { "}" } else { "" };
        let linux =
            format!("\"linux\": {{ \"{map}\": {{\"net.x\": \"1\", \"net.x\": \"2\"}}{close}, \"_\": 1,");
        let text = default_text().replacen("\"linux\": {", &linux, 1);
        assert!(refusal(text).contains("[\"net.x\"]: the key is given twice"), "{map}");
    }
}

#[test]
fn a_list_is_no_object() {
    let text = changed(|config| config["process"]["user"] = json!([0, 0]));
    assert_eq!(refusal(text), "process.user: it must be an object, not a list");
}

#[test]
fn null_reads_as_absent() {
    let config = parse(changed(|config| config["hooks"] = Value::Null).as_bytes()).unwrap();
    assert_eq!(*config.spec.hooks(), None);
    assert_eq!(refusal(changed(|config| config["ociVersion"] = Value::Null)), "ociVersion: it is missing");
    assert!(parse(changed(|config| config["root"]["path"] = Value::Null).as_bytes()).is_err());
}

#[test]
fn an_unknown_capability_is_a_warning_and_dropped() {
    let text = changed(|config| {
        config["process"]["capabilities"]["bounding"] = json!(["CAP_KILL", "CHOWN", "cap_chown", "CAP_FLY"]);
    });
    let config = parse(text.as_bytes()).unwrap();
    let bounding = config.spec.process().as_ref().unwrap().capabilities().as_ref().unwrap().bounding();
    assert_eq!(bounding.as_ref().unwrap().iter().collect::<Vec<_>>(), [&Capability::Kill]);
    assert_eq!(
        config.warnings,
        [
            "process.capabilities.bounding: unknown capability \"CHOWN\" is ignored",
            "process.capabilities.bounding: unknown capability \"cap_chown\" is ignored",
            "process.capabilities.bounding: unknown capability \"CAP_FLY\" is ignored",
        ]
    );
}

#[test]
fn every_capability_the_kernel_has_is_read_without_a_warning() {
    let text = changed(|config| config["process"]["capabilities"]["bounding"] = json!(&CAPABILITIES[..]));
    let config = parse(text.as_bytes()).unwrap();
    assert_eq!(config.warnings, Vec::<String>::new());
    let process = config.spec.process().as_ref().unwrap();
    assert_eq!(process.capabilities().as_ref().unwrap().bounding().as_ref().unwrap().len(), 41);
}

#[test]
fn scheduler_flags_are_read_by_the_specifications_names() {
    let text = changed(|config| {
        config["process"]["scheduler"] =
            json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN"]});
    });
    let config = parse(text.as_bytes()).unwrap();
    let scheduler = config.spec.process().as_ref().unwrap().scheduler().clone().unwrap();
    let flags = [LinuxSchedulerFlag::SchedResetOnFork, LinuxSchedulerFlag::SchedFlagDLOverrun];
    assert_eq!(scheduler.flags().as_deref(), Some(&flags[..]));
}

#[test]
fn a_limit_of_processes_is_told_from_its_absence_on_both_paths() {
    for oddity in ["CAP_KILL", "CAP_FLY"] {
        let limit = |pids: Value| {
            let text = changed(|config| {
                config["process"]["capabilities"]["bounding"] = json!([oddity]);
                config["linux"]["resources"]["pids"] = pids.clone();
            });
            parse(text.as_bytes()).unwrap().pids_limit
        };
        assert_eq!(limit(json!({})), None);
        assert_eq!(limit(json!({"limit": null})), None);
        assert_eq!(limit(json!({"limit": 0})), Some(0));
        assert_eq!(limit(json!({"limit": -1})), Some(-1));
    }
}

#[test]
fn other_platforms_sections_are_ignored_whatever_they_hold() {
    let text = changed(|config| {
        config["windows"] = json!({"layerFolders": 7});
        config["vm"] = json!([1]);
    });
    assert!(parse(text.as_bytes()).is_ok());
}

#[test]
fn unknown_properties_are_ignored_and_can_be_listed() {
    let text = changed(|config| {
        config["process"]["shiny"] = json!({"new": true});
        config["mounts"][0]["odd key"] = json!(1);
        config["linux"]["intelRdt2"] = json!(null);
    });
    assert!(parse(text.as_bytes()).is_ok());
    assert_eq!(
        unknown_properties(text.as_bytes()),
        ["linux.intelRdt2", "mounts[0][\"odd key\"]", "process.shiny"]
    );
    assert!(unknown_properties(b"{").is_empty());
}

#[test]
fn id_maps_of_the_whole_document_which_only_the_types_know_are_ignored() {
    let text = changed(|config| {
        config["uidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
        config["gidMappings"] = json!([]);
    });
    assert_eq!(unknown_properties(text.as_bytes()), ["gidMappings", "uidMappings"]);
    let plain = parse(default_text().as_bytes()).unwrap();
    assert_eq!(fast(text.as_bytes()).unwrap(), plain);
}

#[test]
fn a_missing_user_is_root_as_in_runc() {
    let text = changed(|config| {
        config["process"].as_object_mut().unwrap().remove("user");
    });
    assert_eq!(parse(text.as_bytes()).unwrap().spec.process().as_ref().unwrap().user().uid(), 0);
}

#[test]
fn an_empty_namespace_path_is_none() {
    let text = changed(|config| config["linux"]["namespaces"][0]["path"] = json!(""));
    let config = parse(text.as_bytes()).unwrap();
    let namespaces = config.spec.linux().as_ref().unwrap().namespaces().clone().unwrap();
    assert_eq!(*namespaces[0].path(), None);
}

#[test]
fn a_process_file_is_read_like_the_object_in_a_config() {
    let good = br#"{"cwd":"/","args":["sh"],"capabilities":{"bounding":["CAP_FLY"]}}"#;
    let (process, warnings) = parse_process(good).unwrap();
    assert_eq!(process.args().as_deref(), Some(&["sh".to_owned()][..]));
    assert_eq!(warnings, ["capabilities.bounding: unknown capability \"CAP_FLY\" is ignored"]);
    let error = parse_process(br#"{"args":[],"user":{"uid":-1}}"#).unwrap_err().to_string();
    assert_eq!(
        error,
        "3 faults in the process file:\n  user.uid: -1 is out of range: 0 to 4294967295\n  \
         cwd: it is missing\n  args: it is missing or empty: there is nothing to execute"
    );
    assert_eq!(parse_process(b"").unwrap_err().to_string(), "the process file: it is empty");
}

/// A config that uses every section, for the storms below.
fn full() -> Value {
    let mut config: Value = serde_json::from_str(&default_text()).unwrap();
    let hook = json!([{"path": "/h", "args": ["h"], "env": ["A=b"], "timeout": 1}]);
    config["hooks"] = json!({"prestart": hook, "poststop": hook});
    config["annotations"] = json!({"a.b": "c"});
    config["process"]["scheduler"] = json!({"policy": "SCHED_FIFO", "priority": 1});
    config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 1});
    config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    config["linux"]["devices"] = json!([{"path": "/dev/x", "type": "c", "major": 1, "minor": 3}]);
    config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{
        "names": ["write"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
        "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]
    }]});
    config["linux"]["resources"] = json!({
        "memory": {"limit": 1, "swap": 2}, "cpu": {"cpus": "0-1"}, "pids": {"limit": 1},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 1}], "unified": {"memory.high": "1"},
        "blockIO": {"weight": 10, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}]}
    });
    config
}

#[test]
fn the_full_config_is_valid() {
    parse(full().to_string().as_bytes()).unwrap();
}

/// Every place of a JSON document, as pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| places(item, &format!("{at}/{index}"), found));
        }
        Value::Object(entries) => entries.iter().for_each(|(key, item)| {
            places(item, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), found);
        }),
        _ => {}
    }
}

#[test]
fn any_value_in_any_place_is_taken_or_refused_with_one_error() {
    let config = full();
    let mut found = Vec::new();
    places(&config, "", &mut found);
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!(4_294_967_295_u32),
        json!(""),
        json!("a\u{0}b"),
        json!("../../é"),
        json!([]),
        json!([null]),
        json!([{}]),
        json!({}),
        json!({"": ""}),
    ];
    let mut refused = 0;
    for place in &found {
        for value in &values {
            let mut config = config.clone();
            *config.pointer_mut(place).unwrap() = value.clone();
            if let Err(error) = parse(config.to_string().as_bytes()) {
                let text = error.to_string();
                assert!(!text.is_empty() && !text.contains('\0'), "{place}: {text:?}");
                refused += 1;
            }
        }
    }
    assert!(found.len() > 150 && refused > found.len() * 6, "{} places, {refused} refused", found.len());
}

#[test]
fn a_value_of_the_wrong_form_is_named_by_its_place() {
    let config = full();
    let mut found = Vec::new();
    places(&config, "", &mut found);
    for pointer in found.iter().filter(|pointer| config.pointer(pointer).unwrap().is_number()) {
        let mut config = config.clone();
        *config.pointer_mut(pointer).unwrap() = json!({"not": "a number"});
        let error = parse(config.to_string().as_bytes()).unwrap_err().to_string();
        let last = pointer.rsplit('/').next().unwrap();
        assert!(error.contains(&format!(".{last}: it must be a whole number, not an object")), "{error}");
    }
}

#[test]
fn a_truncated_or_damaged_text_never_panics() {
    let text = full().to_string().into_bytes();
    for end in 0..text.len() {
        assert!(parse(&text[..end]).is_err(), "cut at {end}");
    }
    // A linear congruential generator: the storm is the same on every run.
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize
    };
    for _ in 0..1000 {
        let mut damaged = text.clone();
        for _ in 0..=random() % 4 {
            let at = random() % damaged.len();
            damaged[at] = b"{}[]\",:0-9eE.tfn\\u\x00\xff"[random() % 20];
        }
        let _ = parse(&damaged);
        let _ = parse_process(&damaged);
        let _ = unknown_properties(&damaged);
    }
}
