//! Real cgroups on this host, whatever its layout, below `/isolate-test-PID-NAME`. They need root; without it,
//! or without cgroups, each says so and does nothing.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, Uid};
use serde_json::{Value, json};

use super::layout::Layout;
use super::*;
use crate::host::Host;
use crate::ids::ContainerId;
use crate::plan::cgroup::{compile, compile_update};

/// A container's cgroup that is cleaned up whatever happens.
struct Stage {
    cgroup: Cgroup,
    groups: Vec<Group>,
    host: Host,
    children: Vec<Pid>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.cgroup.kill_all(9);
        for pid in &self.children {
            let _ = waitpid(*pid, None);
        }
        let _ = self.cgroup.remove();
    }
}

fn host(layout: Layout) -> Host {
    Host {
        kernel: (6, 0),
        uid: 0,
        gid: 0,
        initial_user_namespace: true,
        privileged: Uid::effective().is_root(),
        sys_admin: true,
        subuids: Vec::new(),
        subgids: Vec::new(),
        newidmap: false,
        cgroups: layout,
        apparmor: false,
        selinux: false,
        resctrl: Default::default(),
        systemd: None,
        namespaces: Vec::new(),
    }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(format!("/isolate-test-{}-{name}/c", std::process::id()))
}

fn groups(name: &str, resources: Value) -> Option<(Vec<Group>, Host)> {
    if !Uid::effective().is_root() {
        eprintln!("skipped: {name}: not root");
        return None;
    }
    let host = host(probe::probe().unwrap());
    if host.cgroups.hierarchies.is_empty() {
        eprintln!("skipped: {name}: no cgroups on this host");
        return None;
    }
    let resources = serde_json::from_value(resources).unwrap();
    let id = ContainerId::new(name).unwrap();
    let plan = compile(Some(&resources), Some(&path(name)), None, &id, &host).unwrap();
    Some((plan.groups, host))
}

fn stage(name: &str, resources: Value) -> Option<Stage> {
    let (groups, host) = groups(name, resources)?;
    let mut stage = Stage { cgroup: Cgroup::default(), groups, host, children: Vec::new() };
    for group in &stage.groups {
        stage.cgroup.groups.push(make(group).unwrap().unwrap());
    }
    for (open, group) in stage.cgroup.groups.iter().zip(&stage.groups) {
        limit(open, group).unwrap();
    }
    Some(stage)
}

impl Stage {
    /// Runs a shell script in the cgroup.
    fn spawn(&mut self, script: &str) -> i32 {
        let words = ["/bin/sh", "-c", script].map(|word| CString::new(word).unwrap());
        let tasks = self.cgroup.tasks_files().unwrap();
        let pid = crate::sys::cgroup::fork(self.cgroup.clone_into(), || match join::join_current(&tasks) {
            Ok(()) => nix::unistd::execv(&words[0], &words).map_or(101, |_| 0),
            Err((index, _)) => 110 + index as i32,
        });
        let pid = pid.unwrap();
        self.children.push(Pid::from_raw(pid));
        pid
    }

    fn wait(&mut self, pid: i32) -> WaitStatus {
        self.children.retain(|child| child.as_raw() != pid);
        waitpid(Pid::from_raw(pid), None).unwrap()
    }

    fn value(&self, controller: &str, v1: &str, v2: &str) -> String {
        let (group, file) = match self.cgroup.v1(controller) {
            Some(group) => (group, v1),
            None => (self.cgroup.unified().unwrap(), v2),
        };
        files::read(&group.fd, file).unwrap().trim().to_owned()
    }

    fn update(&self, resources: Value) -> Result<()> {
        let resources = serde_json::from_value(resources).unwrap();
        let plan = compile_update(&resources, &self.cgroup.save(), &self.host).unwrap();
        for group in &plan.groups {
            let open = self.cgroup.groups.iter().find(|open| open.hierarchy == group.hierarchy).unwrap();
            limit(open, group)?;
        }
        Ok(())
    }

