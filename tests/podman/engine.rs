//! A podman of this run's own: storage, state, configuration, home folder and image lie below the session's
//! folder, so that neither side sees anything of the machine's own podman. Made by the first test that needs
//! it; [`finish`] removes it and tells what podman or the runtime have left.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use crate::support::child::{self, Output};
use crate::support::need::{self, find_program, subordinate_ids};
use crate::support::session::{session, unique};
use crate::support::{Need, bundle, cgroup, skip};

/// The image of every test.
pub const IMAGE: &str = "localhost/isolate-test-busybox";

/// What a shell as a container's first process runs to stay, and to end at once when asked.
pub const SLEEP: &str = "trap 'exit 0' TERM; echo up; while :; do sleep 100 & wait $!; done";

/// Where podman names the network namespaces of its containers.
const NAMESPACES: &str = "/run/netns";

static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();

/// The facts of the private podman.
struct Engine {
    folder: PathBuf,
    driver: &'static str,
    /// What podman makes once and keeps for ever, where another podman had made it before.
    foreign: Vec<PathBuf>,
}

/// Runs podman with the runtime under test, to its end.
#[track_caller]
pub fn podman(arguments: &[&str]) -> Output {
    child::run(command().args(arguments))
}

/// `podman run --rm --network none OPTIONS IMAGE COMMAND`.
#[track_caller]
pub fn run(options: &[&str], arguments: &[&str]) -> Output {
    child::run(&mut run_command(options, arguments))
}

/// The same, not started yet.
pub fn run_command(options: &[&str], arguments: &[&str]) -> Command {
    let mut command = command();
    command.args(["run", "--rm"]).args(network_of(options)).args(options).arg(IMAGE).args(arguments);
    command
}

/// [`run`] of a shell script that must succeed; gives its trimmed standard output.
#[track_caller]
pub fn sh(options: &[&str], script: &str) -> String {
    run(options, &["/bin/sh", "-c", script]).ok().text().to_owned()
}

/// A podman command with the runtime under test; what follows are podman's own commands and options.
pub fn command() -> Command {
    command_with(&session().runtime)
}

/// A podman command with a runtime of the caller's choice: a path, or a name of [`write_configuration`].
pub fn command_with(runtime: &Path) -> Command {
    let engine = engine();
    let mut command = bare_command(&engine.folder, engine.driver);
    command.arg("--runtime").arg(runtime);
    command
}

/// The folder of the private podman, for files that a test shares with it.
pub fn folder() -> &'static Path {
    &engine().folder
}

/// Version of podman, (major, minor).
pub fn version() -> (u32, u32) {
    static VERSION: OnceLock<(u32, u32)> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let text = podman(&["version", "--format", "{{.Client.Version}}"]).ok().stdout;
        let mut numbers = text.trim().split('.').map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    })
}

/// Ends the calling test as skipped unless podman gives its containers cgroups here.
pub fn needs_cgroups() {
    if !geteuid().is_root() && !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        skip("podman gives an ordinary user no cgroup on cgroup v1 (needs a delegated cgroup v2)");
    }
}

/// Whether the caller of the suite is an ordinary user.
pub fn is_rootless() -> bool {
    !geteuid().is_root()
}

/// A container of one test: removed by force, with its volumes, when the test ends.
pub struct Container {
    /// Its name, unique in this run.
    pub name: String,
}

impl Container {
    /// `podman run -d`, which must succeed.
    #[track_caller]
    pub fn start(options: &[&str], arguments: &[&str]) -> Container {
        Container::make(&["run", "-d"], options, arguments)
    }

    /// `podman create`, which must succeed.
    #[track_caller]
    pub fn create(options: &[&str], arguments: &[&str]) -> Container {
        Container::make(&["create"], options, arguments)
    }

    /// One that runs until it is asked to end.
    #[track_caller]
    pub fn sleeper(options: &[&str]) -> Container {
        let container = Container::start(options, &["/bin/sh", "-c", SLEEP]);
        child::eventually("the container is up", || container.logs().contains("up"));
        container
    }

    #[track_caller]
    fn make(verb: &[&str], options: &[&str], arguments: &[&str]) -> Container {
        let container = Container { name: unique("isolate-test-") };
        let name = ["--name", &container.name];
        let parts = [verb, &name, network_of(options), options, &[IMAGE], arguments].concat();
        podman(&parts).ok();
        container
    }

