//! The kinds of step. Plain data: no closures, no conditions, no loops; what cannot be decided early is a
//! *rule* of the step ("make the target like its source"), written in its doc comment.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::cache::CacheGroup;
use super::cgroup::Group;
use super::ids::IdMap;
use super::seccomp::{Filter, Handover, Listener};
use crate::ids::RootPath;

/// The kinds of namespace (namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Namespace {
    /// Users, groups and capabilities.
    User,
    /// Mounts.
    Mount,
    /// Process ids.
    Pid,
    /// Network devices, addresses, ports.
    Network,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host and domain name.
    Uts,
    /// The cgroup tree's visible root.
    Cgroup,
    /// Offsets of the monotonic and boot clocks.
    Time,
}

/// A place in the plan's table of descriptors: one step fills it, another uses it.
pub type Slot = usize;

/// A word one process says and the other waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Token {
    /// From the runtime: the id maps are written.
    Maps,
    /// From the runtime: the cgroups are made and limited; carries the descriptors to join by.
    Cgroup,
    /// From the child: namespaces and mounts are there, the old root still visible.
    Namespaces,
    /// From the runtime: its hooks have run.
    Hooks,
    /// From the runtime: whoever listens to the seccomp filter has its descriptor.
    Listened,
    /// From the child: nothing is left to do but to drop privileges and exec.
    Ready,
    /// From the runtime: the state is on disk; the child lives on without its parent.
    Commit,
}

/// The hooks of the specification (config.md, "POSIX-platform Hooks").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HookKind {
    /// Deprecated; runs with, and before, `createRuntime`.
    Prestart,
    /// In the runtime's namespaces, once the container's exist.
    CreateRuntime,
    /// In the container's namespaces, before the pivot.
    CreateContainer,
    /// In the container, right before its program.
    StartContainer,
    /// In the runtime's namespaces, after the program has started.
    Poststart,
    /// In the runtime's namespaces, after the container is gone.
    Poststop,
}

/// Where a program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Its results.
    Stdout,
    /// Its complaints.
    Stderr,
}

/// One hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// The program, absolute.
    pub path: PathBuf,
    /// Its arguments, `args[0]` included; empty: the path alone.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: Vec<String>,
    /// After how many seconds it is killed.
    pub timeout: Option<u64>,
}

/// Attributes of one mount, as `mount_setattr(2)` takes them (MOUNT_ATTR_ bits), and its propagation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attributes {
    /// Bits to set on the mount itself.
    pub set: u64,
    /// Bits to clear on it.
    pub clear: u64,
    /// Bits to set on it and all mounts below (`rro`, `rnosuid`…).
    pub recursive_set: u64,
    /// Bits to clear on it and all mounts below.
    pub recursive_clear: u64,
    /// Propagation changes (MS_SHARED…, with MS_REC for the r-forms), in order.
    pub propagation: Vec<u64>,
}

/// What is done with a symbolic link that is the source of a bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceLink {
    /// What it leads to is bound.
    #[default]
    Followed,
    /// It is bound itself (crun's `src-nofollow`).
    Bound,
    /// One that says the same is made in the root instead of a mount (crun's `copy-symlink`).
    Copied,
}

/// What is done with a symbolic link where a bind is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetLink {
    /// What it leads to, in the root, is covered.
    #[default]
    Followed,
    /// It is covered itself (crun's `dest-nofollow`).
    Covered,
    /// Where the *source* is a link, one that says the same is made; else it is followed (`copy-symlink`).
    Made,
}

/// The map of an id-mapped mount: ids on disk are `inside`, what is shown is `outside` (mount_setattr(2)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountIdMap {
    /// Users.
    pub uid: Vec<IdMap>,
    /// Groups.
    pub gid: Vec<IdMap>,
    /// Also for the mounts below.
    pub recursive: bool,
}

/// How the id maps of a new user namespace are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MapWriter {
    /// By the runtime, which may map any id.
    Direct,
    /// By the setuid programs newuidmap(1) and newgidmap(1), from `/etc/subuid` and `/etc/subgid`.
    Helpers,
    /// By the runtime, its own ids only; groups can then not be changed.
    Single,
}

/// Whose program's terminal it is, and who gets its other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsoleTo {
    /// The engine, over `--console-socket`.
    Socket,
    /// The runtime itself, which stays in the foreground.
    Runtime,
}

