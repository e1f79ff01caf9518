//! The limits of a tenant as a value: `[limits]` of its `tenant.toml`. Pure.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::tenant::keys::value_fault;
use crate::tenant::size;

/// What the tenant may use; an absent limit is none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Limits {
    /// Memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ram: Option<Size>,
    /// Swap beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<Size>,
    /// Memory it keeps when the host runs short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ram_min: Option<Size>,
    /// CPU time in CPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
    /// Share of busy CPUs, 1 to 10000; 100 is everybody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<u32>,
    /// CPUs it may run on: `0-2,4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset: Option<String>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u32>,
    /// Bytes read from its disk in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_read: Option<Size>,
    /// Bytes written to its disk in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_write: Option<Size>,
    /// Reads, and writes, of its disk in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iops: Option<u32>,
}

/// A size, written with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(pub u64);

impl TryFrom<String> for Size {
    type Error = Error;
    fn try_from(text: String) -> Result<Size> {
        size::parse_bytes(&text).map(Size)
    }
}

impl From<Size> for String {
    fn from(size: Size) -> String {
        size::show_bytes(size.0)
    }
}

/// Thousandths of a CPU, written as CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cpus(pub u32);

impl TryFrom<String> for Cpus {
    type Error = Error;
    fn try_from(text: String) -> Result<Cpus> {
        size::parse_cpus(&text).map(Cpus)
    }
}

impl From<Cpus> for String {
    fn from(cpus: Cpus) -> String {
        format!("{}", f64::from(cpus.0) / 1000.0)
    }
}

impl Limits {
    /// What the types do not say.
    ///
    /// # Errors
    /// Exit code 21.
    pub fn check(&self) -> Result<()> {
        if self.cpu_weight.is_some_and(|weight| !(1..=10_000).contains(&weight)) {
            return Err(value_fault("a weight is 1 to 10000"));
        }
        if self.tasks.is_some_and(|tasks| !(1..=4_194_304).contains(&tasks)) {
            return Err(value_fault("a number of processes is 1 to 4194304"));
        }
        if self.iops == Some(0) {
            return Err(value_fault("a number of reads and writes in a second is at least 1"));
        }
        if let Some((least, most)) = self.ram_min.zip(self.ram).filter(|(least, most)| least.0 > most.0) {
            let (least, most) = (String::from(least), String::from(most));
            return Err(value_fault(format!("ram-min {least} is more than ram {most}")));
        }
        if let Some(list) = self.cpuset.as_ref().filter(|list| !is_cpu_list(list)) {
            return Err(value_fault(format!("{list:?} is no list of CPUs")).hint("write 0-2,4"));
        }
        if self.swap.is_some() && self.ram.is_none() {
            return Err(value_fault("swap can be limited only beside ram").hint("set ram as well"));
        }
        Ok(())
    }
}

/// `0-2,4` as the kernel's cpuset(7) has it.
fn is_cpu_list(list: &str) -> bool {
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let range = |part: &str| match part.split_once('-') {
        Some((first, last)) => number(first).zip(number(last)).is_some_and(|(first, last)| first <= last),
        None => number(part).is_some(),
    };
    !list.is_empty() && list.split(',').all(range)
}
