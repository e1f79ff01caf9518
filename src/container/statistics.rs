//! What a container has used, of its cgroup and of its network. The runtime process, with the caller's
//! privilege; changes nothing.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::create::find;
use super::query::{read, status};
use super::{Runtime, Status};
use crate::cgroup::Cgroup;
use crate::cgroup::layout::Version;
use crate::cgroup::statistics::Statistics;
use crate::error::{Error, Explain, Kind, Result};
use crate::ids::ContainerId;
use crate::store::Saved;
use crate::sys::pidfd;

/// Use of everything.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// What the cgroup counts; absent for a container without one.
    pub cgroup: Option<Statistics>,
    /// Which version counts the memory.
    pub memory_version: Option<Version>,
    /// The network devices of the container's own network namespace; none if it is in the runtime's.
    pub interfaces: Vec<Interface>,
}

/// What went through one network device, as `/proc/PID/net/dev` counts it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Interface {
    /// Its name in the container.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Received with a fault.
    pub rx_errors: u64,
    /// Received and dropped.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Faults while sending.
    pub tx_errors: u64,
    /// Dropped while sending.
    pub tx_dropped: u64,
}

/// A container that has processes: where its numbers are.
pub(super) struct Source {
    saved: Saved,
    pub(super) cgroup: Cgroup,
    /// Its init.
    pub(super) init: OwnedFd,
}

/// What the container has used up to now.
///
/// # Errors
/// When it does not exist or has stopped.
pub fn statistics(runtime: &Runtime, id: &ContainerId) -> Result<Usage> {
    let doing = || format!("cannot read the statistics of container '{id}'");
    Ok(Source::open(runtime, id).doing(doing)?.read())
}

impl Usage {
    /// The same, if anything is counted.
    ///
    /// # Errors
    /// When the container has no cgroup.
    pub fn counted(self) -> Result<Usage> {
        if self.cgroup.is_some() { Ok(self) } else { Err(uncounted()) }
    }
}

/// What is said of a container for which nothing is counted.
pub(super) fn uncounted() -> Error {
    Error::new("the container has no cgroup of its own, so nothing is counted for it")
        .kind(Kind::Unsupported)
        .hint("its user needs a delegated cgroup")
}

impl Source {
    /// # Errors
    /// As [`statistics`].
    pub(super) fn open(runtime: &Runtime, id: &ContainerId) -> Result<Source> {
        let folder = find(runtime, id)?;
        let saved = read(&folder)?;
        let stopped = || Error::new(format!("container with id {id} is not running")).kind(Kind::WrongState);
        let init = pidfd::open(saved.pid).map_err(|_| stopped())?;
        // Only now does the descriptor stand for the init, or for nothing.
        match status(&folder, &saved)? {
            Status::Stopped => Err(stopped()),
            _ => Ok(Source { cgroup: Cgroup::open(&saved.cgroups)?, saved, init }),
        }
    }

    /// Whether anything is counted for it.
    pub(super) fn has_cgroup(&self) -> bool {
        !self.cgroup.groups.is_empty()
    }

    /// All numbers, as of now.
    pub(super) fn read(&self) -> Usage {
        Usage {
            cgroup: self.has_cgroup().then(|| self.cgroup.statistics()),
            memory_version: self.cgroup.counts_memory_by(),
            interfaces: self.interfaces(),
        }
    }

    fn interfaces(&self) -> Vec<Interface> {
        if !self.saved.namespaces.iter().any(|kind| kind == "net") {
            return Vec::new();
        }
        let text = std::fs::read_to_string(format!("/proc/{}/net/dev", self.saved.pid)).unwrap_or_default();
        // A pid that is another process by now has told of another namespace.
        match crate::sys::pidfd::send_signal(&self.init, 0) {
            Ok(()) => text.lines().filter_map(parse_interface).collect(),
            Err(_) => Vec::new(),
        }
    }
}

/// A line of proc_pid_net(5): the name, eight numbers of what came in, eight of what went out.
fn parse_interface(line: &str) -> Option<Interface> {
    let (name, rest) = line.split_once(':')?;
    let numbers: Vec<u64> = rest.split_ascii_whitespace().flat_map(str::parse).collect();
    let n = numbers.first_chunk::<16>()?;
    Some(Interface {
        name: name.trim().to_owned(),
        rx_bytes: n[0],
        rx_packets: n[1],
        rx_errors: n[2],
        rx_dropped: n[3],
        tx_bytes: n[8],
        tx_packets: n[9],
        tx_errors: n[10],
        tx_dropped: n[11],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_network_device_is_read_and_the_head_is_not() {
        let interface = parse_interface("  eth0: 100 2 3 4 0 0 0 0 500 6 7 8 0 0 0 0").unwrap();
        assert_eq!((interface.name.as_str(), interface.rx_bytes, interface.rx_dropped), ("eth0", 100, 4));
        assert_eq!(
            (interface.tx_bytes, interface.tx_packets, interface.tx_errors, interface.tx_dropped),
            (500, 6, 7, 8)
        );
        assert_eq!(parse_interface("Inter-|   Receive      |  Transmit"), None);
        assert_eq!(parse_interface(" face |bytes: packets"), None);
        let json = serde_json::to_value(interface).unwrap();
        assert_eq!(json["RxBytes"], 100);
    }
}