    /// `podman VERB NAME`.
    #[track_caller]
    pub fn podman(&self, verb: &[&str]) -> Output {
        podman(&[verb, &[&self.name]].concat())
    }

    /// `podman exec OPTIONS NAME COMMAND`.
    #[track_caller]
    pub fn exec(&self, options: &[&str], arguments: &[&str]) -> Output {
        podman(&[&["exec"], options, &[&self.name], arguments].concat())
    }

    /// `podman exec` of a shell script that must succeed; gives its trimmed standard output.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.exec(&[], &["/bin/sh", "-c", script]).ok().text().to_owned()
    }

    /// What the container has written.
    #[track_caller]
    pub fn logs(&self) -> String {
        self.podman(&["logs"]).ok().stdout
    }

    /// One value of `podman inspect`, by a Go template such as `.State.Status`.
    #[track_caller]
    pub fn inspect(&self, template: &str) -> String {
        self.podman(&["inspect", "--format", &format!("{{{{{template}}}}}")]).ok().text().to_owned()
    }

    /// The container's state, as podman sees it.
    #[track_caller]
    pub fn status(&self) -> String {
        self.inspect(".State.Status")
    }

    /// The pid of its first process on the host.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        let pid = self.inspect(".State.Pid").parse().unwrap_or(0);
        assert!(pid > 0, "podman knows no pid of the container");
        pid
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        clean_up(&["rm", "--force", "--time", "0", "--volumes", &self.name]);
    }
}

/// Runs podman where a test ends, perhaps in the middle of a panic, which must not become a second one.
pub fn clean_up(arguments: &[&str]) {
    if let Some(Ok(_)) = ENGINE.get() {
        let _ = std::panic::catch_unwind(|| podman(arguments));
    }
}

/// No network, unless the options choose one: what a bridge needs is not the matter of most tests.
fn network_of(options: &[&str]) -> &'static [&'static str] {
    let chosen = |option: &&str| ["--net", "--pod"].iter().any(|name| option.starts_with(name));
    if options.iter().any(chosen) { &[] } else { &["--network", "none"] }
}

fn engine() -> &'static Engine {
    match ENGINE.get_or_init(make_engine) {
        Ok(engine) => engine,
        Err(why) => panic!("no private podman can be made: {why}"),
    }
}

/// The podman under test.
pub fn program() -> PathBuf {
    let asked = std::env::var_os("ISOLATE_TEST_PODMAN").map(PathBuf::from);
    asked.or_else(|| find_program("podman")).unwrap_or_else(|| skip("no program podman on the PATH"))
}

/// Podman as a program run by nobody in particular: an environment of the suite's own, and its private places.
fn bare_command(folder: &Path, driver: &str) -> Command {
    let mut command = Command::new(program());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", folder.join("home")).env("XDG_RUNTIME_DIR", folder.join("run"));
    command.env("TMPDIR", folder.join("tmp")).env("TERM", "xterm");
    command.env("CONTAINERS_CONF", folder.join("containers.conf"));
    command.env("CONTAINERS_STORAGE_CONF", folder.join("storage.conf"));
    command.env("CONTAINERS_REGISTRIES_CONF", folder.join("registries.conf"));
    // podman 5 warns about version 1 at every call, on standard error, which tests compare.
    command.env("PODMAN_IGNORE_CGROUPSV1_WARNING", "1");
    command.arg("--root").arg(folder.join("root")).arg("--runroot").arg(folder.join("runroot"));
    command.arg("--tmpdir").arg(folder.join("libpod")).args(["--storage-driver", driver]);
    command.current_dir(folder);
    command
}

fn make_engine() -> Result<Engine, String> {
    if is_rootless() && subordinate_ids("/etc/subuid").is_none() {
        skip("/etc/subuid gives the caller no subordinate ids, which podman needs");
    }
    let folder = session().folder.join("podman");
    for name in ["home", "run", "tmp", "networks", "bin"] {
        fs::create_dir_all(folder.join(name)).map_err(|error| error.to_string())?;
    }
    fs::set_permissions(folder.join("run"), fs::Permissions::from_mode(0o700)).unwrap();
    link_user_bus(&folder.join("run"));
    write_configuration(&folder);
    let archive = image_archive(&folder);
    let foreign = podmans_cgroups().filter(|path| path.exists()).chain(mounts_below(NAMESPACES)).collect();
    // overlay needs a storage folder on a file system that can be an upper layer; vfs copies and works anywhere.
    let mut refusals = Vec::new();
    for driver in ["overlay", "vfs"] {
        let output = import(&folder, driver, &archive);
        if output.code == 0 {
            return Ok(Engine { folder, driver, foreign });
        }
        refusals.push(output.to_string());
        let _ = remove_storage(&folder, driver);
    }
    Err(refusals.join("\n"))
}

