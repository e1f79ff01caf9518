//! On which CPUs and memory nodes programs run: `process.execCPUAffinity`, `linux.memoryPolicy`.

use serde_json::{Value, json};

use crate::support::*;
use crate::tests;

const NUMA: Need = Need::File("/proc/self/numa_maps");

tests![
    a_pinned_caller_does_not_pin_the_container needs [Need::Program("taskset")],
    exec_runs_on_the_final_cpus needs [Need::Isolate],
    exec_keeps_the_initial_cpus_where_no_others_are_named needs [Need::Isolate, two_cpus()],
    exec_moves_from_the_initial_to_the_final_cpus needs [Need::Isolate, two_cpus()],
    exec_without_affinity_runs_on_all_cpus needs [Need::Program("taskset")],
    the_init_takes_no_notice_of_the_affinity_of_exec needs [Need::Isolate],
    a_list_of_cpus_that_is_none_is_refused needs [Need::Isolate],
    a_cpu_that_is_not_there_is_refused_by_exec needs [Need::Isolate],
    the_memory_policy_is_that_of_the_config needs [Need::Isolate, NUMA],
    exec_has_the_memory_policy_of_the_container needs [Need::Isolate, NUMA],
    flags_of_the_memory_policy_are_set needs [Need::Isolate, NUMA, Need::Kernel(5, 12)],
    a_memory_policy_without_its_nodes_is_refused needs [Need::Isolate],
    nodes_of_a_memory_policy_that_takes_none_are_refused needs [Need::Isolate],
    flags_of_the_memory_policy_that_exclude_each_other_are_refused needs [Need::Isolate],
    an_unknown_memory_policy_is_refused needs [Need::Isolate],
    a_memory_node_that_is_not_there_is_refused needs [Need::Isolate, NUMA],
];

fn two_cpus() -> Need {
    Need::File("/sys/devices/system/cpu/cpu1")
}

const SHOW: &str = "grep Cpus_allowed_list /proc/self/status | cut -f2";

fn own_cpus() -> String {
    process::status(std::process::id() as i32, "Cpus_allowed_list").unwrap()
}

fn a_pinned_caller_does_not_pin_the_container() {
    let container = Bundle::shell(SHOW).container();
    let mut command = std::process::Command::new("taskset");
    let inner = container.bundle_command("run", &[]);
    command.arg("1").arg(inner.get_program()).args(inner.get_args());
    assert_eq!(child::run(&mut command).ok().text(), own_cpus());
}

fn with_affinity(affinity: Value) -> Container {
    Bundle::sleeper().set("/process/execCPUAffinity", affinity).start()
}

fn exec_runs_on_the_final_cpus() {
    assert_eq!(with_affinity(json!({"final": "0"})).sh(SHOW), "0");
}

fn exec_keeps_the_initial_cpus_where_no_others_are_named() {
    assert_eq!(with_affinity(json!({"initial": "1"})).sh(SHOW), "1");
}

fn exec_moves_from_the_initial_to_the_final_cpus() {
    assert_eq!(with_affinity(json!({"initial": "0", "final": "1"})).sh(SHOW), "1");
}

fn exec_without_affinity_runs_on_all_cpus() {
    let container = Bundle::sleeper().start();
    let inner = container.exec_command(&[], &["/bin/sh", "-c", SHOW]);
    let mut command = std::process::Command::new("taskset");
    command.arg("1").arg(inner.get_program()).args(inner.get_args());
    assert_eq!(child::run(&mut command).ok().text(), own_cpus());
}

fn the_init_takes_no_notice_of_the_affinity_of_exec() {
    let affinity = json!({"initial": "0", "final": "0"});
    assert_eq!(Bundle::shell(SHOW).set("/process/execCPUAffinity", affinity).output(), own_cpus());
}

fn a_list_of_cpus_that_is_none_is_refused() {
    let affinity = json!({"initial": "0-", "final": "3-1"});
    Bundle::nothing().set("/process/execCPUAffinity", affinity).refused(&[
        "process.execCPUAffinity.initial: \"0-\" is not a list like 0-3,7",
        "process.execCPUAffinity.final: \"3-1\" holds a range that ends before it begins",
    ]);
}

fn a_cpu_that_is_not_there_is_refused_by_exec() {
    let container = with_affinity(json!({"final": "60000"}));
    container
        .exec(&["true"])
        .fails(255, &["process.execCPUAffinity.final: sched_setaffinity(60000): EINVAL"]);
}

/// The policy of the first mapping.
const POLICY: &str = "head -n 1 /proc/self/numa_maps | cut -d ' ' -f 2";

