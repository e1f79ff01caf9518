//! Writes the values of one group. The runtime process, while the child waits, or `update`. Opens every
//! file once, however many values it gets (a dozen device rules).

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::group::{Check, Group, How, WhenMissing, Write};
use super::{OpenGroup, device_filter, files};
use crate::error::{Call, Error, Kind, Result};

/// Writes the values in order, then the device rules.
///
/// # Errors
/// The first value that the kernel refuses, or for which it has no file, with the JSON path that asked for
/// it; values before it stay written.
pub fn limit(open: &OpenGroup, group: &Group) -> Result<()> {
    group.checks.iter().try_for_each(|check| refuse(open, check))?;
    let mut writer = Writer { open, group, files: Vec::new() };
    let mut again = Vec::new();
    for write in &group.writes {
        match writer.put(write) {
            Err((write, Errno::EINVAL)) if write.how != How::Once => again.push(write),
            result => result.map_err(|(write, errno)| failed(open, write, errno))?,
        }
    }
    for write in again {
        writer.put(write).map_err(|(write, errno)| failed(open, write, errno))?;
    }
    device_filter::apply(open, &group.devices)
}

/// `checkBeforeUpdate`: a limit below what is in use would kill.
fn refuse(open: &OpenGroup, check: &Check) -> Result<()> {
    let number = |file: &String| files::read(&open.fd, file).ok()?.trim().parse::<u64>().ok();
    let usage: u64 = check.files.iter().filter_map(number).sum();
    if usage <= check.bound {
        return Ok(());
    }
    Err(Error::new(format!("rejecting {} {} < usage {usage}", check.limit, check.bound)).at(&check.why))
}

struct Writer<'a> {
    open: &'a OpenGroup,
    group: &'a Group,
    files: Vec<(&'a str, OwnedFd)>,
}

/// The write that was tried (one may stand in for another), and why not.
type Refusal<'a> = (&'a Write, Errno);

impl<'a> Writer<'a> {
    fn put(&mut self, write: &'a Write) -> Result<(), Refusal<'a>> {
        match self.once(write) {
            Err(Errno::ENOENT) => match &write.when_missing {
                WhenMissing::Error => Err((write, Errno::ENOENT)),
                WhenMissing::Ignore => Ok(()),
                WhenMissing::Instead(other) => self.put(other),
            },
            result => result.map_err(|errno| (write, errno)),
        }
    }

    fn once(&mut self, write: &'a Write) -> nix::Result<()> {
        match write.how {
            How::Once | How::AgainAfterOthers => self.value(write, &write.value),
            How::KeepFirstWord => {
                let value = keep_first_word(&files::read(&self.open.fd, &write.file)?, &write.value);
                self.value(write, &value)
            }
            How::ParentsFirst => {
                self.parents(write)?;
                self.value(write, &write.value)
            }
        }
    }

    fn value(&mut self, write: &'a Write, value: &str) -> nix::Result<()> {
        if let Some((_, file)) = self.files.iter().find(|(name, _)| *name == write.file) {
            return files::write_to(file, value);
        }
        let file = files::open_file(&self.open.fd, &write.file, OFlag::O_WRONLY)?;
        let result = files::write_to(&file, value);
        self.files.push((&write.file, file));
        result
    }

    fn parents(&self, write: &Write) -> nix::Result<()> {
        let below = self.group.dir.strip_prefix(&self.group.mount_point).unwrap_or(&self.group.dir);
        let mut above = Vec::new();
        let mut here = files::open_folder(&self.open.fd, c"..")?;
        for _ in 1..below.components().count() {
            let next = files::open_folder(&here, c"..")?;
            above.push(std::mem::replace(&mut here, next));
        }
        for folder in above.iter().rev() {
            if files::read(folder, &write.file)?.trim() == "0" {
                files::write(folder, &write.file, &write.value)?;
            }
        }
        Ok(())
    }
}

/// `250000 100000` and `max 50000` make `250000 50000`.
fn keep_first_word(old: &str, new: &str) -> String {
    let first = old.split_ascii_whitespace().next().unwrap_or("max");
    let rest = new.split_once(' ').map_or("", |(_, rest)| rest);
    format!("{first} {rest}")
}

fn failed(open: &OpenGroup, write: &Write, errno: Errno) -> Error {
    let path = open.dir.join(&write.file);
    if errno == Errno::ENOENT {
        return Error::new(format!("this kernel has no cgroup file {:?} in {:?}", write.file, open.dir))
            .at(&write.why)
            .kind(Kind::Unsupported);
    }
    let error = Error::sys(format!("write({path:?}, {:?})", write.value), errno).at(&write.why);
    match (errno, usage(open, &write.file)) {
        (Errno::EBUSY, Some(usage)) => error.because(format!("{usage} bytes are in use")),
        (Errno::EINVAL, _) if write.how == How::ParentsFirst => {
            error.because("the cgroups above have no real-time budget left")
        }
        (Errno::EINVAL | Errno::ERANGE, _) => error.because("the kernel does not take this value"),
        (Errno::ENODEV, _) => error.because("there is no such device"),
        _ => error,
    }
}

fn usage(open: &OpenGroup, file: &str) -> Option<u64> {
    let name = match file {
        "memory.limit_in_bytes" => "memory.usage_in_bytes",
        "memory.memsw.limit_in_bytes" => "memory.memsw.usage_in_bytes",
        _ => return None,
    };
    let text = files::read(&open.fd, name).call(|| name).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_period_keeps_the_old_quota() {
        assert_eq!(keep_first_word("250000 100000\n", "max 50000"), "250000 50000");
        assert_eq!(keep_first_word("max 100000\n", "max 50000"), "max 50000");
        assert_eq!(keep_first_word("", "max 50000"), "max 50000");
    }
}
