//! Config in, plan out: the order of everything, from top to bottom. Pure.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, Process, Spec};

use super::cgroup::{self, CgroupPlan};
use super::namespaces::Namespaces;
use super::{
    ConsoleTo, HookKind, IdMap, MapWriter, Namespace, Plan, Planned, Stage, Step, Token, annotations, cache,
    ids, net_devices, placement, process, root, seccomp,
};
use crate::cgroup::layout::Version;
use crate::cgroup::unit::Unit;
use crate::error::{Error, Explain, Kind, Result};
use crate::host::Host;
use crate::ids::ContainerId;
use crate::oci::validate::sysctl_path;

/// What the command line decides, beside the config.
#[derive(Debug, Clone)]
pub struct Options {
    /// The container's name.
    pub id: ContainerId,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// Where the terminal's master goes, when the config asks for a terminal.
    pub console: ConsoleTo,
    /// When the program starts.
    pub start: Start,
    /// The first descriptor the program does not get: 3, and more with `--preserve-fds`.
    pub close_from: u32,
    /// Environment that the runtime adds (LISTEN_FDS, NOTIFY_SOCKET).
    pub env: Vec<String>,
    /// A host folder bound to `/run/notify`, for readiness messages.
    pub notify: Option<PathBuf>,
    /// False for `--cgroup-manager disabled`: the container stays in the caller's cgroup.
    pub cgroups: bool,
    /// A part of the name of cgroups without a path of the config's: of two state roots each may have a
    /// container of the same name. `None` for the default root.
    pub cgroup_parent: Option<String>,
}

/// When the program starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// When `isolate start` says so.
    OnCommand,
    /// As soon as the container stands.
    AtOnce,
}

/// The plan for making a container.
///
/// # Errors
/// What this host cannot do, with the JSON path that asked for it.
pub fn compile(spec: &Spec, bundle: &Path, options: &Options, host: &Host) -> Result<Plan> {
    let linux = spec.linux().as_ref();
    let namespaces = Namespaces::read(linux, host)?;
    let maps = Maps::read(linux, &namespaces, host)?;
    let mut plan = Plan::default();
    let mut groups = cgroups(&mut plan, spec, options, host)?;
    let owner = cgroup_owner(spec, &namespaces, &maps, host);
    for group in groups.groups.iter_mut().filter(|group| group.version == Version::V2) {
        group.owner = owner;
    }
    refuse_unprivileged(&namespaces, host)?;

    // The runtime, before and beside the child.
    for (stream, why, path) in annotations::hook_output(|key| annotations::value(spec, key))? {
        plan.push(Stage::Host, why, Step::HookOutput { stream, path });
    }
    namespaces.plan_host(&mut plan, host);
    for group in groups.groups.iter().filter(|group| group.version == Version::V2) {
        // A scope is made of processes that exist.
        let is_scope = group.unit.as_ref().is_some_and(Unit::is_scope);
        let stage = if is_scope { Stage::Beside } else { Stage::Host };
        plan.push(stage, "linux.cgroupsPath", Step::MakeCgroup(group.clone()));
    }
    let limits = process::limits_stage(namespaces.is_own(Namespace::User));
    plan_beside(&mut plan, spec, &maps, &groups, limits, host, &options.id)?;

    // The child, with the old root still in sight.
    if maps.is_needed() {
        plan.push(Stage::Setup, "default", Step::Await { token: Token::Maps });
    }
    namespaces.plan_child(&mut plan, host);
    if !options.no_new_keyring {
        let name = format!("_ses.{}", options.id);
        plan.push(Stage::Setup, "default", Step::SessionKeyring { name });
    }
    if namespaces.is_new(Namespace::Network) {
        plan.push(Stage::Setup, "linux.namespaces", Step::LoopbackUp);
    }
    plan_names(&mut plan, spec);
    plan_sysctl(&mut plan, spec)?;
    let around = root::Around {
        spec,
        bundle,
        namespaces: &namespaces,
        uid_maps: maps.shown_uid(),
        gid_maps: &maps.gid,
        options,
        host,
    };
    if namespaces.is_new(Namespace::Mount) {
        root::plan_root(&mut plan, &around)?;
    } else {
        root::plan_shared_root(&mut plan, &around)?;
    }
    plan_join_cgroups(&mut plan, &namespaces, &groups);

    // The child, in its own root, up to exec.
    plan_program(&mut plan, spec, &maps, options, limits, host)?;

    // Last of the host's steps: sources for the child are opened before it is born.
    let clone = Step::Clone {
        namespaces: namespaces.at_clone(host),
        owner: user_namespace_owner(spec, &maps, host)?,
    };
    plan.push(Stage::Host, "linux.namespaces", clone);
    plan.steps.sort_by_key(|planned| planned.stage);
    super::check::check(&plan)?;
    Ok(plan)
}

