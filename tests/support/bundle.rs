//! A bundle: a folder with a real busybox root and a `config.json`. Everything of it goes with it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::child::{self, Output, Run};
use super::container::Container;
use super::need::find_program;
use super::runner::skip;
use super::session::{session, unique};
use super::{cgroup, config, session as run};

/// A bundle under construction, and its private state root.
pub struct Bundle {
    /// The container's id, unique in this run.
    pub id: String,
    /// The bundle's folder.
    pub folder: PathBuf,
    /// `--root` of every command.
    pub root: PathBuf,
    /// The config as it will be written.
    pub json: Value,
}

impl Bundle {
    /// A bundle whose process is `args`.
    pub fn new(args: &[&str]) -> Bundle {
        let bundle = Bundle::without_root(args);
        make_rootfs(&bundle.rootfs());
        bundle
    }

    /// The same for a root that lies elsewhere.
    pub fn without_root(args: &[&str]) -> Bundle {
        let id = unique("c");
        let folder = session().folder.join(&id);
        fs::create_dir_all(&folder).unwrap();
        let root = folder.join("state");
        let json = config::default(args, &cgroup::path_of(&id));
        Bundle { id, folder, root, json }
    }

    /// A bundle whose process ends with success at once.
    pub fn nothing() -> Bundle {
        Bundle::new(&["/bin/true"])
    }

    /// A bundle whose process is a shell script.
    pub fn shell(script: &str) -> Bundle {
        Bundle::new(&["/bin/sh", "-c", script])
    }

    /// A bundle whose process sleeps for as long as any test lasts.
    pub fn sleeper() -> Bundle {
        // The shell ends at TERM, which a bare `sleep` as pid 1 would ignore.
        Bundle::shell("trap 'exit 0' TERM; echo up; while :; do sleep 100 & wait $!; done")
    }

    /// Edits the config.
    pub fn config(mut self, edit: impl FnOnce(&mut Value)) -> Bundle {
        edit(&mut self.json);
        self
    }

    /// Sets one field by its JSON pointer (`/process/cwd`, `/mounts/1/type`); parents must exist, but for
    /// `linux.resources`, which an ordinary user's config has not.
    #[track_caller]
    pub fn set(mut self, pointer: &str, value: Value) -> Bundle {
        if pointer.starts_with("/linux/resources/") && self.json["linux"].get("resources").is_none() {
            self.json["linux"]["resources"] = json!({});
        }
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer starts with a slash");
        let parent = self.json.pointer_mut(parent).expect("the parent exists");
        match parent.as_array_mut() {
            Some(list) => list[name.parse::<usize>().expect("an index")] = value,
            None => parent[name] = value,
        }
        self
    }

    /// Removes one field by its JSON pointer.
    #[track_caller]
    pub fn unset(self, pointer: &str) -> Bundle {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer starts with a slash");
        self.config(|config| {
            let parent = config.pointer_mut(parent).and_then(Value::as_object_mut);
            parent.expect("the parent is an object").remove(name);
        })
    }

    /// Adds a mount.
    pub fn mount(self, mount: Value) -> Bundle {
        self.config(|json| config::add_mount(json, mount))
    }

    /// Binds a host path.
    pub fn bind(self, source: &Path, destination: &str, options: &[&str]) -> Bundle {
        self.config(|json| config::add_bind(json, source, destination, options))
    }

    /// Asks for a limit; `what` as in `linux.resources`.
    pub fn limit(self, what: &str, value: Value) -> Bundle {
        self.set(&format!("/linux/resources/{what}"), value)
    }

    /// Gives the container a user namespace, unless it has one (the suite runs as an ordinary user).
    pub fn user_namespace(self) -> Bundle {
        let present = self.json["linux"].get("uidMappings").is_some();
        self.config(|json| {
            if !present {
                config::add_user_namespace(json)
            }
        })
    }

    /// For a runtime that is traced.
    pub fn traceable(self) -> Bundle {
        let present = self.json["linux"].get("uidMappings").is_some();
        self.config(|json| {
            if present {
                config::map_own_id_alone(json)
            }
        })
    }

    /// The root on the host.
    pub fn rootfs(&self) -> PathBuf {
        self.folder.join("rootfs")
    }

    /// Puts a file into the root.
    pub fn file(self, path: &str, text: &str) -> Bundle {
        let file = self.rootfs().join(path.trim_start_matches('/'));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
        self
    }

