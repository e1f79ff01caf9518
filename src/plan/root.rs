//! The container's root: from the host's mounts to its own, devices, hooks, pivot, and what is read-only or
//! hidden in it (`root`, `mounts`, `linux.rootfsPropagation`, `linux.maskedPaths`, `linux.readonlyPaths`). Pure.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use super::compile::{Options, early_hooks, plan_console};
use super::devices::{self, DevFolder, Nodes};
use super::mounts::{self, Deferred};
use super::namespaces::Namespaces;
use super::{
    Attributes, HookKind, IdMap, Namespace, Plan, Slot, SourceLink, Stage, Step, TargetLink, Token,
    annotations, net_devices, process,
};
use crate::cgroup::layout::Version;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::ids::RootPath;

/// What planning the root needs to know.
pub struct Around<'a> {
    /// The config.
    pub spec: &'a Spec,
    /// The bundle.
    pub bundle: &'a Path,
    /// The container's namespaces.
    pub namespaces: &'a Namespaces,
    /// User map of a new user namespace.
    pub uid_maps: &'a [IdMap],
    /// Group map of a new user namespace.
    pub gid_maps: &'a [IdMap],
    /// What the command line decides.
    pub options: &'a Options,
    /// The host.
    pub host: &'a Host,
}

/// The root of a container without a mount namespace of its own.
///
/// # Errors
/// When something is to be mounted, which the host would see.
pub fn plan_shared_root(plan: &mut Plan, around: &Around<'_>) -> Result<()> {
    let Around { spec, bundle, options, host, .. } = *around;
    refuse_mounts(spec)?;
    plan_hooks(plan, spec);
    if let Some(process) = spec.process() {
        process::plan_labels(plan, process, "process", host)?;
    }
    plan.push(Stage::Setup, "root.path", Step::Chroot { path: root_path(spec, bundle)? });
    if let Some(process) = spec.process() {
        plan_console(plan, process, options.console, false);
    }
    Ok(())
}

fn refuse_mounts(spec: &Spec) -> Result<()> {
    let linux = spec.linux().as_ref();
    let is_listed = |list: Option<&Vec<String>>| list.is_some_and(|list| !list.is_empty());
    let fields = [
        ("mounts", spec.mounts().as_ref().is_some_and(|mounts| !mounts.is_empty())),
        ("root.readonly", spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false)),
        ("linux.maskedPaths", is_listed(linux.and_then(|linux| linux.masked_paths().as_ref()))),
        ("linux.readonlyPaths", is_listed(linux.and_then(|linux| linux.readonly_paths().as_ref()))),
        (
            "linux.devices",
            linux.is_some_and(|linux| linux.devices().as_ref().is_some_and(|list| !list.is_empty())),
        ),
        ("linux.rootfsPropagation", linux.is_some_and(|linux| linux.rootfs_propagation().is_some())),
    ];
    match fields.iter().find(|(_, is_asked)| *is_asked) {
        None => Ok(()),
        Some((field, _)) => Err(Error::new("it needs a new mount namespace, or the host would see it")
            .at(*field)
            .hint("add {\"type\": \"mount\"} to linux.namespaces")),
    }
}

fn root_path(spec: &Spec, bundle: &Path) -> Result<PathBuf> {
    let root = spec.root().as_ref().ok_or_else(|| Error::new("a container needs a root").at("root"))?;
    Ok(bundle.join(root.path()))
}

/// The hooks that run while the host's root is still in sight.
fn plan_hooks(plan: &mut Plan, spec: &Spec) {
    if !early_hooks(spec).is_empty() || net_devices::has_any(spec) {
        plan.push(Stage::Setup, "default", Step::Tell { token: Token::Namespaces });
        plan.push(Stage::Setup, "default", Step::Await { token: Token::Hooks });
    }
    let hooks = spec.hooks().as_ref().and_then(|hooks| hooks.create_container().as_ref());
    let hooks = process::hooks(hooks);
    if !hooks.is_empty() {
        let step = Step::Hooks { kind: HookKind::CreateContainer, hooks };
        plan.push(Stage::Setup, "hooks.createContainer", step);
    }
}

