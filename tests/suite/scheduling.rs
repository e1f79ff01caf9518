//! How the kernel schedules a container's program: `process.scheduler`, `process.ioPriority`; and what it
//! takes itself to run on: `linux.personality`.

use serde_json::{Value, json};

use crate::support::*;
use crate::tests;

const NICE: Need = Need::Capability("CAP_SYS_NICE", 23);

tests![
    every_policy_without_real_time_is_set needs [Need::Not("runc", "1.1 knows no scheduler")],
    the_nice_value_is_that_of_the_config needs [Need::Not("runc", "1.1 knows no scheduler")],
    real_time_policies_have_their_priority needs [NICE, Need::Isolate],
    deadline_scheduling_is_set needs [NICE, Need::Isolate],
    exec_has_the_scheduling_of_its_process needs [Need::Isolate],
    reset_on_fork_takes_the_policy_from_children needs [NICE, Need::Isolate],
    every_flag_of_the_specification_is_known needs [Need::Isolate],
    a_policy_the_kernel_does_not_have_is_refused needs [Need::Isolate],
    real_time_without_the_right_to_it_is_refused needs [Need::OrdinaryUser, Need::Isolate],
    a_nice_value_of_another_policy_is_refused needs [Need::Isolate],
    a_priority_of_another_policy_is_refused needs [Need::Isolate],
    deadline_times_that_do_not_fit_are_refused needs [Need::Isolate],
    an_unknown_policy_or_flag_is_refused needs [Need::Isolate],
    the_io_priority_is_that_of_the_config needs [Need::Not("runc", "1.1 knows no I/O priority")],
    real_time_io_priority_is_set needs [NICE, Need::Isolate],
    an_io_priority_out_of_range_is_refused needs [Need::Isolate],
    an_unknown_io_class_is_refused needs [Need::Isolate],
    the_personality_is_that_of_the_config needs [Need::Not("runc", "1.1 knows no personality")],
    exec_has_the_personality_of_the_container needs [Need::Isolate],
    a_personality_with_flags_is_refused needs [Need::Isolate],
];

/// `nice rt_priority policy` of a process: fields 19, 40, 41 of its stat (proc_pid_stat(5)).
const SHOW: &str = "cut -d ' ' -f 19,40,41 /proc/self/stat";

/// In the caller's cgroup: a new one of v1 has no budget for real time, where the kernel shares that out.
fn in_real_time(scheduler: Value, bundle: Bundle) -> String {
    let container = bundle.set("/process/scheduler", scheduler).container();
    let mut command = container.command(&["--cgroup-manager", "disabled", "run", "--bundle"]);
    let output = child::run(command.arg(&container.bundle.folder).arg(container.id()));
    if output.stderr.contains("EPERM")
        && std::path::Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists()
    {
        skip("the caller's cgroup has no budget for real time (cpu.rt_runtime_us)");
    }
    output.ok().text().to_owned()
}

fn scheduled(scheduler: Value) -> Bundle {
    let bundle = Bundle::new(&["/bin/cut", "-d", " ", "-f", "19,40,41", "/proc/self/stat"]);
    bundle.set("/process/scheduler", scheduler)
}

fn every_policy_without_real_time_is_set() {
    for (policy, number) in [("SCHED_OTHER", 0), ("SCHED_BATCH", 3), ("SCHED_IDLE", 5)] {
        assert_eq!(scheduled(json!({"policy": policy})).output(), format!("0 0 {number}"), "{policy}");
    }
}

fn the_nice_value_is_that_of_the_config() {
    assert_eq!(scheduled(json!({"policy": "SCHED_OTHER", "nice": 7})).output(), "7 0 0");
    assert_eq!(scheduled(json!({"policy": "SCHED_BATCH", "nice": 19})).output(), "19 0 3");
}

fn real_time_policies_have_their_priority() {
    let seen = |policy: &str, priority: u32| {
        in_real_time(
            json!({"policy": policy, "priority": priority}),
            scheduled(json!({"policy": "SCHED_OTHER"})),
        )
    };
    assert_eq!(seen("SCHED_FIFO", 1), "0 1 1");
    assert_eq!(seen("SCHED_RR", 99), "0 99 2");
}

