//! What block devices have done for a container. The runtime process; it only reads. Not by `cgroups-rs`, which
//! panics on device numbers above 32767.

use serde::{Deserialize, Serialize};

use super::files;
use crate::cgroup::{Cgroup, OpenGroup};

/// One number of one device.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BlockEntry {
    /// Device number.
    pub major: u64,
    /// Device number.
    pub minor: u64,
    /// What is counted: `Read`, `Write`, `Discard`; of v1 also `Sync`, `Async`, `Total`, and nothing where
    /// the kernel tells no kinds apart.
    pub op: String,
    /// The number.
    pub value: u64,
}

/// All of them since the container's start, a list a kind. Besides the first two only v1 with the schedulers
/// CFQ and BFQ has any.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Block {
    /// Bytes.
    pub bytes: Vec<BlockEntry>,
    /// Requests.
    pub requests: Vec<BlockEntry>,
    /// Requests waiting now.
    pub queued: Vec<BlockEntry>,
    /// Nanoseconds from dispatch to completion.
    pub service_time: Vec<BlockEntry>,
    /// Nanoseconds in queues.
    pub wait_time: Vec<BlockEntry>,
    /// Requests that were merged into others.
    pub merged: Vec<BlockEntry>,
    /// Milliseconds of the device.
    pub time: Vec<BlockEntry>,
    /// Sectors.
    pub sectors: Vec<BlockEntry>,
}

impl Block {
    /// The sum over all devices of bytes of one kind (`Read`, `Write`).
    pub fn total(&self, op: &str) -> u64 {
        self.bytes.iter().filter(|entry| entry.op == op).fold(0, |sum, entry| sum.saturating_add(entry.value))
    }
}

impl Cgroup {
    pub(super) fn blkio(&self) -> Block {
        match self.v1("blkio") {
            Some(group) => read_v1(group),
            None => self.unified().map(|group| parse_v2(&text(group, "io.stat"))).unwrap_or_default(),
        }
    }
}

fn text(group: &OpenGroup, file: &str) -> String {
    files::read(&group.fd, file).unwrap_or_default()
}

/// The I/O scheduler decides which files count: that of BFQ, of CFQ (up to Linux 5.0), else of the throttle layer,
/// which counts for all.
fn read_v1(group: &OpenGroup) -> Block {
    let read = |name: &str| {
        let files = [format!("blkio.bfq.{name}"), format!("blkio.{name}"), format!("blkio.throttle.{name}")];
        files
            .iter()
            .map(|file| parse_v1(&text(group, file)))
            .find(|found| !found.is_empty())
            .unwrap_or_default()
    };
    Block {
        bytes: read("io_service_bytes_recursive"),
        requests: read("io_serviced_recursive"),
        queued: read("io_queued_recursive"),
        service_time: read("io_service_time_recursive"),
        wait_time: read("io_wait_time_recursive"),
        merged: read("io_merged_recursive"),
        time: read("time_recursive"),
        sectors: read("sectors_recursive"),
    }
}

fn device(name: &str) -> Option<(u64, u64)> {
    let (major, minor) = name.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Lines of `8:0 Read 4096` or `8:0 4096`; the last, `Total 4096`, is of no device.
fn parse_v1(text: &str) -> Vec<BlockEntry> {
    let parse = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let (name, op, value) = match words.as_slice() {
            [name, op, value] => (*name, *op, *value),
            [name, value] => (*name, "", *value),
            _ => return None,
        };
        let (major, minor) = device(name)?;
        Some(BlockEntry { major, minor, op: op.to_owned(), value: value.parse().ok()? })
    };
    text.lines().filter_map(parse).collect()
}

/// Lines of `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`.
fn parse_v2(text: &str) -> Block {
    let mut block = Block::default();
    for line in text.lines() {
        let Some((name, rest)) = line.split_once(' ') else { continue };
        let Some((major, minor)) = device(name) else { continue };
        for word in rest.split_ascii_whitespace() {
            let Some((key, value)) = word.split_once('=') else { continue };
            let (list, op) = match key {
                "rbytes" => (&mut block.bytes, "Read"),
                "wbytes" => (&mut block.bytes, "Write"),
                "dbytes" => (&mut block.bytes, "Discard"),
                "rios" => (&mut block.requests, "Read"),
                "wios" => (&mut block.requests, "Write"),
                "dios" => (&mut block.requests, "Discard"),
                _ => continue,
            };
            let Ok(value) = value.parse() else { continue };
            list.push(BlockEntry { major, minor, op: op.to_owned(), value });
        }
    }
    block
}

/// Gives any text to both parsers: how many entries were taken.
#[cfg(fuzzing)]
pub(super) fn fuzz(text: &str) -> usize {
    parse_v1(text).len() + parse_v2(text).bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(op: &str, value: u64) -> BlockEntry {
        BlockEntry { major: 8, minor: 70_000, op: op.into(), value }
    }

    #[test]
    fn block_devices_are_read_from_both_kernel_formats() {
        let v1 = parse_v1("8:70000 Read 4096\n8:70000 Write 7\n8:70000 3\nTotal 9\nx\n");
        assert_eq!(v1, [entry("Read", 4096), entry("Write", 7), entry("", 3)]);
        let v2 =
            parse_v2("8:70000 rbytes=4096 wbytes=7 rios=1 wios=2 dbytes=5 dios=6 cost.usage=9\nx\n8:1\n");
        assert_eq!(v2.bytes, [entry("Read", 4096), entry("Write", 7), entry("Discard", 5)]);
        assert_eq!(v2.requests, [entry("Read", 1), entry("Write", 2), entry("Discard", 6)]);
        assert_eq!((v2.total("Read"), v2.total("Write")), (4096, 7));
    }
}