    fn exist(&self) -> Vec<bool> {
        self.groups.iter().map(|group| group.dir.exists()).collect()
    }
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A script that keeps a file growing, and how far it is. Made before the stage, to be dropped after it. (Not every kernel accounts a process's time.)
struct Busy(PathBuf);

impl Busy {
    fn new(name: &str) -> Busy {
        Busy(std::env::temp_dir().join(format!("isolate-test-{}-{name}", std::process::id())))
    }

    fn script(&self) -> String {
        format!("while :; do echo x >> {}; done", self.0.display())
    }

    fn done(&self) -> u64 {
        std::fs::metadata(&self.0).map_or(0, |file| file.len())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn limits_read_back_as_they_were_written_and_nothing_is_left_after_removal() {
    let config = json!({
        "memory": {"limit": 67_108_864, "swap": 67_108_864},
        "pids": {"limit": 32},
        "cpu": {"shares": 512, "quota": 20000, "period": 50000, "cpus": "0"}
    });
    let Some(stage) = stage("limits", config) else { return };
    assert_eq!(stage.value("memory", "memory.limit_in_bytes", "memory.max"), "67108864");
    assert_eq!(stage.value("pids", "pids.max", "pids.max"), "32");
    assert_eq!(stage.value("cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    match stage.cgroup.v1("cpu") {
        Some(_) => {
            assert_eq!(stage.value("cpu", "cpu.shares", ""), "512");
            assert_eq!(stage.value("cpu", "cpu.cfs_quota_us", ""), "20000");
            assert!(stage.value("devices", "devices.list", "").contains("c 1:3 rwm"));
            assert!(!stage.value("devices", "devices.list", "").contains("a *:*"));
        }
        None => {
            assert_eq!(stage.value("cpu", "", "cpu.max"), "20000 50000");
            assert_eq!(stage.value("cpu", "", "cpu.weight"), "59");
        }
    }
    assert!(stage.exist().iter().all(|exists| *exists));
    stage.cgroup.remove().unwrap();
    assert!(stage.exist().iter().all(|exists| !*exists));
}

#[test]
fn a_child_is_in_the_cgroup_of_every_hierarchy() {
    let Some(mut stage) = stage("join", json!({})) else { return };
    let pid = stage.spawn("exec sleep 1000");
    let place = path("join");
    let all_in = || {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let inside = text.lines().filter(|line| line.ends_with(place.to_str().unwrap())).count();
        inside == stage.groups.len()
    };
    eventually("in all cgroups", all_in);
    assert_eq!(stage.cgroup.processes().unwrap(), [pid]);
    assert!(stage.cgroup.remove().unwrap_err().to_string().contains("EBUSY"));
    stage.cgroup.kill_all(9).unwrap();
    assert_eq!(stage.cgroup.processes().unwrap(), [0i32; 0]);
}

#[test]
fn the_frozen_do_not_run_until_they_are_thawed() {
    let busy = Busy::new("freeze");
    let Some(mut stage) = stage("freeze", json!({})) else { return };
    stage.spawn(&busy.script());
    eventually("it runs", || busy.done() > 20);
    let start = Instant::now();
    stage.cgroup.freeze().unwrap();
    eprintln!("frozen in {:?}", start.elapsed());
    assert!(stage.cgroup.is_frozen().unwrap());
    let before = busy.done();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(busy.done(), before);
    stage.cgroup.thaw().unwrap();
    assert!(!stage.cgroup.is_frozen().unwrap());
    eventually("it runs again", || busy.done() > before);
}

#[test]
fn an_empty_cgroup_freezes_at_once() {
    let Some(stage) = stage("empty", json!({})) else { return };
    stage.cgroup.freeze().unwrap();
    stage.cgroup.thaw().unwrap();
    stage.cgroup.kill_all(9).unwrap();
}

const BOMB: &str = "bomb() { bomb & bomb & wait; }; while :; do bomb 2>/dev/null; done";

#[test]
fn a_frozen_fork_bomb_is_killed() {
    let Some(mut stage) = stage("bomb", json!({"pids": {"limit": 60}})) else { return };
    let pid = stage.spawn(BOMB);
    eventually("many processes", || stage.cgroup.processes().unwrap().len() > 30);
    stage.cgroup.freeze().unwrap();
    let start = Instant::now();
    stage.cgroup.kill_all(9).unwrap();
    eprintln!("killed a frozen fork bomb in {:?}", start.elapsed());
    assert_eq!(stage.cgroup.processes().unwrap(), [0i32; 0]);
    assert!(matches!(stage.wait(pid), WaitStatus::Signaled(..)));
    stage.cgroup.remove().unwrap();
}

#[test]
fn a_running_fork_bomb_in_sub_cgroups_is_killed_by_signals_alone() {
    let Some(mut stage) = stage("storm", json!({"pids": {"limit": 60}})) else { return };
    let pid = stage.spawn(BOMB);
    eventually("many processes", || stage.cgroup.processes().unwrap().len() > 30);
    let group = stage.cgroup.v1("freezer").or(stage.cgroup.unified()).unwrap();
    std::fs::create_dir(group.dir.join("inner")).unwrap();
    std::fs::write(group.dir.join("inner/cgroup.procs"), pid.to_string()).unwrap();
    let start = Instant::now();
    // Without the kernel's own kill, as on kernels that lack it.
    while !stage.cgroup.processes().unwrap().is_empty() {
        stage.cgroup.kill_held_for_tests().unwrap();
        assert!(start.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(1));
    }
    eprintln!("killed a fork bomb by signals in {:?}", start.elapsed());
    stage.wait(pid);
    stage.cgroup.remove().unwrap();
}

#[test]
fn other_signals_reach_every_process_once() {
    let Some(mut stage) = stage("term", json!({})) else { return };
    let pid = stage.spawn("sleep 1000 & exec sleep 1000");
    eventually("two processes", || stage.cgroup.processes().unwrap().len() == 2);
    stage.cgroup.kill_all(15).unwrap();
    eventually("none", || stage.cgroup.processes().unwrap().is_empty());
    assert!(matches!(stage.wait(pid), WaitStatus::Signaled(_, nix::sys::signal::Signal::SIGTERM, _)));
}

#[test]
fn a_sub_cgroup_that_the_container_froze_does_not_keep_it_alive() {
    let Some(mut stage) = stage("inner", json!({})) else { return };
    let pid = stage.spawn("exec sleep 1000");
    eventually("one process", || stage.cgroup.processes().unwrap() == [pid]);
    let group = stage.cgroup.v1("freezer").or(stage.cgroup.unified()).unwrap();
    let inner = group.dir.join("a/b");
    std::fs::create_dir_all(&inner).unwrap();
    std::fs::write(inner.join("cgroup.procs"), pid.to_string()).unwrap();
    let (file, value) =
        if group.version == Version::V1 { ("freezer.state", "FROZEN") } else { ("cgroup.freeze", "1") };
    std::fs::write(inner.join(file), value).unwrap();
    assert_eq!(stage.cgroup.processes().unwrap(), [pid]);
    stage.cgroup.kill_all(9).unwrap();
    stage.wait(pid);
    stage.cgroup.remove().unwrap();
    assert!(stage.exist().iter().all(|exists| !*exists));
}

#[test]
fn a_deep_and_wide_tree_is_removed() {
    let Some(stage) = stage("tree", json!({})) else { return };
    let group = stage.cgroup.v1("pids").or(stage.cgroup.unified()).unwrap();
    let mut here = files::open_folder(&group.fd, c".").unwrap();
    let mode = nix::sys::stat::Mode::S_IRWXU;
    let mut depth = 0;
    // cgroup v2 has a limit on depth in some set-ups; v1 has none.
    while depth < 1500 && nix::sys::stat::mkdirat(&here, "deep", mode).is_ok() {
        here = files::open_folder(&here, c"deep").unwrap();
        depth += 1;
    }
    (0..300).for_each(|i| std::fs::create_dir(group.dir.join(format!("wide{i}"))).unwrap());
    let start = Instant::now();
    stage.cgroup.remove().unwrap();
    eprintln!("removed a tree of depth {depth} and width 300 in {:?}", start.elapsed());
    assert!(depth > 100);
    assert!(stage.exist().iter().all(|exists| !*exists));
}

#[test]
fn a_folder_that_was_there_is_taken_only_when_unused_and_never_removed() {
    let Some(mut stage) = stage("used", json!({})) else { return };
    let pid = stage.spawn("exec sleep 1000");
    eventually("one process", || stage.cgroup.processes().unwrap() == [pid]);
    for group in &stage.groups {
        let open = stage.cgroup.groups.iter().find(|open| open.hierarchy == group.hierarchy).unwrap();
        eventually("joined", || !files::read(&open.fd, "cgroup.procs").unwrap().is_empty());
        let error = make(group).unwrap_err().to_string();
        assert!(error.contains("container's cgroup is not empty: 1 process(es) found"), "{error}");
    }
    stage.cgroup.kill_all(9).unwrap();
    stage.wait(pid);
    stage.cgroup.freeze().unwrap();
    let errors: Vec<String> =
        stage.groups.iter().filter_map(|group| make(group).err()).map(|error| error.to_string()).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("container's cgroup unexpectedly frozen"), "{errors:?}");
    stage.cgroup.thaw().unwrap();
    let again: Vec<OpenGroup> = stage.groups.iter().map(|group| make(group).unwrap().unwrap()).collect();
    assert!(again.iter().all(|open| open.made.is_empty()));
    Cgroup { groups: again }.remove().unwrap();
    assert!(stage.exist().iter().all(|exists| *exists));
}

#[test]
fn memory_and_swap_grow_and_shrink_together() {
    let both = |bytes: u64| json!({"memory": {"limit": bytes, "swap": bytes}});
    let Some(stage) = stage("grow", both(64 << 20)) else { return };
    for mib in [256u64, 32, 128] {
        stage.update(both(mib << 20)).unwrap();
        let limit = stage.value("memory", "memory.limit_in_bytes", "memory.max");
        assert_eq!(limit, (mib << 20).to_string());
    }
    stage.update(json!({"memory": {"limit": -1}})).unwrap();
}

#[test]
fn a_period_alone_keeps_the_quota_and_a_quota_alone_the_period() {
    let Some(stage) = stage("period", json!({"cpu": {"quota": 20000, "period": 50000}})) else { return };
    stage.update(json!({"cpu": {"period": 80000}})).unwrap();
    stage.update(json!({"cpu": {"quota": 30000}})).unwrap();
    if stage.cgroup.v1("cpu").is_some() {
        assert_eq!(stage.value("cpu", "cpu.cfs_quota_us", ""), "30000");
        assert_eq!(stage.value("cpu", "cpu.cfs_period_us", ""), "80000");
    } else {
        assert_eq!(stage.value("cpu", "", "cpu.max"), "30000 80000");
    }
}

#[test]
fn a_limit_below_the_usage_is_refused_when_asked_to_check() {
    let Some(mut stage) = stage("check", json!({})) else { return };
    let pid = stage.spawn("exec sleep 1000");
    let used = |stage: &Stage| stage.cgroup.statistics().memory.unwrap().usage.usage;
    eventually("memory in use", || used(&stage) > 8192);
    let error = stage.update(json!({"memory": {"limit": 4096, "checkBeforeUpdate": true}})).unwrap_err();
    assert!(error.to_string().contains("rejecting memory limit 4096 < usage "), "{error}");
    let running = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)).unwrap();
    assert_eq!(running, WaitStatus::StillAlive);
}

#[test]
fn an_out_of_memory_kill_is_counted() {
    let config = json!({"memory": {"limit": 16 << 20, "swap": 16 << 20}});
    let Some(mut stage) = stage("oom", config) else { return };
    assert_eq!(stage.cgroup.oom_kills(), 0);
    let pid = stage.spawn("exec tail /dev/zero");
    let status = stage.wait(pid);
    assert!(matches!(status, WaitStatus::Signaled(_, nix::sys::signal::Signal::SIGKILL, _)), "{status:?}");
    assert!(stage.cgroup.oom_kills() >= 1);
    let statistics = stage.cgroup.statistics();
    let memory = statistics.memory.unwrap();
    assert_eq!(memory.usage.limit, Some(16 << 20));
    assert!(memory.usage.max > 1 << 20 && memory.oom_kills >= 1, "{:?}", memory.usage);
    assert!(memory.raw.len() > 10);
}

#[test]
fn statistics_tell_processor_time_and_processes() {
    let busy = Busy::new("stats");
    let Some(mut stage) = stage("stats", json!({"pids": {"limit": 40}})) else { return };
    stage.spawn(&busy.script());
    eventually("it runs", || busy.done() > 2000);
    let statistics = stage.cgroup.statistics();
    assert!(statistics.cpu.total > 1_000_000, "{:?}", statistics.cpu);
    assert_eq!(statistics.pids, Some(statistics::Pids { current: 1, limit: Some(40), failcnt: 0 }));
    assert!(statistics.memory.is_some());
}

#[test]
fn a_saved_cgroup_is_found_again_and_one_that_is_gone_is_left_out() {
    let Some(stage) = stage("saved", json!({})) else { return };
    let saved = stage.cgroup.save();
    let text = serde_json::to_string(&saved).unwrap();
    let saved: Vec<SavedGroup> = serde_json::from_str(&text).unwrap();
    let again = Cgroup::open(&saved).unwrap();
    assert_eq!(again.groups.len(), stage.groups.len());
    again.remove().unwrap();
    assert_eq!(Cgroup::open(&saved).unwrap().groups.len(), 0);
    assert_eq!(again.processes().unwrap(), [0i32; 0]);
    again.kill_all(9).unwrap();
    again.remove().unwrap();
    let elsewhere = SavedGroup { dir: PathBuf::from("/tmp"), ..saved[0].clone() };
    assert!(Cgroup::open(&[elsewhere]).is_err());
}

#[test]
fn a_folder_that_containers_share_goes_with_the_last_one_whoever_made_it() {
    let Some((first, _)) = groups("shared", json!({})) else { return };
    let second: Vec<Group> =
        first.iter().map(|group| Group { dir: group.dir.with_file_name("d"), ..group.clone() }).collect();
    let made = |groups: &[Group]| Cgroup {
        groups: groups.iter().map(|group| make(group).unwrap().unwrap()).collect(),
    };
    let above: Vec<PathBuf> = first.iter().map(|group| group.dir.parent().unwrap().to_owned()).collect();
    let (first, second) = (made(&first), made(&second));
    first.remove().unwrap();
    assert!(above.iter().all(|dir| dir.is_dir()));
    second.remove().unwrap();
    assert_eq!(above.iter().filter(|dir| dir.exists()).count(), 0);
}

#[test]
fn a_file_that_the_kernel_does_not_have_is_named() {
    let Some((groups, _)) = groups("file", json!({})) else { return };
    let mut group = groups.into_iter().next().unwrap();
    group.writes = vec![group::Write::new("memory.nothing", 1, "linux.resources.unified.memory.nothing")];
    group.enable.clear();
    let open = make(&group).unwrap().unwrap();
    let error = limit(&open, &group).unwrap_err().to_string();
    assert!(
        error.starts_with("linux.resources.unified.memory.nothing: this kernel has no cgroup file"),
        "{error}"
    );
    Cgroup { groups: vec![open] }.remove().unwrap();
}

#[test]
fn a_chain_that_fails_leaves_nothing_behind() {
    let Some((groups, _)) = groups("chain", json!({})) else { return };
    let mut group = groups.into_iter().next().unwrap();
    let top = group.mount_point.join(format!("isolate-test-chain-{}", std::process::id()));
    group.dir = top.join("a").join("b\nc");
    assert!(make(&group).unwrap_err().to_string().contains("EINVAL"));
    assert!(!top.exists());
}

#[test]
fn without_permission_a_group_is_left_out_or_the_limit_is_named() {
    if Uid::effective().is_root() {
        eprintln!("skipped: run the test binary as another user");
        return;
    }
    let mut layout = probe::probe().unwrap();
    // Nobody delegates the top.
    layout.hierarchies.iter_mut().for_each(|hierarchy| hierarchy.own = PathBuf::from("/"));
    let host = host(layout);
    let id = ContainerId::new("c").unwrap();
    for group in compile(None, None, None, &id, &host).unwrap().groups {
        assert!(make(&group).unwrap().is_none());
    }
    let resources = serde_json::from_value(json!({"pids": {"limit": 5}})).unwrap();
    let plan = compile(Some(&resources), None, None, &id, &host).unwrap();
    let group = plan.groups.iter().find(|group| !group.optional).unwrap();
    let error = make(group).unwrap_err().to_string();
    for text in [
        "linux.resources.pids.limit",
        "unable to apply cgroup configuration",
        "permission denied",
        "cannot set pids limit: container could not join or create cgroup",
        "rootless needs no limits + no cgrouppath when no permission is granted for cgroups",
    ] {
        assert!(error.contains(text), "{text}: {error}");
    }
    assert!(make(&Group { dir: Path::new("/proc").into(), ..group.clone() }).is_err());
}

#[test]
fn a_user_with_a_delegated_cgroup_v2_gets_limits() {
    let layout = probe::probe().unwrap();
    let [unified] = layout.hierarchies.as_slice() else {
        eprintln!("skipped: not cgroup v2 alone");
        return;
    };
    let above = unified.mount_point.join(unified.own.strip_prefix("/").unwrap()).join("../cgroup.procs");
    if Uid::effective().is_root() || std::fs::OpenOptions::new().write(true).open(&above).is_err() {
        eprintln!("skipped: root, or {above:?} is not delegated");
        return;
    }
    let host = host(layout);
    let resources = serde_json::from_value(json!({"pids": {"limit": 5}, "memory": {"limit": 67_108_864}}));
    let id = ContainerId::new("delegated").unwrap();
    let groups = compile(Some(&resources.unwrap()), None, None, &id, &host).unwrap().groups;
    let open = make(&groups[0]).unwrap().unwrap();
    limit(&open, &groups[0]).unwrap();
    let mut stage = Stage { cgroup: Cgroup { groups: vec![open] }, groups, host, children: Vec::new() };
    let pid = stage.spawn("exec sleep 1000");
    assert_eq!(stage.cgroup.processes().unwrap(), [pid]);
    assert_eq!(stage.value("pids", "", "pids.max"), "5");
    stage.cgroup.freeze().unwrap();
    stage.cgroup.kill_all(9).unwrap();
    stage.wait(pid);
    stage.cgroup.remove().unwrap();
    assert_eq!(stage.exist(), [false]);
}

#[test]
fn devices_that_are_not_allowed_cannot_be_opened() {
    let Some(mut stage) = stage("devices", json!({})) else { return };
    if stage.cgroup.v1("devices").is_none() {
        eprintln!("skipped: no v1 device controller");
        return;
    }
    let pid = stage.spawn("exec head -c 1 /dev/zero > /dev/null");
    assert!(matches!(stage.wait(pid), WaitStatus::Exited(_, 0)));
    let pid = stage.spawn("exec 2> /dev/null; : < /dev/kmsg");
    assert!(matches!(stage.wait(pid), WaitStatus::Exited(_, code) if code != 0));
    assert!(std::fs::File::open("/dev/kmsg").is_ok());
    stage.update(json!({"devices": [{"allow": true, "type": "c", "major": 1, "minor": 11}]})).unwrap();
    let pid = stage.spawn("exec 2> /dev/null; : < /dev/kmsg");
    assert!(matches!(stage.wait(pid), WaitStatus::Exited(_, 0)));
}

#[test]
fn the_time_a_full_config_takes_is_printed() {
    let config = json!({
        "memory": {"limit": 67_108_864}, "pids": {"limit": 32}, "cpu": {"shares": 512, "quota": 20000}
    });
    let start = Instant::now();
    let Some(stage) = stage("time", config) else { return };
    let made = start.elapsed();
    let files = stage.cgroup.tasks_files().unwrap().len();
    let start = Instant::now();
    stage.cgroup.remove().unwrap();
    eprintln!("probe, compile, make, limit: {made:?}; {files} tasks files; remove: {:?}", start.elapsed());
    assert!(made < Duration::from_secs(5));
}