fn deadline_scheduling_is_set() {
    let times = json!({"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 50_000_000, "period": 100_000_000});
    assert_eq!(scheduled(times).output(), "0 0 6");
}

fn exec_has_the_scheduling_of_its_process() {
    let container =
        Bundle::sleeper().set("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 3})).start();
    assert_eq!(container.sh(SHOW), "3 0 3");
}

fn reset_on_fork_takes_the_policy_from_children() {
    let both = |flags: Value| {
        let scheduler = json!({"policy": "SCHED_FIFO", "priority": 5, "flags": flags});
        in_real_time(
            scheduler,
            Bundle::shell(
                "read stat < /proc/self/stat; echo $stat | cut -d ' ' -f 41; cut -d ' ' -f 41 /proc/self/stat; exit 0",
            ),
        )
    };
    assert_eq!(both(json!(["SCHED_FLAG_RESET_ON_FORK"])), "1\n0");
    assert_eq!(both(json!([])), "1\n1");
}

/// Those that this kernel was not built for are refused by it, by name of the call.
fn every_flag_of_the_specification_is_known() {
    for flag in [
        "SCHED_FLAG_RESET_ON_FORK",
        "SCHED_FLAG_RECLAIM",
        "SCHED_FLAG_DL_OVERRUN",
        "SCHED_FLAG_KEEP_POLICY",
        "SCHED_FLAG_KEEP_PARAMS",
        "SCHED_FLAG_UTIL_CLAMP_MIN",
        "SCHED_FLAG_UTIL_CLAMP_MAX",
    ] {
        let output = scheduled(json!({"policy": "SCHED_OTHER", "flags": [flag]})).run();
        let is_refused = output.stderr.contains("process.scheduler: sched_setattr(policy 0");
        assert!(output.code == 0 || is_refused && output.stderr.contains("EOPNOTSUPP"), "{flag}: {output}");
    }
}

fn a_policy_the_kernel_does_not_have_is_refused() {
    scheduled(json!({"policy": "SCHED_ISO"}))
        .refused(&["process.scheduler: sched_setattr(policy 4", "EINVAL"]);
}

fn real_time_without_the_right_to_it_is_refused() {
    scheduled(json!({"policy": "SCHED_FIFO", "priority": 1})).refused(&[
        "process.scheduler: sched_setattr(policy 1",
        "EPERM",
        "may not give this scheduling",
    ]);
}

fn a_nice_value_of_another_policy_is_refused() {
    scheduled(json!({"policy": "SCHED_IDLE", "nice": 1}))
        .refused(&["process.scheduler.nice: only SCHED_OTHER and SCHED_BATCH"]);
    scheduled(json!({"policy": "SCHED_OTHER", "nice": 20}))
        .refused(&["process.scheduler.nice: 20 is out of range: -20 to 19"]);
}

fn a_priority_of_another_policy_is_refused() {
    scheduled(json!({"policy": "SCHED_OTHER", "priority": 1}))
        .refused(&["process.scheduler.priority: only SCHED_FIFO and SCHED_RR"]);
    for priority in [0, 100] {
        let why = format!("process.scheduler.priority: {priority} is out of range: 1 to 99");
        scheduled(json!({"policy": "SCHED_RR", "priority": priority})).refused(&[&why]);
    }
}

fn deadline_times_that_do_not_fit_are_refused() {
    scheduled(json!({"policy": "SCHED_DEADLINE"}))
        .refused(&["process.scheduler: SCHED_DEADLINE needs a runtime and a deadline"]);
    let times = json!({"policy": "SCHED_DEADLINE", "runtime": 3, "deadline": 2, "period": 1});
    scheduled(times).refused(&["process.scheduler: SCHED_DEADLINE needs runtime <= deadline <= period"]);
    scheduled(json!({"policy": "SCHED_FIFO", "priority": 1, "runtime": 1}))
        .refused(&["process.scheduler.runtime: only SCHED_DEADLINE has one"]);
}

fn an_unknown_policy_or_flag_is_refused() {
    scheduled(json!({"policy": "SCHED_BEST"}))
        .refused(&["process.scheduler.policy: unknown scheduling policy \"SCHED_BEST\""]);
    // The names that a library gives two of the flags are not the specification's.
    for flag in ["SCHED_RESET_ON_FORK", "SCHED_FLAG_D_L_OVERRUN"] {
        scheduled(json!({"policy": "SCHED_OTHER", "flags": [flag]}))
            .refused(&["process.scheduler.flags[0]: unknown scheduling flag"]);
    }
}

fn io(class: &str, priority: i64) -> Bundle {
    Bundle::new(&["/bin/ionice"]).set("/process/ioPriority", json!({"class": class, "priority": priority}))
}

fn the_io_priority_is_that_of_the_config() {
    assert_eq!(io("IOPRIO_CLASS_BE", 6).output(), "best-effort: prio 6");
    assert!(io("IOPRIO_CLASS_IDLE", 0).output().starts_with("idle"));
}

fn real_time_io_priority_is_set() {
    assert_eq!(io("IOPRIO_CLASS_RT", 2).output(), "realtime: prio 2");
}

fn an_io_priority_out_of_range_is_refused() {
    io("IOPRIO_CLASS_BE", 8).refused(&["process.ioPriority.priority: 8 is out of range: 0 to 7"]);
    io("IOPRIO_CLASS_BE", -1).refused(&["process.ioPriority.priority: -1 is out of range: 0 to 7"]);
}

fn an_unknown_io_class_is_refused() {
    io("IOPRIO_CLASS_NONE", 1)
        .refused(&["process.ioPriority.class: unknown I/O class \"IOPRIO_CLASS_NONE\""]);
}

fn the_personality_is_that_of_the_config() {
    let machine = |domain: &str| {
        Bundle::new(&["/bin/uname", "-m"]).set("/linux/personality", json!({"domain": domain})).output()
    };
    assert_eq!(machine("LINUX"), std::env::consts::ARCH);
    assert_eq!(machine("LINUX32"), "i686");
}

fn exec_has_the_personality_of_the_container() {
    let container = Bundle::sleeper().set("/linux/personality", json!({"domain": "LINUX32"})).start();
    assert_eq!(container.sh("uname -m"), "i686");
}

fn a_personality_with_flags_is_refused() {
    let personality = json!({"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]});
    Bundle::nothing()
        .set("/linux/personality", personality)
        .refused(&["linux.personality.flags: the specification defines none"]);
}