/// Whose the new user namespace is to be, if not the runtime's.
fn user_namespace_owner(spec: &Spec, maps: &Maps, host: &Host) -> Result<Option<u32>> {
    if !annotations::says(spec, annotations::USER_NAMESPACE_OWNER, "root")? {
        return Ok(None);
    }
    let place = format!("annotations[{:?}]", annotations::USER_NAMESPACE_OWNER);
    let root = maps.shown_uid().iter().find_map(|map| map.to_outside(0));
    match root {
        None => Err(Error::new("there is no new user namespace with a root in it").at(place)),
        Some(_) if !host.privileged => Err(Error::new("only the host's root can give a user namespace away")
            .kind(Kind::Unsupported)
            .at(place)),
        owner => Ok(owner),
    }
}

/// The plan for running another program in a container that stands. `filter` is the one of the container, where it need
/// not be compiled again.
///
/// # Errors
/// As [`compile`].
pub fn compile_exec(
    process_: &Process,
    spec: &Spec,
    filter: Option<seccomp::Filter>,
    joined: &[Namespace],
    options: &Options,
    host: &Host,
) -> Result<Plan> {
    let mut plan = Plan::default();
    placement::plan_initial_cpus(&mut plan, process_)?;
    plan.push(Stage::Host, "default", Step::Clone { namespaces: Vec::new(), owner: None });
    plan.push(Stage::Beside, "default", Step::Tell { token: Token::Cgroup });
    if let Some(value) = process_.oom_score_adj() {
        let step = Step::OomScore { value, lenient: !host.privileged };
        plan.push(Stage::Beside, "process.oomScoreAdj", step);
    }
    plan.push(Stage::Beside, "default", Step::Await { token: Token::Ready });
    let limits = process::limits_stage(joined.contains(&Namespace::User));
    if limits == Stage::Beside {
        process::plan_limits(&mut plan, process_, "process", limits);
    }
    cache::plan_exec(&mut plan, spec, &options.id)?;
    plan.push(Stage::Beside, "default", Step::Tell { token: Token::Commit });

    plan.push(Stage::Setup, "default", Step::Await { token: Token::Cgroup });
    plan.push(Stage::Setup, "default", Step::JoinCgroups);
    placement::plan_final_cpus(&mut plan, process_)?;
    process::plan_labels(&mut plan, process_, "process", host)?;
    if !joined.is_empty() {
        plan.push(Stage::Setup, "default", Step::JoinContainer { namespaces: joined.to_vec() });
    }
    if joined.contains(&Namespace::User) {
        plan.push(Stage::Setup, "default", Step::BecomeRoot);
    }
    plan.push(Stage::Setup, "default", Step::EnterRoot);
    // Only now is anything of ours born where the container can see it: with nothing of the host in reach.
    if joined.contains(&Namespace::Pid) {
        plan.push(Stage::Setup, "default", Step::Fork { namespaces: Vec::new() });
    }
    if !options.no_new_keyring {
        let name = format!("_ses.{}", options.id);
        plan.push(Stage::Setup, "default", Step::SessionKeyring { name });
    }
    plan_console(&mut plan, process_, options.console, false);
    let linux = spec.linux().as_ref();
    process::plan_personality(&mut plan, linux);
    placement::plan_memory_policy(&mut plan, linux)?;
    let maps = ids::read(linux.and_then(|linux| linux.gid_mappings().as_ref()));
    let single = matches!(maps.as_slice(), [only] if only.size == 1) && !host.sys_admin;
    let listener = plan_listener(&mut plan, spec, host)?;
    let filter = match filter {
        Some(filter) => Some(filter),
        None => compile_seccomp(&mut plan, linux)?,
    };
    let around = process::Around {
        place: "process",
        close_from: options.close_from,
        may_set_groups: !single,
        keep_groups: keeps_groups(spec, process_)?,
        seccomp: filter,
        listener: listener.as_ref(),
        hooks: Vec::new(),
        wait: false,
        env: &options.env,
        limits,
        walls: process::walls(spec, process::Whose::Exec)?,
    };
    process::plan_last(&mut plan, process_, around)?;
    plan.steps.sort_by_key(|planned| planned.stage);
    super::check::check(&plan)?;
    Ok(plan)
}

