//! A bundle made of a template and settings: the order in which everything else in here runs. The runtime
//! process, with the caller's privilege.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use pathrs::Root;

use crate::container::{CgroupManager, Runtime};
use crate::error::{Call, Error, Explain, Result};
use crate::host::Host;
use crate::ids::RootPath;
use crate::tenant::image::Defaults;
use crate::tenant::limits::Cgroups;
use crate::tenant::rootfs::{self, Meta, Rootfs};
use crate::tenant::settings::{self, Settings, UserName};
use crate::tenant::spec::{self, Compiled, Prepared, Terminal};
use crate::tenant::template::{self, Reference, RootKind, Source, Template};
use crate::tenant::unpack::{LeftOut, Space, Watch};
use crate::tenant::users::{self, User};
use crate::tenant::workspace::Workspace;
use crate::tenant::{skeleton, source};

/// The most that is read of the root's `passwd` and `group`.
const NAMES: u64 = 1 << 20;

/// How many files a root may have.
const FILES: u64 = 4_000_000;

/// What a system is made of.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// What the user asked for.
    pub settings: &'a Settings,
    /// The template and the tree that goes with it.
    pub template: &'a Template,
    /// See `template`.
    pub source: Option<&'a Source>,
    /// This machine.
    pub host: &'a Host,
    /// How cgroups are made.
    pub runtime: &'a Runtime,
    /// Whether the command gets a terminal.
    pub terminal: Terminal,
}

/// Understands what `--template` says, reading a template file if it names one.
///
/// # Errors
/// As [`template::parse_reference`] and [`template::parse`].
pub fn find_template(text: &str) -> Result<(Template, Option<Source>)> {
    match template::parse_reference(text)? {
        Reference::Known(template, source) => Ok((*template, source)),
        Reference::File(path) => {
            let found = std::fs::metadata(&path).call(|| format!("stat({path:?})"))?;
            if !found.is_file() || found.len() > NAMES {
                return Err(Error::new(format!("{} is not a file of at most 1 MiB", path.display())));
            }
            let text = std::fs::read_to_string(&path).call(|| format!("read({path:?})"))?;
            template::parse(&text, &path.display().to_string()).map(|template| (template, None))
        }
    }
}

/// Fills `workspace` with a bundle; warnings come back, each a sentence.
///
/// # Errors
/// What the template lacks here, a hostile or broken tree, a limit that cannot be applied, an interruption.
pub fn prepare(
    request: &Request<'_>,
    workspace: &mut Workspace,
    watch: &mut Watch<'_>,
) -> Result<Vec<String>> {
    // A fault of the settings is found before a long unpacking, not after it.
    crate::tenant::limits::compile(request.settings, request.host, cgroups(request.runtime))?;
    let path = workspace.make_root(request.settings.disk)?;
    let mut rootfs = Rootfs::open(&path, workspace.owners().clone())?;
    let mut space = space(&path)?;
    let (defaults, left_out) = fill(request.template, request.source, &mut rootfs, &mut space, watch)?;
    watch("", 0)?;
    let name = workspace.id().as_str();
    let binds = skeleton::build(request.template, &mut rootfs)?;
    let hostname = request.settings.hostname.as_deref().unwrap_or(name);
    skeleton::add_identity(request.settings, hostname, &mut rootfs)?;
    let user = find_user(request.settings, &defaults, &rootfs)?;
    make_home(&user, &mut rootfs)?;
    let prepared = Prepared {
        rootfs: workspace.root().to_owned(),
        name: name.to_owned(),
        ids: workspace.maps().clone(),
        args: command(request, &defaults, &rootfs, &binds)?,
        user,
        workdir: defaults.workdir,
        env: template_env(request.template, defaults.env),
        binds,
        terminal: request.terminal,
        term: std::env::var("TERM").ok().filter(|term| !term.is_empty()),
        nofile: nofile()?,
        cgroups_path: cgroups_path(request, name),
        cgroups: cgroups(request.runtime),
    };
    rootfs.finish()?;
    let Compiled { spec, mut warnings } = spec::compile(request.settings, &prepared, request.host)?;
    write_config(&workspace.path().join("config.json"), &spec)?;
    warnings.extend(left_out_warning(left_out));
    Ok(warnings)
}

/// Brings the tree, if the template has one.
pub(super) fn fill(
    template: &Template,
    source: Option<&Source>,
    rootfs: &mut Rootfs,
    space: &mut Space,
    watch: &mut Watch<'_>,
) -> Result<(Defaults, LeftOut)> {
    match (source, template.root) {
        (Some(source), _) => source::bring(source, rootfs, space, watch),
        (None, RootKind::Skeleton) => Ok(Default::default()),
        (None, RootKind::Busybox) => skeleton::add_busybox(template, rootfs).map(|()| Default::default()),
        (None, RootKind::Bootstrap) => {
            source::bootstrap(template, rootfs, space, watch).map(|left_out| (Defaults::default(), left_out))
        }
        (None, RootKind::Source) => {
            let needs = &template.needs.source;
            Err(Error::new(format!("template {:?} needs a tree: {needs}", template.name))
                .hint(format!("give it as --template {}:PATH", template.name)))
        }
    }
}