/// From the host's root to the container's: mounts, devices, hooks, pivot.
///
/// # Errors
/// What a mount, device or propagation of the config cannot mean.
pub fn plan_root(plan: &mut Plan, around: &Around<'_>) -> Result<()> {
    let Around { spec, bundle, namespaces, uid_maps, gid_maps, options, host } = *around;
    let mut slots: Slot = 0;
    let slots = &mut slots;
    let root = root_path(spec, bundle)?;
    let linux = spec.linux().as_ref();
    let propagation = linux.and_then(|linux| linux.rootfs_propagation().as_deref());
    plan_propagation(plan, Stage::Setup, propagation.unwrap_or("rslave"), propagation.is_some())?;
    plan.push(Stage::Setup, "root.path", Step::BindRoot { path: root });
    let cgroup2 = plan.steps.iter().find_map(|planned| match &planned.step {
        Step::MakeCgroup(group) if group.version == Version::V2 => Some(group.dir.clone()),
        _ => None,
    });
    let mount_context = annotations::mount_context(spec)?;
    let mount_label = linux.and_then(|linux| linux.mount_label().as_deref());
    let cgroup2 = cgroup2.as_deref();
    let shares = mounts::has_shared(spec);
    let about = mounts::Around {
        bundle,
        host,
        namespaces,
        uid_maps,
        gid_maps,
        mount_label,
        mount_context,
        cgroup2,
        shares,
    };
    let mut deferred = mounts::plan_mounts(plan, spec, &about, slots)?;
    plan_notify(plan, options, mounts::early_stage(&about), slots);
    let nodes = match namespaces.is_own(Namespace::User) || !host.privileged {
        true => Nodes::Bound,
        false => Nodes::Made,
    };
    devices::plan_devices(plan, linux, dev_folder(spec), nodes, slots)?;
    plan_hooks(plan, spec);
    if let Some(process) = spec.process() {
        let path = RootPath::new(process.cwd());
        plan.push(Stage::Setup, "process.cwd", Step::MakeFolder { path });
        plan_console(plan, process, options.console, true);
        process::plan_labels(plan, process, "process", host)?;
    }
    let step = if options.no_pivot { Step::MoveRoot } else { Step::Pivot };
    plan.push(Stage::Setup, "root.path", step);
    if let Some(propagation) = propagation {
        plan_propagation(plan, Stage::Inside, propagation, true)?;
    }
    plan_read_only(plan, spec, &mut deferred);
    Ok(())
}

/// Mounts that are read-only only once everything inside them is there; then paths; then masks, so that
/// nothing uncovers them again.
fn plan_read_only(plan: &mut Plan, spec: &Spec, deferred: &mut Deferred) {
    let linux = spec.linux().as_ref();
    if spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false) {
        deferred.push((RootPath::new("/"), "root.readonly".to_owned()));
    }
    for (target, why) in deferred.drain(..) {
        let attributes = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
        plan.push(Stage::Inside, why, Step::Remount { target, attributes });
    }
    let read_only = linux.and_then(|linux| linux.readonly_paths().as_ref());
    for (index, path) in read_only.into_iter().flatten().enumerate() {
        let step = Step::ReadonlyPath { path: RootPath::new(path) };
        plan.push(Stage::Inside, format!("linux.readonlyPaths[{index}]"), step);
    }
    let masked = linux.and_then(|linux| linux.masked_paths().as_ref());
    for (index, path) in masked.into_iter().flatten().enumerate() {
        let step = Step::MaskPath { path: RootPath::new(path) };
        plan.push(Stage::Inside, format!("linux.maskedPaths[{index}]"), step);
    }
}

fn plan_propagation(plan: &mut Plan, stage: Stage, name: &str, asked: bool) -> Result<()> {
    use nix::mount::MsFlags;
    let flags = match name {
        "" | "rslave" => MsFlags::MS_SLAVE | MsFlags::MS_REC,
        "slave" => MsFlags::MS_SLAVE,
        "rshared" => MsFlags::MS_SHARED | MsFlags::MS_REC,
        "shared" => MsFlags::MS_SHARED,
        "rprivate" => MsFlags::MS_PRIVATE | MsFlags::MS_REC,
        "private" => MsFlags::MS_PRIVATE,
        "runbindable" => MsFlags::MS_UNBINDABLE | MsFlags::MS_REC,
        "unbindable" => MsFlags::MS_UNBINDABLE,
        other => {
            let text = format!("{other:?} is not a propagation type");
            return Err(Error::new(text).at("linux.rootfsPropagation"));
        }
    };
    // While the root is set up nothing may be unbindable, or it could not be bound; it becomes so at last.
    let flags = match stage {
        Stage::Setup if flags.contains(MsFlags::MS_UNBINDABLE) => MsFlags::MS_PRIVATE | MsFlags::MS_REC,
        _ => flags,
    };
    let why = if asked { "linux.rootfsPropagation" } else { "default" };
    plan.push(stage, why, Step::Propagation { flags: flags.bits() });
    Ok(())
}

fn plan_notify(plan: &mut Plan, options: &Options, stage: Stage, slots: &mut Slot) {
    let Some(folder) = &options.notify else { return };
    let slot = *slots;
    *slots += 1;
    let source = Step::OpenSource {
        slot,
        path: folder.clone(),
        recursive: false,
        id_map: None,
        link: SourceLink::Followed,
    };
    let set =
        libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    let attributes = Attributes { set, ..Attributes::default() };
    plan.push(stage, "default", source);
    let target = RootPath::new("/run/notify");
    plan.push(Stage::Setup, "default", Step::Bind { slot, target, attributes, link: TargetLink::Followed });
}

fn dev_folder(spec: &Spec) -> DevFolder {
    let mut mounts = spec.mounts().iter().flatten();
    let bound = mounts
        .any(|mount| RootPath::new(mount.destination()) == RootPath::new("/dev") && mounts::is_bind(mount));
    if bound { DevFolder::Bound } else { DevFolder::Own }
}