    /// Puts an executable script into the root.
    pub fn program(self, path: &str, text: &str) -> Bundle {
        let file = self.rootfs().join(path.trim_start_matches('/'));
        let bundle = child::while_nothing_is_spawned(|| self.file(path, text));
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
        bundle
    }

    /// Makes a folder in the root.
    pub fn directory(self, path: &str) -> Bundle {
        fs::create_dir_all(self.rootfs().join(path.trim_start_matches('/'))).unwrap();
        self
    }

    /// Makes a link in the root.
    pub fn link(self, target: &str, path: &str) -> Bundle {
        symlink(target, self.rootfs().join(path.trim_start_matches('/'))).unwrap();
        self
    }

    /// A folder of the host, beside the bundle's root.
    pub fn host_folder(&self, name: &str) -> PathBuf {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Writes `config.json`.
    pub fn write(&self) {
        let text = serde_json::to_vec_pretty(&self.json).unwrap();
        fs::write(self.folder.join("config.json"), text).unwrap();
    }

    /// Writes the config and gives a handle for the commands of the lifecycle.
    pub fn container(self) -> Container {
        self.write();
        Container::new(self)
    }

    /// `create`, which must succeed.
    #[track_caller]
    pub fn create(self) -> Container {
        let container = self.container();
        container.create(&[]).ok();
        container
    }

    /// `create` and `start`, which must succeed.
    #[track_caller]
    pub fn start(self) -> Container {
        let container = self.create();
        container.start().ok();
        container
    }

    /// `run` in the foreground, to its end, whatever it is.
    #[track_caller]
    pub fn run(self) -> Output {
        self.container().run(&[])
    }

    /// `create`, which must fail with exit code 1, say each of `words`, and leave nothing.
    #[track_caller]
    pub fn refused(self, words: &[&str]) -> Output {
        let container = self.container();
        let output = container.create(&[]).fails(1, words);
        container.leaves_nothing();
        output
    }

    /// `run` in the foreground: must succeed; gives the trimmed standard output.
    #[track_caller]
    pub fn output(self) -> String {
        self.run().ok().text().to_owned()
    }

    /// A command of the runtime on this bundle's state root, not started yet.
    pub fn command(&self) -> std::process::Command {
        session().command(&self.root)
    }

    /// The cgroup path of the config, or what a test made of it.
    pub fn cgroups_path(&self) -> String {
        self.json["linux"]["cgroupsPath"].as_str().unwrap_or_default().to_owned()
    }
}

/// Runs a command of the runtime that needs no bundle, such as `--version`.
#[track_caller]
pub fn runtime(arguments: &[&str]) -> Output {
    let root = run::session().folder.join("no-state");
    child::run(run::session().command(&root).args(arguments))
}

/// The same, left running.
pub fn start_runtime(arguments: &[&str]) -> Run {
    let root = run::session().folder.join("no-state");
    Run::start(run::session().command(&root).args(arguments))
}

static APPLETS: OnceLock<Vec<String>> = OnceLock::new();

fn applets(busybox: &Path) -> &'static [String] {
    APPLETS.get_or_init(|| {
        let list = child::run(std::process::Command::new(busybox).arg("--list")).ok();
        list.stdout.lines().map(str::to_owned).collect()
    })
}

const BUSYBOX: &str = "busybox";

/// Copies busybox once, before the first test; every root has a hard link to it.
pub fn copy_busybox(folder: &Path) {
    let Some(busybox) = find_program(BUSYBOX) else { return };
    let copy = folder.join(BUSYBOX);
    fs::copy(busybox, &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Makes a root with one static program, and links for everything it can do.
pub fn make_rootfs(root: &Path) {
    let master = session().folder.join(BUSYBOX);
    if !master.exists() {
        skip("no program busybox on the PATH");
    }
    for folder in ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "home", "var", "usr/bin", "run"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let target = root.join("bin/busybox");
    fs::hard_link(&master, &target).unwrap();
    for applet in applets(&target).iter().filter(|name| *name != "busybox") {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n")
        .unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\ntty:x:5:\nuser:x:1000:\n").unwrap();
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
}

/// `{"type": …}` of a namespace that is joined by path.
pub fn joined(kind: &str, path: &str) -> Value {
    json!({"type": kind, "path": path})
}