/// Three quarters of what is free: the rest of the host goes on while a hostile archive unpacks.
pub(super) fn space(path: &Path) -> Result<Space> {
    let found = nix::sys::statvfs::statvfs(path).call(|| format!("statvfs({path:?})"))?;
    let free = found.blocks_available().saturating_mul(found.fragment_size());
    Ok(Space { bytes: free / 4 * 3, files: FILES })
}

fn find_user(settings: &Settings, defaults: &Defaults, rootfs: &Rootfs) -> Result<User> {
    let image = defaults.user.as_deref().map(image_user).transpose()?;
    let wanted = settings.user.as_ref().or(image.as_ref());
    let text = |path| rootfs.text(&RootPath::new(path), NAMES);
    users::resolve(wanted, &text("/etc/passwd"), &text("/etc/group"))
}

/// The image-spec also knows `NAME:GROUP`; the group of a name is the one that its passwd line gives.
pub(super) fn image_user(text: &str) -> Result<UserName> {
    let name_only = || settings::parse_user(text.split(':').next().unwrap_or_default());
    settings::parse_user(text).or_else(|_| name_only()).at(|| "the image's user")
}

/// Users of the embedded templates have no home until somebody is one of them.
fn make_home(user: &User, rootfs: &mut Rootfs) -> Result<()> {
    let home = RootPath::new(&user.home);
    let is_missing = rootfs.names(&RootPath::new(home.as_path().parent().unwrap_or(Path::new("/"))))?;
    let is_missing =
        home.as_path().file_name().is_some_and(|name| !is_missing.iter().any(|other| other == name));
    if !home.is_within("/home") || !is_missing {
        return Ok(());
    }
    rootfs.directory(&home, Meta { uid: user.uid, gid: user.gid, mode: 0o700, modified: None })
}

/// What was asked for, else a shell, else what the image runs.
fn command(
    request: &Request<'_>,
    defaults: &Defaults,
    rootfs: &Rootfs,
    binds: &[String],
) -> Result<Vec<String>> {
    if !request.settings.command.is_empty() {
        return Ok(request.settings.command.clone());
    }
    match find_shell(request.template, rootfs, binds) {
        Some(shell) => Ok(vec![shell]),
        None if !defaults.command.is_empty() => Ok(defaults.command.clone()),
        None => Err(Error::new("there is no shell in the root").hint("name a command after --")),
    }
}

/// The first shell of the template that is there.
pub(super) fn find_shell(template: &Template, rootfs: &Rootfs, binds: &[String]) -> Option<String> {
    template.shell.iter().find(|shell| has_program(rootfs, binds, shell)).cloned()
}

/// Whether a program is in a root; what the host shows there is looked for on the host, since it is not in the root
/// before the mounts are.
pub(super) fn has_program(rootfs: &Rootfs, binds: &[String], path: &str) -> bool {
    match binds.is_empty() {
        true => rootfs.is_program(&RootPath::new(path)),
        false => Root::open("/").is_ok_and(|root| rootfs::is_program(&root, Path::new(path))),
    }
}

pub(super) fn template_env(template: &Template, image: Vec<String>) -> Vec<String> {
    let own = template.env.iter().map(|(name, value)| format!("{name}={value}"));
    image.into_iter().chain(own).collect()
}

pub(super) fn nofile() -> Result<u64> {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NOFILE).map(|(_, hard)| hard).call(|| "getrlimit(RLIMIT_NOFILE)")
}

pub(super) fn cgroups(runtime: &Runtime) -> Cgroups {
    match runtime.cgroup_manager {
        CgroupManager::Disabled => Cgroups::Disabled,
        CgroupManager::Cgroupfs | CgroupManager::Systemd => Cgroups::Host,
    }
}

/// One folder of ours, so that nothing is left when it goes; systemd has names of its own, and an ordinary
/// user no place to make one.
fn cgroups_path(request: &Request<'_>, name: &str) -> Option<String> {
    let ours = request.runtime.cgroup_manager == CgroupManager::Cgroupfs && request.host.privileged;
    ours.then(|| format!("/isolate-{name}"))
}

fn write_config(path: &Path, spec: &oci_spec::runtime::Spec) -> Result<()> {
    let text = serde_json::to_vec(spec).map_err(|error| Error::new(error.to_string()))?;
    let mut options = std::fs::File::options();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(&text)).call(|| format!("write({path:?})"))
}

pub(super) fn left_out_warning(left_out: LeftOut) -> Option<String> {
    let parts =
        [(left_out.devices, "device nodes"), (left_out.unknown, "sockets or entries of unknown type")];
    let parts: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    (!parts.is_empty()).then(|| format!("left out of the root: {}", parts.join(", ")))
}
