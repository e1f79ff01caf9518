//! A plan for people: one line a step, with what asked for it. Pure.

use std::fmt;

use super::cgroup::Group;
use super::{Plan, Stage, Step};
use crate::oci::number_list;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut stage = None;
        for planned in &self.steps {
            if stage.replace(planned.stage) != Some(planned.stage) {
                writeln!(f, "{}", heading(planned.stage))?;
            }
            writeln!(f, "  {:<72} [{}]", planned.step.to_string(), planned.why)?;
            if let Step::MakeCgroup(Group { unit: Some(unit), .. }) = &planned.step {
                for property in &unit.properties {
                    line(f, format!("{}={}", property.name, property.value), &property.why)?;
                }
            }
            if let Step::LimitCgroup { hierarchy } = &planned.step {
                self.print_limits(f, hierarchy)?;
            }
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        for path in &self.ignored {
            writeln!(f, "ignored: {path}")?;
        }
        Ok(())
    }
}

impl Plan {
    fn print_limits(&self, f: &mut fmt::Formatter<'_>, hierarchy: &str) -> fmt::Result {
        let groups = self.steps.iter().filter_map(|planned| match &planned.step {
            Step::MakeCgroup(group) if group.hierarchy == hierarchy => Some(group),
            _ => None,
        });
        let line =
            |f: &mut fmt::Formatter<'_>, text: String, why: &str| writeln!(f, "    {text:<70} [{why}]");
        for group in groups {
            for write in &group.writes {
                line(f, format!("{} = {}", write.file, write.value), &write.why)?;
            }
            for rule in &group.devices {
                let verb = if rule.allow { "allow" } else { "deny" };
                line(f, format!("device filter: {verb} {}", rule.v1()), &rule.why)?;
            }
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, text: String, why: &str) -> fmt::Result {
    writeln!(f, "    {text:<70} [{why}]")
}

fn heading(stage: Stage) -> &'static str {
    match stage {
        Stage::Host => "host: the runtime, before the clone",
        Stage::Beside => "beside: the runtime, while the child sets itself up",
        Stage::Setup => "setup: the child, the host's root still visible",
        Stage::Inside => "inside: the child, in its own root",
        Stage::Last => "last: the child, giving up its privileges",
    }
}

impl Step {
    /// The file, folder, name or setting that a step is about, for error messages.
    pub fn object(&self) -> Option<String> {
        Some(match self {
            Step::Bind { target, .. }
            | Step::MountFs { target, .. }
            | Step::BindCgroup { target, .. }
            | Step::AttachFs { target, .. }
            | Step::Unmount { target }
            | Step::Remount { target, .. } => target.to_string(),
            Step::MakeDevice { path, .. }
            | Step::Symlink { path, .. }
            | Step::ReadonlyPath { path }
            | Step::MakeFolder { path }
            | Step::MaskPath { path } => path.to_string(),
            Step::OpenSource { path, .. }
            | Step::HookOutput { path, .. }
            | Step::BindRoot { path }
            | Step::Cwd { path }
            | Step::Chroot { path }
            | Step::JoinNamespace { path, .. } => path.display().to_string(),
            Step::Sysctl { path, .. } => format!("/proc/sys/{path}"),
            Step::Rlimit { name, .. } => name.clone(),
            _ => return None,
        })
    }
}

/// One line: what the step is in words close to the call that is made.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::JoinNamespace { namespace, path } => {
                write!(f, "join the {} namespace {}", namespace.proc_name(), path.display())
            }
            Step::NewTimeNamespace { offsets } => write!(f, "new time namespace, offsets {offsets:?}"),
            Step::Clone { namespaces, owner } => {
                write!(f, "clone the child{}", born_in(namespaces))?;
                owner.map_or(Ok(()), |owner| write!(f, ", owned by {owner}"))
            }
            Step::Fork { namespaces } => write!(f, "fork once more{}", born_in(namespaces)),
            Step::Unshare { namespaces } => write!(f, "unshare {}", list(namespaces)),
            Step::JoinContainer { namespaces } => write!(f, "join the container's {}", list(namespaces)),
            Step::EnterRoot => write!(f, "enter the container's root"),
            Step::WriteIdMaps { uid, gid, writer } => {
                let lines = |maps: &[super::IdMap]| {
                    maps.iter().map(|map| map.to_string()).collect::<Vec<_>>().join(", ")
                };
                write!(f, "write id maps ({writer:?}): users {}; groups {}", lines(uid), lines(gid))
            }
            Step::BecomeRoot => write!(f, "become root of the user namespace"),
            Step::Tell { token } => write!(f, "tell the other process: {token:?}"),
            Step::Await { token } => write!(f, "wait for the other process: {token:?}"),
            Step::MakeCgroup(Group { unit: Some(unit), .. }) => {
                write!(f, "start the unit {} in {} with systemd:", unit.name, unit.slice)
            }
            Step::MakeCgroup(group) => write!(f, "mkdir {}", group.dir.display()),
            Step::LimitCgroup { hierarchy } => write!(f, "write limits in {hierarchy}:"),
            Step::JoinCgroups => write!(f, "join the cgroups"),
            Step::JoinCacheGroup(group) => {
                let made = if group.making == super::Making::IfMissing { ", made if missing" } else { "" };
                let share = group.schemata.join("; ");
                let share = if share.is_empty() { share } else { format!(", share {share}") };
                let counted = if group.monitor.is_some() { ", counted apart" } else { "" };
                write!(f, "join the cache group {}{made}{share}{counted}", group.folder().display())
            }
            Step::SessionKeyring { name } => write!(f, "new session keyring {name}"),
            Step::Propagation { flags } => write!(f, "propagation of / {}", propagation_name(*flags)),
            Step::BindRoot { path } => write!(f, "bind the root {} on itself", path.display()),
            Step::OpenSource { slot, path, recursive, id_map, link } => {
                let all = if *recursive { ", with all below" } else { "" };
                let mapped = if id_map.is_some() { ", owners through an id map" } else { "" };
                let link = match link {
                    super::SourceLink::Followed => "",
                    super::SourceLink::Bound => ", a link itself",
                    super::SourceLink::Copied => ", a link is copied",
                };
                write!(f, "open the source #{slot} {}{all}{mapped}{link}", path.display())
            }
            Step::Bind { slot, target, attributes, link } => {
                let link = match link {
                    super::TargetLink::Covered => ", over a link",
                    super::TargetLink::Followed | super::TargetLink::Made => "",
                };
                write!(f, "bind source #{slot} on {target}{}{link}", show(attributes))
            }
            Step::MountFs { target, fstype, flags, data, attributes, copy_up, .. } => {
                let flags = nix::mount::MsFlags::from_bits_truncate(*flags);
                let names: Vec<_> =
                    flags.iter_names().map(|(name, _)| name.trim_start_matches("MS_")).collect();
                let names = names.join(",").to_lowercase();
                let filled = if *copy_up { ", filled with what it covers" } else { "" };
                write!(f, "mount {fstype} on {target} ({names}) {data}{}{filled}", show(attributes))
            }
            Step::BindCgroup { hierarchy, target, attributes } => {
                write!(f, "bind the container's {hierarchy} cgroup on {target}{}", show(attributes))
            }
            Step::AttachFs { target, fstype, options, attributes } => {
                let words: Vec<_> = options.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(f, "attach a new {fstype} at {target} ({}){}", words.join(","), show(attributes))
            }
            Step::Unmount { target } => write!(f, "unmount {target}"),
            Step::Done => write!(f, "end"),
            Step::Remount { target, attributes } => {
                write!(f, "change the mount at {target}{}", show(attributes))
            }
            Step::MakeDevice { path, kind, major, minor, mode, uid, gid } => {
                write!(f, "mknod {path} {kind} {major}:{minor} mode {mode:04o} owner {uid}:{gid}")
            }
            Step::Symlink { path, target } => write!(f, "symlink {path} -> {}", target.display()),
            Step::HookOutput { stream, path } => {
                write!(f, "open {} for what hooks say ({stream:?})", path.display())
            }
            Step::Hooks { kind, hooks } => {
                let paths: Vec<_> = hooks.iter().map(|hook| hook.path.display().to_string()).collect();
                write!(f, "run {kind:?} hooks {}", paths.join(", "))
            }
            Step::MakeFolder { path } => write!(f, "mkdir {path} where it is missing"),
            Step::Pivot => write!(f, "pivot_root, and detach the host's root"),
            Step::MoveRoot => write!(f, "move the root to / and chroot (no pivot)"),
            Step::Chroot { path } => write!(f, "chroot to {}", path.display()),
            Step::Console { to, size, .. } => {
                let keeper = match to {
                    super::ConsoleTo::Socket => "the console socket",
                    super::ConsoleTo::Runtime => "the runtime",
                };
                write!(f, "a terminal for the program, its master to {keeper}")?;
                size.map_or(Ok(()), |(rows, columns)| write!(f, ", {rows} rows of {columns}"))
            }
            Step::MoveNetDevice { name, to } => {
                write!(f, "move the network device {name} to the container, as {to}")
            }
            Step::LoopbackUp => write!(f, "bring lo up"),
            Step::Hostname { name } => write!(f, "sethostname {name}"),
            Step::Domainname { name } => write!(f, "setdomainname {name}"),
            Step::Sysctl { path, value } => write!(f, "write {value:?} to /proc/sys/{path}"),
            Step::ReadonlyPath { path } => write!(f, "make {path} read-only"),
            Step::MaskPath { path } => write!(f, "hide {path}"),
            Step::Rlimit { name, soft, hard, .. } => write!(f, "{name} soft {soft} hard {hard}"),
            Step::OomScore { value, .. } => write!(f, "oom_score_adj {value}"),
            Step::Personality { persona } => write!(f, "personality {persona:#x}"),
            Step::Affinity { cpus: super::Cpus::All } => write!(f, "run on all CPUs of the cgroup"),
            Step::Affinity { cpus: super::Cpus::Only(cpus) } => {
                write!(f, "run on CPUs {}", number_list::show(cpus))
            }
            Step::MemoryPolicy { name, nodes, .. } => {
                write!(f, "memory policy {name} nodes {:?}", number_list::show(nodes))
            }
            Step::Scheduler(scheduler) => write!(f, "{scheduler}"),
            Step::OwnCore => write!(f, "share no core with others, where the kernel can do that"),
            Step::Landlock => {
                write!(f, "keep to the files of the root, by Landlock as far as the kernel has it")
            }
            Step::IoPriority { value } => {
                write!(f, "I/O priority class {} level {}", value >> 13, value & 0x1fff)
            }
            Step::ExecLabel { label, .. } => write!(f, "label at exec: {label}"),
            Step::OwnStdio { uid } => write!(f, "give the standard streams to user {uid}"),
            Step::NoNewPrivileges => write!(f, "no new privileges"),
            Step::BoundingSet { keep } => write!(f, "bounding set: {}", capabilities(keep)),
            Step::User { uid, gid, groups, .. } => {
                write!(f, "become user {uid} group {gid}, {}", further(groups.as_deref()))
            }
            Step::Umask { mask } => write!(f, "umask {mask:04o}"),
            Step::Cwd { path } => write!(f, "chdir {}", path.display()),
            Step::FindExecutable { args, .. } => write!(f, "look up the program of {args:?}"),
            Step::AwaitStart => write!(f, "wait for 'isolate start'"),
            Step::Seccomp(filter) => {
                write!(f, "load a seccomp filter of {} instructions", filter.program.len())
            }
            Step::SeccompNotify { filter, .. } => {
                write!(f, "load a seccomp filter of {} instructions that notifies", filter.program.len())
            }
            Step::SendListener(to) => write!(f, "send the filter's descriptor to {}", to.path.display()),
            Step::Capabilities(sets) => write!(
                f,
                "capabilities: effective {}; permitted {}; inheritable {}; ambient {}",
                capabilities(&sets.effective),
                capabilities(&sets.permitted),
                capabilities(&sets.inheritable),
                capabilities(&sets.ambient)
            ),
            Step::CloseFrom { first } => write!(f, "close all descriptors from {first} on"),
            Step::Exec => write!(f, "exec"),
        }
    }
}

