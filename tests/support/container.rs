//! The commands of the lifecycle on one bundle. Dropping the handle deletes the container by force.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::bundle::Bundle;
use super::child::{self, Output, Run, eventually};
use super::session::session;

/// A container of a written bundle; it may not exist yet, or any more.
pub struct Container {
    /// The bundle it was made from.
    pub bundle: Bundle,
}

impl Container {
    /// The handle for a bundle whose config is written.
    pub fn new(bundle: Bundle) -> Container {
        Container { bundle }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.bundle.id
    }

    /// A command of the runtime with the private state root.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = session().command(&self.bundle.root);
        command.args(arguments);
        command
    }

    /// Runs any command of the runtime.
    #[track_caller]
    pub fn runtime(&self, arguments: &[&str]) -> Output {
        child::run(&mut self.command(arguments))
    }

    /// `create` or `run` with its usual arguments before the id, not started yet.
    pub fn bundle_command(&self, verb: &str, options: &[&str]) -> Command {
        let mut command = self.command(&[verb, "--bundle"]);
        command.arg(&self.bundle.folder).args(options).arg(self.id());
        command
    }

    /// `create`, with a pid file.
    #[track_caller]
    pub fn create(&self, options: &[&str]) -> Output {
        let mut command = self.command(&["create", "--bundle"]);
        command.arg(&self.bundle.folder).arg("--pid-file").arg(self.pid_file());
        child::run(command.args(options).arg(self.id()))
    }

    /// `run` to its end.
    #[track_caller]
    pub fn run(&self, options: &[&str]) -> Output {
        child::run(&mut self.bundle_command("run", options))
    }

    /// `run`, left in the background.
    pub fn run_in_background(&self, options: &[&str]) -> Run {
        Run::start(&mut self.bundle_command("run", options))
    }

    /// `start`.
    #[track_caller]
    pub fn start(&self) -> Output {
        self.runtime(&["start", self.id()])
    }

    /// `kill` with a signal.
    #[track_caller]
    pub fn kill(&self, signal: &str) -> Output {
        self.runtime(&["kill", self.id(), signal])
    }

    /// `delete`.
    #[track_caller]
    pub fn delete(&self) -> Output {
        self.runtime(&["delete", self.id()])
    }

    /// `delete --force`.
    #[track_caller]
    pub fn delete_by_force(&self) -> Output {
        self.runtime(&["delete", "--force", self.id()])
    }

    /// `exec ID ARGUMENTS`.
    #[track_caller]
    pub fn exec(&self, arguments: &[&str]) -> Output {
        self.exec_with(&[], arguments)
    }

    /// `exec OPTIONS ID ARGUMENTS`.
    #[track_caller]
    pub fn exec_with(&self, options: &[&str], arguments: &[&str]) -> Output {
        child::run(&mut self.exec_command(options, arguments))
    }

    /// The same, not started yet.
    pub fn exec_command(&self, options: &[&str], arguments: &[&str]) -> Command {
        let mut command = self.command(&["exec"]);
        command.args(options).arg(self.id()).args(arguments);
        command
    }

    /// `exec` of a shell script that must succeed; gives its trimmed standard output.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.exec(&["/bin/sh", "-c", script]).ok().text().to_owned()
    }

    /// What `state` prints; must succeed.
    #[track_caller]
    pub fn state(&self) -> Value {
        self.runtime(&["state", self.id()]).ok().json()
    }

    /// The status that `state` gives.
    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until `state` gives this status.
    #[track_caller]
    pub fn wait_for(&self, status: &str) {
        eventually(&format!("{} is {status}", self.id()), || self.status() == status);
    }

    /// The init's pid on the host.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        let pid = self.state()["pid"].as_i64().unwrap_or(0);
        assert!(pid > 0, "the container has no process");
        pid as i32
    }

    /// The pid file of `create`.
    pub fn pid_file(&self) -> std::path::PathBuf {
        self.bundle.folder.join("pid")
    }

    /// A file of the container's root, seen from the host.
    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        let file = self.bundle.rootfs().join(path.trim_start_matches('/'));
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }

    /// The same of a file that may not be there yet.
    pub fn peek(&self, path: &str) -> String {
        fs::read_to_string(self.bundle.rootfs().join(path.trim_start_matches('/'))).unwrap_or_default()
    }

    /// A file of the container's cgroup in the hierarchy of `controller`.
    #[track_caller]
    pub fn cgroup(&self, controller: &str, file: &str) -> String {
        super::cgroup::read(controller, &self.bundle.cgroups_path(), file)
    }

    /// Fails unless neither state nor cgroup of the container is left.
    #[track_caller]
    pub fn leaves_nothing(&self) {
        let state = self.bundle.root.join(self.id());
        assert!(!state.exists(), "{} is left", state.display());
        let mark = format!("{}/{}", session().mark, self.id());
        let left: Vec<_> = super::cgroup::all_folders()
            .into_iter()
            .filter(|path| path.ends_with(&mark) || path.to_string_lossy().contains(&format!("{mark}/")))
            .collect();
        assert!(left.is_empty(), "cgroups are left: {left:?}");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let folder = self.bundle.folder.display().to_string() + "/";
        let left: Vec<_> = mounts.lines().filter(|line| line.contains(&folder)).collect();
        assert!(left.is_empty(), "mounts are left: {left:?}");
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let exists = fs::read_dir(&self.bundle.root).is_ok_and(|mut entries| entries.next().is_some());
        if exists {
            let mut command = self.command(&["delete", "--force", self.id()]);
            let run = Run::start(&mut command);
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.finish()));
        }
        let _ = fs::remove_dir_all(&self.bundle.folder);
    }
}
