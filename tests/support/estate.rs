//! Tenants of one test: a data folder and a state root of its own, and the end of all of it when the test is over.
//! Runs as whoever starts the suite.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::child::{self, Output};
use super::session::{session, unique};

/// Everything `isolate tenant` makes in one test.
pub struct Estate {
    /// The folder of it all.
    pub folder: PathBuf,
}

impl Estate {
    /// An empty one.
    pub fn new() -> Estate {
        let folder = session().folder.join(unique("estate"));
        fs::create_dir(&folder).unwrap();
        // Root inside a tenant has to pass; nobody has to read.
        for path in [&session().folder, &folder] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o711)).unwrap();
        }
        Estate { folder }
    }

    /// One with the template `busybox`.
    pub fn with_busybox() -> Estate {
        let estate = Estate::new();
        estate.t(&["template", "import", "--as", "busybox", "busybox"]).ok();
        estate
    }

    /// One with a running tenant `web` of that template.
    pub fn with_running(settings: &[&str]) -> Estate {
        let estate = Estate::with_busybox();
        estate.t(&[&["create", "web", "--template", "busybox"], settings].concat()).ok();
        estate.t(&["start", "web"]).ok();
        estate
    }

    /// A command of `isolate tenant`.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = session().command(&self.folder.join("run"));
        command.env("ISOLATE_DATA", self.data()).arg("tenant").args(arguments);
        command
    }

    /// Runs it.
    pub fn t(&self, arguments: &[&str]) -> Output {
        child::run(&mut self.command(arguments))
    }

    /// A script in the tenant `web`; what it prints.
    pub fn sh(&self, script: &str) -> String {
        self.t(&["exec", "web", "--", "sh", "-c", script]).ok().text().to_owned()
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The folder of a tenant.
    pub fn tenant(&self, name: &str) -> PathBuf {
        self.data().join("tenants").join(name)
    }

    /// What `info --json` shows of a tenant.
    pub fn info(&self, name: &str) -> serde_json::Value {
        self.t(&["info", "--json", name]).ok().json()["tenant"].take()
    }

    /// What a tenant is doing.
    pub fn state(&self, name: &str) -> String {
        self.info(name)["state"].as_str().unwrap_or_default().to_owned()
    }

    /// The pid of a tenant's init on the host.
    pub fn pid(&self, name: &str) -> i64 {
        self.info(name)["pid"].as_i64().unwrap_or(0)
    }

    /// Whether a process of ours is there for a tenant.
    pub fn has_keeper(&self, name: &str) -> bool {
        self.keeper(name).is_some()
    }

    /// The pid of a tenant's keeper.
    pub fn keeper(&self, name: &str) -> Option<i32> {
        let words = format!("--root {} tenant launch {name}", self.folder.join("run").display());
        super::process::all().into_iter().find(|pid| super::process::command_line(*pid).contains(&words))
    }
}

impl Drop for Estate {
    fn drop(&mut self) {
        for entry in fs::read_dir(self.data().join("tenants")).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() {
                let path = entry.path().join("tenant.toml");
                if let Ok(text) = fs::read_to_string(&path) {
                    let _ = fs::write(&path, text.replace("protect = true", "protect = false"));
                }
                let _ = self.t(&["destroy", "--yes", "--force", &name]);
            }
        }
        for entry in fs::read_dir(self.data().join("templates")).into_iter().flatten().flatten() {
            let _ = self.t(&["template", "rm", "--yes", &entry.file_name().to_string_lossy()]);
        }
        let _ = fs::remove_dir_all::<&Path>(&self.folder);
    }
}