fn with_policy(policy: Value) -> Bundle {
    Bundle::shell(POLICY).set("/linux/memoryPolicy", policy)
}

fn the_memory_policy_is_that_of_the_config() {
    for (policy, shown, since) in [
        (json!({"mode": "MPOL_DEFAULT"}), "default", (2, 6)),
        (json!({"mode": "MPOL_LOCAL", "nodes": ""}), "local", (3, 8)),
        (json!({"mode": "MPOL_BIND", "nodes": "0"}), "bind:0", (2, 6)),
        (json!({"mode": "MPOL_PREFERRED", "nodes": "0"}), "prefer:0", (2, 6)),
        (json!({"mode": "MPOL_PREFERRED"}), "local", (2, 6)),
        (json!({"mode": "MPOL_INTERLEAVE", "nodes": "0-0"}), "interleave:0", (2, 6)),
        (json!({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}), "prefer (many):0", (5, 15)),
        (json!({"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0"}), "weighted interleave:0", (6, 9)),
    ] {
        if need::kernel() >= since {
            let seen = with_policy(policy.clone()).config(|json| {
                json["process"]["args"][2] = json!("head -n 1 /proc/self/numa_maps");
            });
            assert!(seen.output().contains(&format!(" {shown} ")), "{policy}");
        } else {
            with_policy(policy).refused(&["linux.memoryPolicy: MPOL_", "needs Linux"]);
        }
    }
}

fn exec_has_the_memory_policy_of_the_container() {
    let policy = json!({"mode": "MPOL_BIND", "nodes": "0"});
    assert_eq!(Bundle::sleeper().set("/linux/memoryPolicy", policy).start().sh(POLICY), "bind:0");
}

fn flags_of_the_memory_policy_are_set() {
    let flagged =
        |mode: &str, flag: &str| with_policy(json!({"mode": mode, "nodes": "0", "flags": [flag]})).output();
    assert_eq!(flagged("MPOL_INTERLEAVE", "MPOL_F_STATIC_NODES"), "interleave=static:0");
    assert_eq!(flagged("MPOL_INTERLEAVE", "MPOL_F_RELATIVE_NODES"), "interleave=relative:0");
    assert!(flagged("MPOL_BIND", "MPOL_F_NUMA_BALANCING").starts_with("bind=balancing:0"));
}

fn a_memory_policy_without_its_nodes_is_refused() {
    for mode in ["MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_PREFERRED_MANY", "MPOL_WEIGHTED_INTERLEAVE"] {
        let why = format!("linux.memoryPolicy.nodes: {mode} needs nodes");
        with_policy(json!({"mode": mode})).refused(&[&why]);
    }
    with_policy(json!({"mode": "MPOL_BIND", "nodes": "one"}))
        .refused(&["linux.memoryPolicy.nodes: \"one\" is not a list like 0-3,7"]);
}

fn nodes_of_a_memory_policy_that_takes_none_are_refused() {
    for mode in ["MPOL_DEFAULT", "MPOL_LOCAL"] {
        let why = format!("linux.memoryPolicy.nodes: {mode} takes no nodes");
        with_policy(json!({"mode": mode, "nodes": "0"})).refused(&[&why]);
        let why = format!("linux.memoryPolicy.flags: {mode} takes no flags");
        with_policy(json!({"mode": mode, "flags": ["MPOL_F_STATIC_NODES"]})).refused(&[&why]);
    }
}

fn flags_of_the_memory_policy_that_exclude_each_other_are_refused() {
    let both = json!(["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]);
    with_policy(json!({"mode": "MPOL_BIND", "nodes": "0", "flags": both})).refused(&["exclude each other"]);
    let flags = json!(["MPOL_F_NUMA_BALANCING"]);
    with_policy(json!({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": flags}))
        .refused(&["MPOL_F_NUMA_BALANCING goes with MPOL_BIND and MPOL_PREFERRED_MANY alone"]);
}

fn an_unknown_memory_policy_is_refused() {
    with_policy(json!({"mode": "MPOL_RANDOM"}))
        .refused(&["linux.memoryPolicy.mode: unknown memory policy \"MPOL_RANDOM\""]);
    with_policy(json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_X"]}))
        .refused(&["linux.memoryPolicy.flags[0]: unknown memory policy flag \"MPOL_F_X\""]);
}

fn a_memory_node_that_is_not_there_is_refused() {
    with_policy(json!({"mode": "MPOL_BIND", "nodes": "1000"}))
        .refused(&["linux.memoryPolicy: set_mempolicy(MPOL_BIND, nodes \"1000\"): EINVAL"]);
}