/// The id maps of a new user namespace.
struct Maps {
    uid: Vec<IdMap>,
    gid: Vec<IdMap>,
    writer: Option<MapWriter>,
}

impl Maps {
    fn read(linux: Option<&Linux>, namespaces: &Namespaces, host: &Host) -> Result<Maps> {
        let uid = ids::read(linux.and_then(|linux| linux.uid_mappings().as_ref()));
        let gid = ids::read(linux.and_then(|linux| linux.gid_mappings().as_ref()));
        let is_new = namespaces.is_new(Namespace::User);
        let writer = is_new.then(|| ids::writer(&uid, &gid, host)).transpose()?;
        Ok(Maps { uid, gid, writer })
    }

    fn is_needed(&self) -> bool {
        self.writer.is_some()
    }

    /// The user map, if it is that of a new namespace.
    fn shown_uid(&self) -> &[IdMap] {
        if self.is_needed() { &self.uid } else { &[] }
    }

    fn may_set_groups(&self) -> bool {
        self.writer != Some(MapWriter::Single)
    }
}

fn cgroups(plan: &mut Plan, spec: &Spec, options: &Options, host: &Host) -> Result<CgroupPlan> {
    if !options.cgroups {
        return Ok(CgroupPlan::default());
    }
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
    let path = path.filter(|path| !path.as_os_str().is_empty());
    let chosen = options.cgroup_parent.as_ref().filter(|_| path.is_none() && host.systemd.is_none());
    let chosen = chosen.map(|parent| {
        let base = if host.privileged { "/" } else { "" };
        Path::new(base).join(cgroup::chosen(Some(parent), &options.id))
    });
    let path = path.or(chosen.as_deref());
    let mut groups = cgroup::compile(resources, path, spec.annotations().as_ref(), &options.id, host)?;
    if chosen.is_some() && !host.privileged {
        // Nobody has asked for this folder: a caller who may not make it goes without, as with none.
        groups.groups.iter_mut().for_each(|group| group.optional = group.writes.is_empty());
    }
    plan.warnings.extend(groups.warnings.iter().cloned());
    Ok(groups)
}

/// Whose the container's v2 folder is to be (config-linux.md, "Cgroup ownership"): its user's, if it has a cgroup
/// namespace of its own and may write in what it sees there. `None`: the caller's, as it is made.
fn cgroup_owner(spec: &Spec, namespaces: &Namespaces, maps: &Maps, host: &Host) -> Option<u32> {
    let is_writable = |mount: &oci_spec::runtime::Mount| {
        let is_read_only = |option: &String| option == "ro" || option == "rro";
        let is_cgroup = matches!(mount.typ().as_deref(), Some("cgroup" | "cgroup2"));
        is_cgroup && !mount.options().iter().flatten().any(is_read_only)
    };
    if !namespaces.is_new(Namespace::Cgroup) || !spec.mounts().iter().flatten().any(is_writable) {
        return None;
    }
    let uid = spec.process().as_ref()?.user().uid();
    // The map of a joined namespace is what the config says of it, if it says anything.
    let owner = match maps.uid.is_empty() {
        false => maps.uid.iter().find_map(|map| map.to_outside(uid))?,
        true => uid,
    };
    (owner != host.uid).then_some(owner)
}

fn refuse_unprivileged(namespaces: &Namespaces, host: &Host) -> Result<()> {
    if host.sys_admin || namespaces.is_own(Namespace::User) {
        return Ok(());
    }
    Err(Error::new("an ordinary user can only make containers with a user namespace")
        .at("linux.namespaces")
        .hint(
            "add {\"type\": \"user\"} with uidMappings and gidMappings ('isolate spec --rootless' shows how)",
        ))
}

