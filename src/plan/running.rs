//! Mounts that come to a container that runs, and mounts that go from it (`isolate mounts`). Pure.
//!
//! The container's root and procfs are its own by now, so nothing is mounted by a path: sources are opened where the
//! host is in sight, filesystems are made detached, and both are moved to a descriptor of the target.

use oci_spec::runtime::{Mount, Spec};

use super::mount_options::{self, MountOptions};
use super::mounts::{Around, attributes, check_proc, filesystem_data, is_bind, plan_bind};
use super::namespaces::Namespaces;
use super::{Attributes, Namespace, Plan, Stage, Step, Token, annotations, ids};
use crate::error::{Error, Explain, Kind, Result};
use crate::host::Host;
use crate::ids::RootPath;

/// Filesystems of namespaces that a visitor is not born in, or that stand for many mounts.
const NOT_LATER: [&str; 3] = ["proc", "cgroup", "cgroup2"];

/// What a visit needs of the container: its views of the network and of queues are what sysfs and mqueue show.
const VISITED: [Namespace; 4] = [Namespace::User, Namespace::Mount, Namespace::Network, Namespace::Ipc];

/// The plan that adds the mounts of `spec` (the kept config with only the new ones in it) to a container whose
/// namespaces other than the caller's are `joined`.
///
/// # Errors
/// What cannot be mounted in a container that runs, with its place in the list.
pub fn compile_mounts(
    spec: &Spec,
    bundle: &std::path::Path,
    joined: &[Namespace],
    host: &Host,
) -> Result<Plan> {
    if host.kernel < (5, 2) {
        let text = "mounts of a container that runs need open_tree(2) and move_mount(2) of Linux 5.2";
        return Err(Error::new(format!("{text}, and this is {}.{}", host.kernel.0, host.kernel.1))
            .kind(Kind::Unsupported)
            .hint(
                "nothing older mounts without trusting a path of the container; put the mount in its config",
            ));
    }
    let linux = spec.linux().as_ref();
    let namespaces = Namespaces::read(linux, host)?;
    let uid_maps = ids::read(linux.and_then(|linux| linux.uid_mappings().as_ref()));
    let gid_maps = ids::read(linux.and_then(|linux| linux.gid_mappings().as_ref()));
    let around = Around {
        bundle,
        host,
        namespaces: &namespaces,
        uid_maps: &uid_maps,
        gid_maps: &gid_maps,
        mount_label: linux.and_then(|linux| linux.mount_label().as_deref()),
        mount_context: annotations::mount_context(spec)?,
        cgroup2: None,
        // What the container has made of its mounts since is not known.
        shares: true,
    };
    let mut wanted = Plan::default();
    let mut slots = 0;
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        let why = format!("mounts[{index}]");
        plan_mount(&mut wanted, mount, &why, &around, &mut slots)
            .at(|| format!("{why} {}", mount.destination().display()))?;
    }
    let (sources, targets): (Vec<_>, Vec<_>) =
        wanted.steps.into_iter().partition(|planned| matches!(planned.step, Step::OpenSource { .. }));
    let mut plan = Plan { warnings: wanted.warnings, ..Plan::default() };
    if host.sys_admin {
        plan.steps.extend(sources.into_iter().map(|source| super::Planned { stage: Stage::Host, ..source }));
        plan_visit(&mut plan, joined);
    } else {
        plan_visit_of_user(&mut plan, joined, sources);
    }
    plan.steps.extend(targets);
    finish(plan)
}

/// The plan that takes the topmost mount of each destination away.
///
/// # Errors
/// What protects the host from the container stays.
pub fn compile_unmounts(spec: &Spec, joined: &[Namespace]) -> Result<Plan> {
    let mut plan = Plan::default();
    plan_visit(&mut plan, joined);
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        let target = RootPath::new(mount.destination());
        let why = format!("mounts[{index}]");
        refuse_protected(&target, spec).at(|| format!("{why} {target}"))?;
        plan.push(Stage::Setup, why, Step::Unmount { target });
    }
    finish(plan)
}

/// Into the container, from a caller whose privilege reaches there.
fn plan_visit(plan: &mut Plan, joined: &[Namespace]) {
    let namespaces = visited(joined);
    let is_user = namespaces.contains(&Namespace::User);
    plan.push(Stage::Setup, "default", Step::JoinContainer { namespaces });
    if is_user {
        plan.push(Stage::Setup, "default", Step::BecomeRoot);
    }
    plan.push(Stage::Setup, "default", Step::EnterRoot);
}

