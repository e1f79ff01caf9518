//! events and stats: what a container uses, for engines and for people, and word of the OOM killer.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::*;
use crate::tests;

tests![
    statistics_come_in_the_form_of_runc needs [Need::Cgroup("memory"), Need::Cgroup("pids")],
    every_number_that_runc_tells_is_told needs [Need::Root, Need::Cgroup("memory"), Need::Program("runc"), Need::Isolate],
    the_numbers_are_those_of_the_kernel needs [Need::Cgroup("memory"), Need::Cgroup("pids"), Need::Isolate],
    pressure_is_told_where_the_kernel_has_it needs [Need::Root, Need::File("/proc/pressure/cpu"), Need::Isolate],
    network_devices_are_counted_by_name needs [Need::Cgroup("pids"), Need::Isolate],
    statistics_come_at_every_interval_and_end_with_the_container needs [Need::Cgroup("pids")],
    the_oom_killer_is_told_of needs [Need::Cgroup("memory")],
    an_oom_that_ends_the_container_is_told_before_the_end needs [Need::Cgroup("memory")],
    an_interrupt_ends_the_events_and_nothing_else needs [Need::Cgroup("pids")],
    a_paused_container_still_tells needs [Need::Cgroup("freezer")],
    a_stopped_container_has_no_events needs [Need::Cgroup("pids")],
    an_interval_has_to_be_a_time needs [Need::Cgroup("pids"), Need::Isolate],
    an_unknown_container_has_neither_events_nor_stats needs [Need::Isolate],
    without_a_cgroup_events_are_refused_and_stats_show_what_there_is
        needs [Need::OrdinaryUser, Need::NoCgroup, Need::Isolate],
    stats_show_a_table_once_when_asked needs [Need::Cgroup("memory"), Need::Isolate],
    stats_as_json_have_what_the_limits_are needs [Need::Cgroup("memory"), Need::Isolate],
    stats_go_on_until_the_container_has_ended needs [Need::Cgroup("memory"), Need::Isolate],
    a_busy_container_shows_its_processor_time needs [Need::Cgroup("cpu"), Need::Isolate],
];

const LIMIT: u64 = 64 << 20;

fn limited() -> Bundle {
    Bundle::sleeper().limit("memory", json!({"limit": LIMIT})).limit("pids", json!({"limit": 40}))
}

/// What `events --stats` says.
#[track_caller]
fn event(container: &Container) -> Value {
    let event = container.runtime(&["events", "--stats", container.id()]).ok().json();
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(container.id())));
    event["data"].clone()
}

/// Every whole line that has come so far.
fn lines(run: &Run) -> Vec<Value> {
    let text = run.stdout_so_far();
    assert!(text.is_empty() || text.ends_with('\n'), "half a line: {text:?}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn watch(container: &Container, interval: &str) -> Run {
    Run::start(&mut container.command(&["events", "--interval", interval, container.id()]))
}

fn statistics_come_in_the_form_of_runc() {
    let container = limited().start();
    let data = event(&container);
    assert_eq!(data["memory"]["usage"]["limit"], LIMIT, "{data}");
    assert_eq!(data["pids"]["limit"], 40);
    for (pointer, least) in [("/memory/usage/usage", 4096), ("/pids/current", 1), ("/cpu/usage/total", 1)] {
        let number = data.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        assert!(number >= least, "{pointer} in {data}");
    }
    for pointer in [
        "/cpu/throttling",
        "/cpuset/sched_load_balance",
        "/memory/swap/limit",
        "/memory/kernel/failcnt",
        "/memory/kernelTCP/failcnt",
        "/memory/raw",
        "/blkio",
        "/hugetlb",
        "/intel_rdt",
    ] {
        assert!(data.pointer(pointer).is_some(), "{pointer} in {data}");
    }
}

/// The places of all values of a document, and of what kind each is; of lists the first element.
fn places(value: &Value, at: &str, all: &mut Vec<(String, &'static str)>) {
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(name, value)| places(value, &format!("{at}/{name}"), all))
        }
        Value::Array(list) => {
            all.push((at.to_owned(), "list"));
            list.iter().take(1).for_each(|value| places(value, &format!("{at}/0"), all));
        }
        Value::Number(_) => all.push((at.to_owned(), "number")),
        Value::String(_) => all.push((at.to_owned(), "text")),
        Value::Bool(_) => all.push((at.to_owned(), "truth")),
        Value::Null => {}
    }
}