/// An ordinary user's podman, and the runtime that it calls, look in `XDG_RUNTIME_DIR` for the bus of his session.
fn link_user_bus(folder: &Path) {
    let Some(real) = std::env::var_os("XDG_RUNTIME_DIR").filter(|_| is_rootless()).map(PathBuf::from) else {
        return;
    };
    if cgroup_manager() == "systemd" && real.join("bus").exists() {
        std::os::unix::fs::symlink(real.join("bus"), folder.join("bus")).unwrap();
        std::os::unix::fs::symlink(real.join("systemd"), folder.join("systemd")).unwrap();
    }
}

fn import(folder: &Path, driver: &str, archive: &Path) -> Output {
    child::run(bare_command(folder, driver).args(["import", "--quiet"]).arg(archive).arg(IMAGE))
}

fn image_archive(folder: &Path) -> PathBuf {
    let (root, archive) = (folder.join("image"), folder.join("image.tar"));
    bundle::make_rootfs(&root);
    fs::write(root.join("etc/hosts"), "").unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--owner=0", "--group=0", "--numeric-owner", "-C"])
        .arg(&root)
        .arg("-cf")
        .arg(&archive)
        .arg(".");
    child::run(&mut tar).ok();
    archive
}

/// `containers.conf` names what this machine cannot be assumed to have: a manager of cgroups without systemd,
/// a journal that is a file, limits below those of a container in a container. `lock_type = "file"` keeps podman
/// from the one lock segment of `/dev/shm` that all podmans of a user share.
fn write_configuration(folder: &Path) {
    let runtime = session().runtime.display();
    let containers = format!(
        r#"[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "{manager}"
events_logger = "file"
lock_type = "file"
image_copy_tmp_dir = "{folder}/tmp"
runtime_supports_json = ["crun", "runc", "isolate"]
runtime_supports_nocgroup = ["crun", "isolate"]
[engine.runtimes]
isolate = ["{runtime}"]
[network]
network_config_dir = "{folder}/networks"
"#,
        folder = folder.display(),
        manager = cgroup_manager(),
    );
    let options = match auto_user() {
        Some(user) => format!("[storage.options]\nroot-auto-userns-user = \"{user}\"\n"),
        None => String::new(),
    };
    let storage = format!(
        "[storage]\ndriver = \"overlay\"\ngraphroot = \"{0}/root\"\nrunroot = \"{0}/runroot\"\n{options}",
        folder.display()
    );
    fs::write(folder.join("containers.conf"), containers).unwrap();
    fs::write(folder.join("storage.conf"), storage).unwrap();
    fs::write(folder.join("registries.conf"), "unqualified-search-registries = []\n").unwrap();
    let policy = folder.join("home/.config/containers");
    fs::create_dir_all(&policy).unwrap();
    fs::write(policy.join("policy.json"), r#"{"default": [{"type": "insecureAcceptAnything"}]}"#).unwrap();
}

/// systemd, where it makes units for the caller; `ISOLATE_TEST_CGROUP_MANAGER` names another.
pub fn cgroup_manager() -> String {
    let found = if need::first_missing(&[Need::Systemd]).is_none() { "systemd" } else { "cgroupfs" };
    std::env::var("ISOLATE_TEST_CGROUP_MANAGER").unwrap_or_else(|_| found.to_owned())
}

/// The account from whose subordinate ids rootful podman takes those of `--userns auto`: any that has some.
pub fn auto_user() -> Option<String> {
    let text = fs::read_to_string("/etc/subuid").ok()?;
    let enough =
        |line: &&str| line.rsplit(':').next().and_then(|count| count.parse::<u32>().ok()) >= Some(65536);
    text.lines().find(enough)?.split(':').next().map(str::to_owned)
}

/// Removes every container and pod, the storage and podman's own leftovers; gives what was left of containers.
pub fn finish() -> Vec<String> {
    let Some(Ok(engine)) = ENGINE.get() else { return Vec::new() };
    let mut left = Vec::new();
    for what in [["pod", "rm", "--all", "--force"].as_slice(), &["rm", "--all", "--force", "--time", "0"]] {
        let output = child::run(command().args(what));
        if output.code != 0 {
            left.push(output.to_string());
        }
    }
    left.extend(containers_of_podman(engine));
    left.extend(what_the_runtime_left(engine));
    left.extend(
        mounts_below(&engine.folder)
            .into_iter()
            .filter(|point| *point != engine.storage_mount())
            .map(|point| format!("mount {}", point.display())),
    );
    left.extend(remove_storage(&engine.folder, engine.driver));
    remove_podmans_cgroups(engine);
    remove_podmans_namespaces(engine);
    left
}

impl Engine {
    /// Where the overlay driver mounts its folder on itself, for as long as the machine runs.
    fn storage_mount(&self) -> PathBuf {
        self.folder.join("root").join(self.driver)
    }
}

fn containers_of_podman(engine: &Engine) -> Vec<String> {
    let output = child::run(bare_command(&engine.folder, engine.driver).args(["ps", "-aq", "--external"]));
    output.text().lines().map(|id| format!("podman's container {id}")).collect()
}

/// The state root of the runtime lies below podman's private run folder, or is the system's.
fn what_the_runtime_left(engine: &Engine) -> Vec<String> {
    let places = ["isolate", "runc", "crun"].map(|name| engine.folder.join("run").join(name));
    let entries = places.iter().filter_map(|place| fs::read_dir(place).ok()).flatten().flatten();
    let visible = entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
    visible.map(|entry| format!("state {}", entry.path().display())).collect()
}

fn mounts_below(folder: impl AsRef<Path>) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    points.filter(|point| point.starts_with(folder.as_ref())).collect()
}