fn list(namespaces: &[super::Namespace]) -> String {
    namespaces.iter().map(|kind| kind.proc_name()).collect::<Vec<_>>().join(", ")
}

fn born_in(namespaces: &[super::Namespace]) -> String {
    if namespaces.is_empty() { String::new() } else { format!(" in new namespaces: {}", list(namespaces)) }
}

fn capabilities(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}

fn further(groups: Option<&[u32]>) -> String {
    match groups {
        None => "keeping the further groups".to_owned(),
        Some([]) => "no further groups".to_owned(),
        Some(groups) => {
            let ids: Vec<_> = groups.iter().map(u32::to_string).collect();
            format!("further groups {}", ids.join(" "))
        }
    }
}

impl fmt::Display for super::Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scheduler policy {} flags {:#x}", self.policy, self.flags)?;
        write!(f, " nice {} priority {}", self.nice, self.priority)?;
        if (self.runtime, self.deadline, self.period) == (0, 0, 0) {
            return Ok(());
        }
        write!(f, " runtime {} deadline {} period {} ns", self.runtime, self.deadline, self.period)
    }
}

fn propagation_name(flags: u64) -> String {
    let flags = nix::mount::MsFlags::from_bits_truncate(flags);
    let names: Vec<_> =
        flags.iter_names().map(|(name, _)| name.trim_start_matches("MS_").to_lowercase()).collect();
    names.join("+")
}