/// The same config under runc: whatever it tells, and in whichever form, is told here.
fn every_number_that_runc_tells_is_told() {
    let ours = limited().start();
    let data = event(&ours);
    let bundle = limited();
    let (root, id) = (bundle.folder.join("runc"), bundle.id.clone());
    bundle.write();
    let runc = |arguments: &[&str]| {
        let mut command = std::process::Command::new("runc");
        child::run(command.arg("--root").arg(&root).args(arguments))
    };
    let started = runc(&["run", "--detach", "--bundle", bundle.folder.to_str().unwrap(), &id]);
    let theirs = runc(&["events", "--stats", &id]);
    runc(&["delete", "--force", &id]);
    started.ok();
    let theirs = theirs.ok().json()["data"].clone();
    let (mut seen, mut told) = (Vec::new(), Vec::new());
    places(&theirs, "", &mut seen);
    places(&data, "", &mut told);
    assert!(seen.len() > 20, "{theirs}");
    let missing: Vec<_> = seen.iter().filter(|place| !told.contains(place)).collect();
    assert!(missing.is_empty(), "{missing:?}\nours: {data}\nrunc's: {theirs}");
}

fn the_numbers_are_those_of_the_kernel() {
    let container = limited().start();
    let data = event(&container);
    let (max, stat) = match cgroup::v1("memory") {
        Some(_) => ("memory.max_usage_in_bytes", "hierarchical_memory_limit"),
        None => ("memory.peak", "pgfault"),
    };
    if let (Ok(max), Some(shown)) =
        (container.cgroup("memory", max).parse::<u64>(), data["memory"]["usage"]["max"].as_u64())
    {
        assert!(shown <= max, "{shown} of {max}");
    }
    assert!(data["memory"]["raw"][stat].is_u64(), "{data}");
    let cpus = data["cpuset"]["cpus"].as_array().unwrap();
    assert!(cgroup::hierarchy_of("cpuset").is_none() || !cpus.is_empty(), "{data}");
}

fn pressure_is_told_where_the_kernel_has_it() {
    let container = limited().start();
    let data = event(&container);
    for (what, file) in [("cpu", "cpu.pressure"), ("memory", "memory.pressure"), ("blkio", "io.pressure")] {
        let psi = &data[what]["psi"];
        assert!(psi["some"]["total"].is_u64() && psi["full"]["avg10"].is_f64(), "{file}: {data}");
    }
}

fn network_devices_are_counted_by_name() {
    let container = limited().start();
    container.sh("ip link set lo up; ping -c 1 -W 1 127.0.0.1 >/dev/null 2>&1; true");
    let data = event(&container);
    let devices = data["network_interfaces"].as_array().unwrap();
    let names: Vec<_> = devices.iter().map(|device| device["Name"].as_str().unwrap()).collect();
    assert!(names.contains(&"lo"), "{data}");
    assert!(
        devices.iter().all(|device| device["RxBytes"].is_u64() && device["TxDropped"].is_u64()),
        "{data}"
    );
}

fn statistics_come_at_every_interval_and_end_with_the_container() {
    let container = limited().start();
    let run = watch(&container, "20ms");
    child::eventually("three events", || run.stdout_so_far().lines().count() >= 3);
    container.kill("KILL").ok();
    let output = run.finish().ok();
    for line in output.stdout.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(container.id())));
    }
}

/// Grows until the kernel ends it.
const GREEDY: &str = "x=$(head -c 200000000 /dev/zero | tr '\\0' x)";

/// Swap would take what memory has no room for.
fn cramped(script: &str) -> Bundle {
    let limit =
        match cgroup::v1("memory").is_some_and(|point| !point.join("memory.memsw.limit_in_bytes").exists()) {
            true => json!({"limit": 16 << 20}),
            false => json!({"limit": 16 << 20, "swap": 16 << 20}),
        };
    Bundle::shell(script).limit("memory", limit)
}

fn ooms(text: &str) -> usize {
    text.lines().filter(|line| line.contains("\"oom\"")).count()
}

fn the_oom_killer_is_told_of() {
    let script =
        format!("while [ ! -e /tmp/go ]; do sleep 0.01; done; ({GREEDY}); while :; do sleep 100; done");
    let container = cramped(&script).start();
    let run = watch(&container, "20ms");
    child::eventually("it watches", || run.stdout_so_far().contains("stats"));
    std::fs::write(container.bundle.rootfs().join("tmp/go"), "").unwrap();
    child::eventually("an oom is told", || ooms(&run.stdout_so_far()) > 0);
    assert_eq!(container.status(), "running");
    let oom = lines(&run).into_iter().find(|event| event["type"] == "oom").unwrap();
    assert_eq!(oom, json!({"type": "oom", "id": container.id()}));
    container.kill("KILL").ok();
    run.finish().ok();
}

fn an_oom_that_ends_the_container_is_told_before_the_end() {
    let script = format!("while [ ! -e /tmp/go ]; do sleep 0.01; done; {GREEDY}; echo $x");
    let container = cramped(&script).start();
    let run = watch(&container, "20ms");
    child::eventually("it watches", || run.stdout_so_far().contains("stats"));
    std::fs::write(container.bundle.rootfs().join("tmp/go"), "").unwrap();
    let output = run.finish().ok();
    assert!(ooms(&output.stdout) > 0, "{output}");
    container.wait_for("stopped");
}