fn plan_beside(
    plan: &mut Plan,
    spec: &Spec,
    maps: &Maps,
    groups: &CgroupPlan,
    limits: Stage,
    host: &Host,
    id: &ContainerId,
) -> Result<()> {
    if let Some(writer) = maps.writer {
        let step = Step::WriteIdMaps { uid: maps.uid.clone(), gid: maps.gid.clone(), writer };
        plan.push(Stage::Beside, "linux.uidMappings", step);
        plan.push(Stage::Beside, "default", Step::Tell { token: Token::Maps });
    }
    for group in &groups.groups {
        if group.version == Version::V1 {
            plan.push(Stage::Beside, "linux.cgroupsPath", Step::MakeCgroup(group.clone()));
        }
        if group.has_limits() {
            let hierarchy = group.hierarchy.clone();
            plan.push(Stage::Beside, "linux.resources", Step::LimitCgroup { hierarchy });
        }
    }
    if !groups.groups.is_empty() {
        plan.push(Stage::Beside, "default", Step::Tell { token: Token::Cgroup });
    }
    if let Some(value) = spec.process().as_ref().and_then(Process::oom_score_adj) {
        let step = Step::OomScore { value, lenient: !host.privileged };
        plan.push(Stage::Beside, "process.oomScoreAdj", step);
    }
    let early = early_hooks(spec);
    if !early.is_empty() || net_devices::has_any(spec) {
        plan.push(Stage::Beside, "default", Step::Await { token: Token::Namespaces });
        net_devices::plan(plan, spec, host)?;
        for (kind, why, hooks) in early {
            plan.push(Stage::Beside, why, Step::Hooks { kind, hooks });
        }
        plan.push(Stage::Beside, "default", Step::Tell { token: Token::Hooks });
    }
    plan.push(Stage::Beside, "default", Step::Await { token: Token::Ready });
    if let Some(process) = spec.process().as_ref().filter(|_| limits == Stage::Beside) {
        process::plan_limits(plan, process, "process", limits);
    }
    cache::plan(plan, spec, id)?;
    plan.push(Stage::Beside, "default", Step::Tell { token: Token::Commit });
    Ok(())
}

pub(super) fn early_hooks(spec: &Spec) -> Vec<(HookKind, &'static str, Vec<super::Hook>)> {
    let Some(hooks) = spec.hooks() else { return Vec::new() };
    #[allow(deprecated)]
    let prestart = process::hooks(hooks.prestart().as_ref());
    let create = process::hooks(hooks.create_runtime().as_ref());
    let all = [
        (HookKind::Prestart, "hooks.prestart", prestart),
        (HookKind::CreateRuntime, "hooks.createRuntime", create),
    ];
    all.into_iter().filter(|(.., hooks)| !hooks.is_empty()).collect()
}

/// The child joins its cgroups as late as it can, so that it makes its root while the runtime makes them: before the
/// first step that shows them, is accounted in them, or lets somebody else look. The cgroup namespace shows the
/// cgroup a process is in when it makes it, so joining comes first.
fn plan_join_cgroups(plan: &mut Plan, namespaces: &Namespaces, groups: &CgroupPlan) {
    let mut join = Plan::default();
    if !groups.groups.is_empty() {
        join.push(Stage::Setup, "default", Step::Await { token: Token::Cgroup });
        join.push(Stage::Setup, "default", Step::JoinCgroups);
    }
    if namespaces.is_new(Namespace::Cgroup) {
        let step = Step::Unshare { namespaces: vec![Namespace::Cgroup] };
        join.push(Stage::Setup, "linux.namespaces", step);
    }
    placement::plan_all_cpus(&mut join);
    let needs = |planned: &Planned| planned.stage == Stage::Setup && needs_cgroup(&planned.step);
    let place = plan.steps.iter().position(needs).unwrap_or(plan.steps.len());
    plan.steps.splice(place..place, join.steps);
}

fn needs_cgroup(step: &Step) -> bool {
    match step {
        Step::MountFs { fstype, copy_up, .. } => *copy_up || fstype.starts_with("cgroup"),
        Step::BindCgroup { .. }
        | Step::Tell { .. }
        | Step::Hooks { .. }
        | Step::Console { .. }
        | Step::Chroot { .. }
        | Step::Pivot
        | Step::MoveRoot => true,
        _ => false,
    }
}