/// What is done. Each kind says which call it comes down to.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    // ---- namespaces and processes
    /// setns(2) to the namespace at `path`, after checking that it is one of this kind. In the runtime:
    /// the child is then born in it, and the runtime returns to its own.
    JoinNamespace {
        /// Its kind.
        namespace: Namespace,
        /// Where it is.
        path: PathBuf,
    },
    /// unshare(2) of the time namespace for children to come, and its offsets (time_namespaces(7)).
    NewTimeNamespace {
        /// Lines for `timens_offsets`.
        offsets: Vec<String>,
    },
    /// clone3(2) of the child with these new namespaces.
    Clone {
        /// Namespaces the child is born in.
        namespaces: Vec<Namespace>,
        /// Whose a new user namespace is; absent: the runtime's.
        owner: Option<u32>,
    },
    /// clone3(2) with CLONE_PARENT: the child's place is taken by its own child, because a pid (or time)
    /// namespace can only be entered by being born in it, after the user namespace has been.
    Fork {
        /// Namespaces the new process is born in.
        namespaces: Vec<Namespace>,
    },
    /// unshare(2).
    Unshare {
        /// Namespaces to leave the runtime's for new ones.
        namespaces: Vec<Namespace>,
    },
    /// setns(2) on the pidfd of a running container, all namespaces at once.
    JoinContainer {
        /// Namespaces to join.
        namespaces: Vec<Namespace>,
    },
    /// fchdir and chroot to `/proc/PID/root` of the container joined: its root is not its namespace's
    /// (`--no-pivot`).
    EnterRoot,
    /// Writes uid and gid maps of the child (user_namespaces(7)).
    WriteIdMaps {
        /// Users.
        uid: Vec<IdMap>,
        /// Groups.
        gid: Vec<IdMap>,
        /// By which way.
        writer: MapWriter,
    },
    /// setresgid, setresuid to 0 in the new user namespace.
    BecomeRoot,
    /// A word to the other process.
    Tell {
        /// The word.
        token: Token,
    },
    /// Waits for a word of the other process.
    Await {
        /// The word.
        token: Token,
    },

    // ---- cgroups
    /// Makes the container's cgroup in one hierarchy.
    MakeCgroup(Group),
    /// Writes its limits.
    LimitCgroup {
        /// The hierarchy.
        hierarchy: String,
    },
    /// The child joins all cgroups (v1: `0` to each `tasks` file; v2: it was born there).
    JoinCgroups,
    /// Writes the process to `tasks` of a group of resctrl, made and given its share before where that is missing.
    JoinCacheGroup(CacheGroup),

    // ---- the child's view of files
    /// keyctl(2) JOIN_SESSION_KEYRING.
    SessionKeyring {
        /// Its name.
        name: String,
    },
    /// Changes propagation of the mount at `/` (mount(2), MS_SHARED…).
    Propagation {
        /// Flags for mount(2).
        flags: u64,
    },
    /// Clones the mount tree at the rootfs and mounts it over itself; it is the root from here on.
    /// Rule: its parent mount is made private first when it is shared, or pivot_root is refused.
    BindRoot {
        /// The rootfs on the host.
        path: PathBuf,
    },
    /// open_tree(2) with OPEN_TREE_CLONE: a detached copy of the mount at `path`.
    OpenSource {
        /// Where the descriptor goes.
        slot: Slot,
        /// On the host.
        path: PathBuf,
        /// With all mounts below it.
        recursive: bool,
        /// The map through which it shows owners.
        id_map: Option<MountIdMap>,
        /// What is done with a link at `path`.
        link: SourceLink,
    },
    /// move_mount(2) of a detached copy. Rule: the target is made like the source (folder or file) when
    /// it is missing.
    Bind {
        /// The copy.
        slot: Slot,
        /// In the root.
        target: RootPath,
        /// What changes on it first.
        attributes: Attributes,
        /// What is done with a link at `target`.
        link: TargetLink,
    },
    /// mount(2) of a filesystem. Rule: a tmpfs without `mode=` takes the mode of the folder it covers.
    MountFs {
        /// In the root.
        target: RootPath,
        /// `proc`, `tmpfs`…
        fstype: String,
        /// What mountinfo shows as its source.
        source: String,
        /// MS_ flags.
        flags: u64,
        /// Options for the filesystem.
        data: String,
        /// What changes on it afterwards.
        attributes: Attributes,
        /// A host folder that is bound, recursively, where the kernel refuses the mount with EPERM or
        /// EBUSY (sysfs and cgroup2 in a user namespace that does not own the network or cgroup).
        fallback: Option<PathBuf>,
        /// Whether it begins with what the folder had that it covers (`tmpcopyup`).
        copy_up: bool,
    },
    /// A bind of the container's own cgroup folder in one hierarchy.
    BindCgroup {
        /// The hierarchy.
        hierarchy: String,
        /// In the root.
        target: RootPath,
        /// What changes on it first.
        attributes: Attributes,
    },
    /// mount_setattr(2) of the mount at a path.
    Remount {
        /// In the root.
        target: RootPath,
        /// What changes.
        attributes: Attributes,
    },
    /// A filesystem made as a detached mount and put on a target by descriptor, in a container that runs: no path of
    /// its root, and nothing of its procfs, is trusted.
    AttachFs {
        /// In the root; made as a folder where it is missing.
        target: RootPath,
        /// The filesystem.
        fstype: String,
        /// Options for fsconfig(2): a name, and a value that is empty for a word alone.
        options: Vec<(String, String)>,
        /// Its MOUNT_ATTR_ bits (`set`), and its propagation.
        attributes: Attributes,
    },
    /// umount2(2) of the topmost mount at a path, which may lead through no link.
    Unmount {
        /// In the root.
        target: RootPath,
    },
    /// The child has nothing else to do, and ends.
    Done,
    /// mknodat(2), fchownat(2), fchmodat(2). Rule: an equal node that is there stays.
    MakeDevice {
        /// In the root.
        path: RootPath,
        /// `c`, `b` or `p`.
        kind: char,
        /// Device number.
        major: u32,
        /// Device number.
        minor: u32,
        /// Permission bits, exactly.
        mode: u32,
        /// Owner, in the container.
        uid: u32,
        /// Group, in the container.
        gid: u32,
    },
    /// symlinkat(2). Rule: an existing file of that name stays.
    Symlink {
        /// In the root.
        path: RootPath,
        /// What it says.
        target: PathBuf,
    },
    /// A folder and its parents, 0755, where it is missing.
    MakeFolder {
        /// In the root.
        path: RootPath,
    },
    /// open(2), for appending, of a file of the host into which all hooks write, those too that run in the container.
    HookOutput {
        /// What they write there.
        stream: Stream,
        /// The file, absolute; made where it is missing.
        path: PathBuf,
    },
    /// Runs hooks.
    Hooks {
        /// Which.
        kind: HookKind,
        /// In order.
        hooks: Vec<Hook>,
    },
    /// pivot_root(2), and the old root is detached.
    Pivot,
    /// MS_MOVE and chroot(2), after all other full views of procfs and sysfs are unmounted.
    MoveRoot,
    /// A pty of the container's own devpts: on `/dev/console`, as standard streams, as controlling
    /// terminal; its master goes to the engine or to the runtime.
    Console {
        /// Who gets the master.
        to: ConsoleTo,
        /// Rows and columns, if the config says so.
        size: Option<(u16, u16)>,
        /// Owner of the terminal, in the container.
        uid: u32,
        /// Whether it is mounted on `/dev/console` (not for `exec`).
        bind: bool,
    },
    /// RTM_SETLINK: a device of the host moves to the child's network namespace, with its addresses, and is
    /// up there.
    MoveNetDevice {
        /// Its name on the host.
        name: String,
        /// Its name in the container, or a pattern with `%d`.
        to: String,
    },
    /// SIOCSIFFLAGS: `lo` up.
    LoopbackUp,
    /// sethostname(2).
    Hostname {
        /// The name.
        name: String,
    },
    /// setdomainname(2).
    Domainname {
        /// The name.
        name: String,
    },
    /// Writes a file below `/proc/sys`, through the host's procfs, opened before the pivot.
    Sysctl {
        /// Below `/proc/sys`.
        path: String,
        /// What is written.
        value: String,
    },
    /// Makes the mount(s) at a path read-only. Rule: a missing path is skipped.
    ReadonlyPath {
        /// In the root.
        path: RootPath,
    },
    /// Covers a path: a file by the null device, a folder by an empty read-only tmpfs. Rule: a missing
    /// path is skipped.
    MaskPath {
        /// In the root.
        path: RootPath,
    },
    // ---- the process
    /// prlimit(2) on the child.
    Rlimit {
        /// RLIMIT_ name.
        name: String,
        /// Number for the call.
        resource: u32,
        /// Soft limit.
        soft: u64,
        /// Hard limit.
        hard: u64,
    },
    /// Writes `oom_score_adj`. Rule: without the right to lower it, an ordinary user's is left alone.
    OomScore {
        /// −1000 to 1000.
        value: i32,
        /// Whether EACCES is tolerated (a caller that is not the host's root).
        lenient: bool,
    },
    /// personality(2).
    Personality {
        /// The persona.
        persona: u64,
    },
    /// sched_setaffinity(2).
    Affinity {
        /// On which it runs.
        cpus: Cpus,
    },
    /// set_mempolicy(2).
    MemoryPolicy {
        /// MPOL_ name, with the names of its flags.
        name: String,
        /// The same as a number.
        mode: u32,
        /// Memory nodes.
        nodes: Vec<u32>,
    },
    /// sched_setattr(2).
    Scheduler(Scheduler),
    /// A core-scheduling cookie of its own. Rule: nothing where the kernel or the processor has none.
    OwnCore,
    /// Landlock: files below the root alone, and no mounts. Rule: as far as the kernel knows it.
    Landlock,
    /// ioprio_set(2).
    IoPriority {
        /// Class and level as the call takes them.
        value: u32,
    },
    /// Writes a label to `attr/…/exec` (AppArmor, SELinux).
    ExecLabel {
        /// The file below `/proc/thread-self/attr`.
        file: String,
        /// The label.
        label: String,
    },
    /// fchown of descriptors 0 to 2 to the user. Rule: not the null device, and what cannot be changed is
    /// left alone.
    OwnStdio {
        /// The user, in the container.
        uid: u32,
    },
    /// prctl(PR_SET_NO_NEW_PRIVS).
    NoNewPrivileges,
    /// Drops all other capabilities from the bounding set.
    BoundingSet {
        /// The ones that stay.
        keep: Vec<String>,
    },
    /// setgroups, setresgid, setresuid, keeping the permitted capabilities for what is still to do;
    /// effective become the container's.
    User {
        /// User, in the container.
        uid: u32,
        /// Group, in the container.
        gid: u32,
        /// Exact list of further groups; `None` where setgroups is denied and none are asked for.
        groups: Option<Vec<u32>>,
        /// Effective capabilities from here on.
        effective: Vec<String>,
    },
    /// umask(2).
    Umask {
        /// The mask.
        mask: u32,
    },
    /// fchdir(2) as the user to a folder resolved in the root (CVE-2024-21626).
    Cwd {
        /// In the root.
        path: PathBuf,
    },
    /// Looks the program up in the container's PATH, as the user.
    FindExecutable {
        /// The whole command.
        args: Vec<String>,
        /// The whole environment.
        env: Vec<String>,
    },
    /// chroot(2) into the rootfs: without a mount namespace of its own there is nothing to pivot.
    Chroot {
        /// On the host.
        path: PathBuf,
    },
    /// Waits until `isolate start` says so over the socket in the state folder.
    AwaitStart,
    /// seccomp(2).
    Seccomp(Filter),
    /// The same with SECCOMP_FILTER_FLAG_NEW_LISTENER, and a word to the runtime of the descriptor.
    SeccompNotify {
        /// The filter.
        filter: Filter,
        /// How the runtime gets the descriptor.
        handover: Handover,
    },
    /// Gets the descriptor of the filter from the child, and sends it with the container's state.
    SendListener(Listener),
    /// capset(2): the final sets.
    Capabilities(CapabilitySets),
    /// close_range(2) with CLOSE_RANGE_CLOEXEC from this descriptor on.
    CloseFrom {
        /// The first descriptor that the program does not get.
        first: u32,
    },
    /// execve(2).
    Exec,
}

/// On which CPUs a process may run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cpus {
    /// On all that its cgroup allows.
    All,
    /// On those of these.
    Only(Vec<u32>),
}

/// The five sets, names with `CAP_`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CapabilitySets {
    /// See capabilities(7).
    pub effective: Vec<String>,
    /// See capabilities(7).
    pub permitted: Vec<String>,
    /// See capabilities(7).
    pub inheritable: Vec<String>,
    /// See capabilities(7).
    pub ambient: Vec<String>,
}

/// What sched_setattr(2) takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Scheduler {
    /// SCHED_ number.
    pub policy: u32,
    /// SCHED_FLAG_ bits.
    pub flags: u64,
    /// −20 to 19.
    pub nice: i32,
    /// 1 to 99 for real-time policies.
    pub priority: u32,
    /// Nanoseconds, for SCHED_DEADLINE.
    pub runtime: u64,
    /// Nanoseconds, for SCHED_DEADLINE.
    pub deadline: u64,
    /// Nanoseconds, for SCHED_DEADLINE.
    pub period: u64,
}