/// An ordinary user may copy mounts only as root of the container's user namespace, and reach them only in a mount
/// namespace with the host's mounts: so first into the one, with a copy of the other, and then to the container.
fn plan_visit_of_user(plan: &mut Plan, joined: &[Namespace], sources: Vec<super::Planned>) {
    if !sources.is_empty() {
        let namespaces = vec![Namespace::User];
        plan.push(Stage::Setup, "default", Step::JoinContainer { namespaces });
        plan.push(Stage::Setup, "default", Step::BecomeRoot);
        plan.push(Stage::Setup, "default", Step::Unshare { namespaces: vec![Namespace::Mount] });
        plan.steps.extend(sources.into_iter().map(|source| super::Planned { stage: Stage::Setup, ..source }));
        let rest: Vec<_> = joined.iter().copied().filter(|kind| *kind != Namespace::User).collect();
        return plan_visit(plan, &rest);
    }
    plan_visit(plan, joined);
}

fn visited(joined: &[Namespace]) -> Vec<Namespace> {
    VISITED.into_iter().filter(|kind| joined.contains(kind)).collect()
}

/// The caller hears that all is done; the order of stages is that of time.
fn finish(mut plan: Plan) -> Result<Plan> {
    plan.push(Stage::Host, "default", Step::Clone { namespaces: Vec::new(), owner: None });
    plan.push(Stage::Beside, "default", Step::Await { token: Token::Ready });
    plan.push(Stage::Setup, "default", Step::Tell { token: Token::Ready });
    plan.push(Stage::Setup, "default", Step::Done);
    plan.steps.sort_by_key(|planned| planned.stage);
    super::check::check(&plan)?;
    Ok(plan)
}

fn plan_mount(
    plan: &mut Plan,
    mount: &Mount,
    why: &str,
    around: &Around<'_>,
    slots: &mut usize,
) -> Result<()> {
    let refuse = |text: &str| Err(Error::new(text).kind(Kind::Unsupported));
    let options =
        mount_options::parse(mount.options().as_deref().unwrap_or_default(), mount.typ().as_deref())?;
    let target = RootPath::new(mount.destination());
    if target.relative() == std::path::Path::new(".") {
        return Err(Error::new("nothing can be mounted over the root of a container that runs"));
    }
    check_proc(mount, &target)?;
    if options.remount {
        let step = Step::Remount { target, attributes: attributes(&options) };
        if !options.data.is_empty() {
            return refuse("options of a filesystem cannot be changed in a container that runs");
        }
        plan.push(Stage::Setup, why, step);
        return Ok(());
    }
    if is_bind(mount) {
        return plan_bind(plan, mount, &options, why, around, slots);
    }
    match mount.typ().as_deref().unwrap_or("none") {
        fstype if NOT_LATER.contains(&fstype) => {
            refuse("a filesystem of this type cannot be added to a container that runs")
        }
        _ if options.tmpcopyup => refuse("tmpcopyup is not possible in a container that runs"),
        fstype => {
            let step = new_filesystem(mount, fstype, target, &options, around);
            plan.push(Stage::Setup, why, step);
            Ok(())
        }
    }
}

fn new_filesystem(
    mount: &Mount,
    fstype: &str,
    target: RootPath,
    options: &MountOptions,
    around: &Around<'_>,
) -> Step {
    let data = filesystem_data(fstype, options, &Around { mount_label: None, ..copy(around) });
    let pair = |word: &str| {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        (name.to_owned(), value.to_owned())
    };
    let mut pairs: Vec<_> = data.split(',').filter(|word| !word.is_empty()).map(pair).collect();
    let source = mount.source().as_ref().map(|path| path.display().to_string());
    pairs.push(("source".to_owned(), source.unwrap_or_else(|| fstype.to_owned())));
    // A label may hold commas, and stands alone here.
    let label = around.mount_label.filter(|label| !label.is_empty() && fstype == "tmpfs");
    pairs.extend(label.map(|label| (around.mount_context.to_owned(), label.to_owned())));
    let wanted = attributes(options);
    Step::AttachFs {
        target,
        fstype: fstype.to_owned(),
        options: pairs,
        attributes: Attributes { clear: 0, ..wanted },
    }
}

fn copy<'a>(around: &Around<'a>) -> Around<'a> {
    Around { ..*around }
}