pub(super) fn plan_console(plan: &mut Plan, process: &Process, to: ConsoleTo, bind: bool) {
    if !process.terminal().unwrap_or(false) {
        return;
    }
    let short = |length: u64| u16::try_from(length).unwrap_or(u16::MAX);
    let size = process.console_size().map(|size| (short(size.height()), short(size.width())));
    let uid = process.user().uid();
    plan.push(Stage::Setup, "process.terminal", Step::Console { to, size, uid, bind });
}

/// Names of the container's own UTS namespace.
fn plan_names(plan: &mut Plan, spec: &Spec) {
    if let Some(name) = spec.hostname().as_ref().filter(|name| !name.is_empty()) {
        plan.push(Stage::Setup, "hostname", Step::Hostname { name: name.clone() });
    }
    if let Some(name) = spec.domainname().as_ref().filter(|name| !name.is_empty()) {
        plan.push(Stage::Setup, "domainname", Step::Domainname { name: name.clone() });
    }
}

/// Kernel settings of the container's own namespaces, while the host's procfs is in sight.
fn plan_sysctl(plan: &mut Plan, spec: &Spec) -> Result<()> {
    let sysctl = spec.linux().as_ref().and_then(|linux| linux.sysctl().as_ref());
    let mut settings: Vec<_> = sysctl.into_iter().flatten().collect();
    settings.sort();
    for (key, value) in settings {
        let why = format!("linux.sysctl[{key:?}]");
        let path = sysctl_path(key).map_err(|fault| Error::new(fault).at(&why))?;
        plan.push(Stage::Setup, why, Step::Sysctl { path, value: value.clone() });
    }
    Ok(())
}

fn compile_seccomp(plan: &mut Plan, linux: Option<&Linux>) -> Result<Option<seccomp::Filter>> {
    let Some(config) = linux.and_then(|linux| linux.seccomp().as_ref()) else { return Ok(None) };
    let filter = seccomp::compile(config)?;
    plan.ignored.extend(filter.warnings.iter().cloned());
    Ok(Some(filter))
}

fn keeps_groups(spec: &Spec, process: &Process) -> Result<bool> {
    annotations::keeps_groups(spec, process.user().additional_gids().as_deref().unwrap_or_default())
}

/// The listener of the filter, if it has one, and the runtime's part in it.
fn plan_listener(plan: &mut Plan, spec: &Spec, host: &Host) -> Result<Option<seccomp::Listener>> {
    let config = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let receiver = annotations::value(spec, annotations::SECCOMP_RECEIVER);
    let listener = config.map(|config| seccomp::read_listener(config, receiver, host)).transpose()?.flatten();
    if let Some(listener) = &listener {
        seccomp::plan_beside(plan, listener, "linux.seccomp.listenerPath");
    }
    Ok(listener)
}

fn plan_program(
    plan: &mut Plan,
    spec: &Spec,
    maps: &Maps,
    options: &Options,
    limits: Stage,
    host: &Host,
) -> Result<()> {
    let nothing = process::nothing();
    let process = spec.process().as_ref().unwrap_or(&nothing);
    if spec.process().is_none() && options.start == Start::AtOnce {
        return Err(Error::new("there is none, so there is nothing to run").at("process"));
    }
    if maps.is_needed() {
        check_mapped(&maps.uid, process.user().uid(), "uid").at(|| "process.user.uid")?;
        check_mapped(&maps.gid, process.user().gid(), "gid").at(|| "process.user.gid")?;
    }
    let linux = spec.linux().as_ref();
    process::plan_personality(plan, linux);
    placement::plan_memory_policy(plan, linux)?;
    let hooks = spec.hooks().as_ref().and_then(|hooks| hooks.start_container().as_ref());
    let listener = plan_listener(plan, spec, host)?;
    let around = process::Around {
        place: "process",
        close_from: options.close_from,
        may_set_groups: maps.may_set_groups(),
        keep_groups: keeps_groups(spec, process)?,
        seccomp: compile_seccomp(plan, linux)?,
        listener: listener.as_ref(),
        hooks: process::hooks(hooks),
        wait: options.start == Start::OnCommand,
        env: &options.env,
        limits,
        walls: process::walls(spec, process::Whose::Init)?,
    };
    process::plan_last(plan, process, around)
}

fn check_mapped(maps: &[IdMap], id: u32, what: &str) -> Result<()> {
    if ids::is_mapped(maps, id) {
        return Ok(());
    }
    Err(Error::new(format!("cannot set {what} to unmapped user in user namespace: {id} is not in the map")))
}
