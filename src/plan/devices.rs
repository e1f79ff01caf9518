//! `/dev`: the default nodes and links of the specification, and `linux.devices`. Pure.

use std::path::PathBuf;

use oci_spec::runtime::{Linux, LinuxDeviceType};

use super::{Attributes, Plan, Slot, SourceLink, Stage, Step, TargetLink};
use crate::error::{Error, Result};
use crate::ids::RootPath;

/// How a node comes to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nodes {
    /// mknod(2), as the host's root.
    Made,
    /// A bind of the host's node: in a user namespace mknod is refused.
    Bound,
}

/// Nodes every container has (config-linux.md, "Default Devices"), as (name, major, minor).
const DEFAULT: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
];

/// Whether the container's `/dev` is filled by the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DevFolder {
    /// It is the container's own.
    Own,
    /// It is a bind of the host's: nothing is put into it.
    Bound,
}

struct Node {
    path: RootPath,
    kind: char,
    major: u32,
    minor: u32,
    mode: u32,
    uid: u32,
    gid: u32,
    why: String,
}

/// Plans all nodes and links. `slots` is the next free slot.
///
/// # Errors
/// When a number of the config does not fit.
pub fn plan_devices(
    plan: &mut Plan,
    linux: Option<&Linux>,
    folder: DevFolder,
    nodes: Nodes,
    slots: &mut Slot,
) -> Result<()> {
    let mut wanted: Vec<Node> = Vec::new();
    if folder == DevFolder::Own {
        wanted.extend(DEFAULT.iter().map(|(name, major, minor)| default_node(name, *major, *minor)));
    }
    let listed = linux.and_then(|linux| linux.devices().as_ref());
    for (index, device) in listed.into_iter().flatten().enumerate() {
        let node = read_node(device, format!("linux.devices[{index}]"))?;
        wanted.retain(|other| other.path != node.path);
        wanted.push(node);
    }
    // A bound folder is the host's: nothing is put into it.
    let is_ours = |node: &Node| folder == DevFolder::Own || !node.path.is_within("/dev");
    for node in wanted.into_iter().filter(is_ours) {
        plan_node(plan, node, nodes, slots);
    }
    if folder == DevFolder::Own {
        plan_links(plan);
    }
    Ok(())
}

fn default_node(name: &str, major: u32, minor: u32) -> Node {
    let path = RootPath::new(format!("/dev/{name}"));
    Node { path, kind: 'c', major, minor, mode: 0o666, uid: 0, gid: 0, why: "default".to_owned() }
}

fn read_node(device: &oci_spec::runtime::LinuxDevice, why: String) -> Result<Node> {
    let number = |value: i64, name: &str| {
        u32::try_from(value)
            .map_err(|_| Error::new(format!("{value} is not a device number")).at(format!("{why}.{name}")))
    };
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => 'c',
        LinuxDeviceType::B => 'b',
        LinuxDeviceType::P => 'p',
        other => {
            let text = format!("a node of type {} cannot be made", other.as_str());
            return Err(Error::new(text).at(format!("{why}.type")).hint("use c, u, b or p"));
        }
    };
    let is_fifo = kind == 'p';
    Ok(Node {
        path: RootPath::new(device.path()),
        kind,
        major: if is_fifo { 0 } else { number(device.major(), "major")? },
        minor: if is_fifo { 0 } else { number(device.minor(), "minor")? },
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
        why,
    })
}

fn plan_node(plan: &mut Plan, node: Node, nodes: Nodes, slots: &mut Slot) {
    let Node { path, kind, major, minor, mode, uid, gid, why } = node;
    if nodes == Nodes::Made || kind == 'p' {
        plan.push(Stage::Setup, why, Step::MakeDevice { path, kind, major, minor, mode, uid, gid });
        return;
    }
    let slot = *slots;
    *slots += 1;
    let source = PathBuf::from(path.as_path());
    plan.push(
        Stage::Setup,
        why.clone(),
        Step::OpenSource { slot, path: source, recursive: false, id_map: None, link: SourceLink::Followed },
    );
    plan.push(
        Stage::Setup,
        why,
        Step::Bind { slot, target: path, attributes: Attributes::default(), link: TargetLink::Followed },
    );
}

fn plan_links(plan: &mut Plan) {
    for (path, target) in LINKS {
        let step = Step::Symlink { path: RootPath::new(path), target: PathBuf::from(target) };
        plan.push(Stage::Setup, "default", step);
    }
    let ptmx = Step::Symlink { path: RootPath::new("/dev/ptmx"), target: PathBuf::from("pts/ptmx") };
    plan.push(Stage::Setup, "default", ptmx);
}