/// The root, what the kernel shows of itself, devices, and what hides or protects paths of these.
fn refuse_protected(target: &RootPath, spec: &Spec) -> Result<()> {
    let linux = spec.linux().as_ref();
    let masked = linux.and_then(|linux| linux.masked_paths().as_ref());
    let readonly = linux.and_then(|linux| linux.readonly_paths().as_ref());
    let mut listed = masked.into_iter().chain(readonly).flatten();
    let is_kernels = ["/proc", "/sys"].iter().any(|base| target.is_within(base));
    let is_base = ["/", "/dev"].iter().any(|base| target.as_path() == std::path::Path::new(base));
    if is_kernels || is_base || listed.any(|path| RootPath::new(path) == *target) {
        return Err(Error::new("this mount protects the host or makes the container, and stays"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::test_host;
    use super::*;
    use crate::oci::default_spec::{CgroupNamespace, Rootless, default_spec};
    use serde_json::{Value, json};

    fn spec(mounts: Value) -> Spec {
        let mut json =
            serde_json::to_value(default_spec(Rootless::No, CgroupNamespace::New).unwrap()).unwrap();
        json["mounts"] = mounts;
        serde_json::from_value(json).unwrap()
    }

    fn compiled(mounts: Value, host: &Host) -> Result<Vec<String>> {
        let joined = [Namespace::User, Namespace::Mount, Namespace::Pid];
        let plan = compile_mounts(&spec(mounts), std::path::Path::new("/b"), &joined, host)?;
        Ok(plan.steps.iter().map(|planned| planned.step.to_string()).collect())
    }

    fn binds() -> Value {
        json!([{"destination": "/data", "source": "/srv", "type": "bind", "options": ["rbind", "ro"]}])
    }

    #[test]
    fn root_opens_sources_before_it_goes_there_and_a_user_on_the_way() {
        let root = Host { privileged: true, sys_admin: true, ..test_host() };
        let user = Host { privileged: false, sys_admin: false, ..test_host() };
        let steps = compiled(binds(), &root).unwrap();
        assert!(
            steps[0].starts_with("open the source #0 /srv") && steps[1].starts_with("clone"),
            "{steps:#?}"
        );
        let steps = compiled(binds(), &user).unwrap();
        let at = |word: &str| steps.iter().position(|step| step.starts_with(word)).unwrap();
        assert!(
            at("unshare mnt") < at("open the source") && at("open the source") < at("enter the container")
        );
        assert_eq!(steps.last().unwrap(), "end");
    }

    #[test]
    fn a_kernel_that_cannot_mount_by_descriptor_alone_adds_none() {
        let host = Host { kernel: (5, 1), ..test_host() };
        let error = compiled(binds(), &host).unwrap_err().to_string();
        assert!(
            error.contains("need open_tree(2) and move_mount(2) of Linux 5.2, and this is 5.1"),
            "{error}"
        );
        assert!(compile_unmounts(&spec(json!([{"destination": "/data"}])), &[]).is_ok());
    }

    #[test]
    fn what_cannot_come_later_is_refused() {
        for (mount, words) in [
            (json!({"destination": "/", "type": "tmpfs"}), "over the root"),
            (json!({"destination": "/proc", "type": "proc"}), "of this type"),
            (json!({"destination": "/sys/fs/cgroup", "type": "cgroup"}), "of this type"),
            (json!({"destination": "/proc/sys", "type": "tmpfs"}), "only procfs may be mounted at /proc"),
            (json!({"destination": "/x", "type": "tmpfs", "options": ["tmpcopyup"]}), "tmpcopyup"),
            (json!({"destination": "/x", "type": "bind"}), "a bind needs a source"),
        ] {
            let error = compiled(json!([mount]), &test_host()).unwrap_err().to_string();
            assert!(error.starts_with("mounts[0]") && error.contains(words), "{error}");
        }
    }

    #[test]
    fn what_protects_the_host_is_not_taken_away() {
        for path in ["/", "/proc", "/proc/kcore", "/sys/firmware", "/dev", "/data/../proc"] {
            let error = compile_unmounts(&spec(json!([{"destination": path}])), &[]).unwrap_err().to_string();
            assert!(error.contains("protects the host"), "{path}: {error}");
        }
        assert!(compile_unmounts(&spec(json!([{"destination": "/data"}])), &[]).is_ok());
    }
}