fn show(attributes: &super::Attributes) -> String {
    let parts = [
        ("set", attributes.set),
        ("clear", attributes.clear),
        ("set on all below", attributes.recursive_set),
        ("clear on all below", attributes.recursive_clear),
    ];
    let mut text: Vec<String> = parts
        .iter()
        .filter(|(_, bits)| *bits != 0)
        .map(|(name, bits)| format!("{name} {}", bit_names(*bits)))
        .collect();
    text.extend(attributes.propagation.iter().map(|flags| propagation_name(*flags)));
    if text.is_empty() { String::new() } else { format!(", {}", text.join(", ")) }
}

/// MOUNT_ATTR_ bits by name (mount_setattr(2)).
fn bit_names(bits: u64) -> String {
    const NAMES: [(u64, &str); 8] = [
        (libc::MOUNT_ATTR_RDONLY, "ro"),
        (libc::MOUNT_ATTR_NOSUID, "nosuid"),
        (libc::MOUNT_ATTR_NODEV, "nodev"),
        (libc::MOUNT_ATTR_NOEXEC, "noexec"),
        (libc::MOUNT_ATTR_NOATIME, "noatime"),
        (libc::MOUNT_ATTR_STRICTATIME, "strictatime"),
        (libc::MOUNT_ATTR_NODIRATIME, "nodiratime"),
        (libc::MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow"),
    ];
    let names: Vec<_> = NAMES.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
    names.join(",")
}