fn an_interrupt_ends_the_events_and_nothing_else() {
    let container = limited().start();
    let mut run = watch(&container, "5ms");
    run.wait_for_output("stats");
    run.signal(Signal::SIGINT);
    let output = run.finish();
    assert_eq!(output.code, 130, "{output}");
    assert!(output.stdout.ends_with('\n'), "{output}");
    output.stdout.lines().for_each(|line| drop(serde_json::from_str::<Value>(line).unwrap()));
    assert_eq!(container.status(), "running");
}

fn a_paused_container_still_tells() {
    let container = limited().start();
    container.runtime(&["pause", container.id()]).ok();
    event(&container);
    container.runtime(&["resume", container.id()]).ok();
}

fn a_stopped_container_has_no_events() {
    let container = limited().start();
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.runtime(&["events", container.id()]).fails(1, &["is not running"]);
    container.runtime(&["events", "--stats", container.id()]).fails(1, &["is not running"]);
}

fn an_interval_has_to_be_a_time() {
    let container = limited().start();
    for (interval, words) in
        [("0", "must be greater than 0"), ("0s", "must be greater than 0"), ("soon", "invalid time \"soon\"")]
    {
        container.runtime(&["events", "--interval", interval, container.id()]).fails(1, &[words]);
        container.runtime(&["stats", "--interval", interval, container.id()]).fails(1, &[words]);
    }
}

fn an_unknown_container_has_neither_events_nor_stats() {
    for command in [&["events", "nonesuch"][..], &["events", "--stats", "nonesuch"], &["stats", "nonesuch"]] {
        bundle::runtime(command).fails(1, &["does not exist"]);
    }
}

fn without_a_cgroup_events_are_refused_and_stats_show_what_there_is() {
    let container = Bundle::sleeper().start();
    container.runtime(&["events", container.id()]).fails(1, &["no cgroup of its own", "delegated"]);
    container
        .runtime(&["events", "--stats", container.id()])
        .fails(1, &["no cgroup of its own", "delegated"]);
    let text = container.runtime(&["stats", "--no-stream", container.id()]).ok().stdout;
    let row = text.lines().nth(1).unwrap();
    assert!(row.contains(container.id()) && row.contains('-'), "{text}");
}

fn stats_show_a_table_once_when_asked() {
    let container = limited().start();
    let output = container.runtime(&["stats", "--no-stream", "--interval", "10ms"]).ok();
    let lines: Vec<_> = output.stdout.lines().collect();
    assert!(lines.len() == 2 && lines[0].contains("ID") && lines[0].contains("MEMORY / LIMIT"), "{output}");
    assert!(lines[1].contains(container.id()) && lines[1].contains("/ 64.00 MiB"), "{output}");
    container.kill("KILL").ok();
    container.wait_for("stopped");
    let output = container.runtime(&["stats", "--no-stream", "--interval", "10ms"]).ok();
    assert_eq!(output.stdout.lines().count(), 1, "{output}");
    container.runtime(&["stats", "--no-stream", container.id()]).fails(1, &["is not running"]);
}

fn stats_as_json_have_what_the_limits_are() {
    let container = limited().start();
    let rows = container
        .runtime(&["stats", "--no-stream", "--interval=10ms", "--format", "json", container.id()])
        .ok()
        .json();
    assert_eq!(rows[0]["id"], container.id());
    assert_eq!(rows[0]["memory"]["limit"], LIMIT);
    assert_eq!(rows[0]["pids"]["limit"], 40);
    assert!(rows[0]["cpu_percent"].is_f64() && rows[0]["block"]["read"].is_u64(), "{rows}");
    assert_eq!(rows[0]["oom_kills"], 0);
}

fn stats_go_on_until_the_container_has_ended() {
    let container = limited().start();
    let run =
        Run::start(&mut container.command(&["stats", "--interval", "10ms", "-f", "json", container.id()]));
    child::eventually("three looks", || run.stdout_so_far().lines().count() >= 3);
    container.kill("KILL").ok();
    let output = run.finish().ok();
    assert_eq!(output.stdout.lines().last(), Some("[]"));
}

fn a_busy_container_shows_its_processor_time() {
    let container = Bundle::shell("while :; do :; done").start();
    let rows = container
        .runtime(&["stats", "--no-stream", "--interval=500ms", "-f", "json", container.id()])
        .ok()
        .json();
    assert!(rows[0]["cpu_percent"].as_f64().unwrap() > 0.0, "{rows}");
    assert!(rows[0]["cpu_nanoseconds"].as_u64().unwrap() > 0, "{rows}");
}