/// Files of subordinate ids can be removed only from within the user namespace that podman keeps; its process
/// ends last.
fn remove_storage(folder: &Path, driver: &str) -> Option<String> {
    let places = ["root", "runroot", "libpod"].map(|name| folder.join(name));
    if is_rootless() {
        let mut remove = bare_command(folder, driver);
        let _ = child::run(remove.args(["unshare", "rm", "-rf"]).args(&places[..2]));
        end_pause_process(&folder.join("libpod/pause.pid"));
        end_pause_process(&folder.join("run/libpod/tmp/pause.pid"));
    }
    for point in mounts_below(folder).iter().rev() {
        let _ = child::run(Command::new("umount").arg("--lazy").arg(point));
    }
    let failures =
        places.iter().filter_map(|place| fs::remove_dir_all(place).err().map(|error| (place, error)));
    let mut failures = failures.filter(|(_, error)| error.kind() != std::io::ErrorKind::NotFound);
    failures.next().map(|(place, error)| format!("{}: {error}", place.display()))
}

fn end_pause_process(file: &Path) {
    let Ok(pid) = fs::read_to_string(file).unwrap_or_default().trim().parse() else { return };
    let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
}

fn podmans_cgroups() -> impl Iterator<Item = PathBuf> {
    cgroup::hierarchies().into_iter().map(|(point, _)| point.join("libpod_parent"))
}

/// Podman keeps the cgroup of its monitors for ever. It is removed where it is empty; a container's own, if one
/// is left, keeps its parent, and the guard reports both.
fn remove_podmans_cgroups(engine: &Engine) {
    let start = Instant::now();
    for parent in podmans_cgroups().filter(|path| !engine.foreign.contains(path)) {
        let monitors = parent.join("conmon");
        let busy = || fs::read_to_string(monitors.join("cgroup.procs")).is_ok_and(|pids| !pids.is_empty());
        while busy() && start.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = fs::remove_dir(monitors);
        let _ = fs::remove_dir(parent);
    }
}

/// Podman mounts a folder for the names of network namespaces, once. It goes when it is empty.
fn remove_podmans_namespaces(engine: &Engine) {
    let is_empty = fs::read_dir(NAMESPACES).is_ok_and(|mut entries| entries.next().is_none());
    if !is_rootless()
        && is_empty
        && mounts_below(NAMESPACES).iter().any(|point| !engine.foreign.contains(point))
    {
        let _ = child::run(Command::new("umount").arg(NAMESPACES));
    }
}
