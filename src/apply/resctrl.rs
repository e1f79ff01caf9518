//! Groups of resctrl (resctrl.rst of the kernel): making, joining, removing. The runtime process, as root of the
//! host. The folder is the host's own, and nothing of a container can change it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nix::errno::Errno;

use crate::error::{Call, Error, Result};
use crate::plan::{CacheGroup, Making};

/// A folder that is about to be made, or was not after all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made<'a> {
    /// About to be made.
    Soon(&'a Path),
    /// Somebody else had made it.
    Not(&'a Path),
}

/// Makes the group where it may, gives it its share, and puts the process in. `journal` hears of a folder first.
///
/// # Errors
/// The group is not there, has another share, or the kernel refuses; with the kernel's own words.
pub fn join(group: &CacheGroup, pid: i32, journal: &dyn Fn(Made<'_>) -> Result<()>) -> Result<()> {
    let folder = group.folder();
    let explain = |error: Error| match last_words(&group.resctrl) {
        Some(words) if error.errno().is_some() => error.because(format!("resctrl says: {words}")),
        _ => error,
    };
    let is_new = match group.making {
        Making::IfMissing => make(&folder, journal).map_err(explain)?,
        Making::MustExist if folder.is_dir() => false,
        Making::MustExist => {
            return Err(Error::new(format!("the group {} does not exist", folder.display()))
                .hint("make it first, or say in the config what its share is"));
        }
    };
    if is_new {
        let text: String = group.schemata.iter().map(|line| format!("{line}\n")).collect();
        if !text.is_empty() {
            write(&folder.join("schemata"), &text).map_err(explain)?;
        }
    } else {
        compare(&folder, &group.schemata)?;
    }
    write(&folder.join("tasks"), &pid.to_string()).map_err(explain)?;
    let Some(name) = &group.monitor else { return Ok(()) };
    let folder = folder.join("mon_groups").join(name);
    make(&folder, journal).map_err(explain)?;
    write(&folder.join("tasks"), &pid.to_string()).map_err(explain)
}

/// Whether the folder is ours.
fn make(folder: &Path, journal: &dyn Fn(Made<'_>) -> Result<()>) -> Result<bool> {
    if folder.is_dir() {
        return Ok(false);
    }
    journal(Made::Soon(folder))?;
    match fs::create_dir(folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            journal(Made::Not(folder)).map(|()| false)
        }
        Err(error) => Err(Error::io(format!("mkdir({folder:?})"), &error)),
    }
}

fn write(file: &Path, text: &str) -> Result<()> {
    let opened = fs::OpenOptions::new().write(true).open(file).call(|| format!("open({file:?})"))?;
    // In one write(2): each is a command of its own.
    std::io::Write::write_all(&mut &opened, text.as_bytes())
        .call(|| format!("write({file:?}, {:?})", text.trim_end()))
}

/// Why the kernel has refused what was written last.
fn last_words(resctrl: &Path) -> Option<String> {
    let words = fs::read_to_string(resctrl.join("info/last_cmd_status")).ok()?;
    Some(words.trim().to_owned()).filter(|words| !words.is_empty() && words != "ok")
}

/// The share of each domain of one resource.
type Shares<'a> = BTreeMap<&'a str, u64>;

/// A group that is there already must have the share that the config asks for.
fn compare(folder: &Path, wanted: &[String]) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let file = folder.join("schemata");
    let text = fs::read_to_string(&file).call(|| format!("read({file:?})"))?;
    let has: BTreeMap<_, _> = text.lines().filter_map(parse).collect();
    // Of two lines on one resource the later one counts.
    let wanted: BTreeMap<_, _> = wanted.iter().filter_map(|line| parse(line)).collect();
    let is_there = |resource: &str, parts: &Shares<'_>| {
        let found = has.get(resource);
        parts.iter().all(|(domain, share)| found.is_some_and(|found| found.get(domain) == Some(share)))
    };
    match wanted.iter().find(|(resource, parts)| !is_there(resource, parts)) {
        None => Ok(()),
        Some((resource, _)) => {
            let has: Vec<_> = text.lines().map(str::trim).collect();
            Err(Error::new(format!(
                "the group {} exists, and its share of {resource} is not that of the config: {}",
                folder.display(),
                has.join(" ")
            )))
        }
    }
}

/// `L3:0=ff;1=f` as the resource and the share of each domain; masks are hexadecimal, the rest is decimal.
fn parse(line: &str) -> Option<(&str, Shares<'_>)> {
    let (resource, parts) = line.split_once(':')?;
    let resource = resource.trim();
    let radix = if resource.starts_with('L') { 16 } else { 10 };
    let pairs = parts.split(';').filter_map(|part| {
        let (domain, share) = part.split_once('=')?;
        let share = share.trim().trim_start_matches("0x");
        Some((domain.trim(), u64::from_str_radix(share, radix).ok()?))
    });
    Some((resource, pairs.collect()))
}

/// Removes a group that was made; one in which others have processes by now stays.
///
/// # Errors
/// The kernel's.
pub fn remove(folder: &Path) -> Result<()> {
    let is_used = fs::read_to_string(folder.join("tasks")).is_ok_and(|tasks| !tasks.trim().is_empty());
    if is_used {
        crate::log::debug(format!("{} has processes of others and stays", folder.display()));
        return Ok(());
    }
    match nix::unistd::unlinkat(nix::fcntl::AT_FDCWD, folder, nix::unistd::UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(Error::sys(format!("rmdir({folder:?})"), errno)),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::path::PathBuf;

    use super::*;

    /// A folder that looks as resctrl does, but for what the kernel puts into a new one.
    struct Fake(PathBuf);

    impl Fake {
        fn new(name: &str) -> Fake {
            let folder = std::env::temp_dir().join(format!("isolate-resctrl-{}-{name}", std::process::id()));
            fs::create_dir_all(folder.join("info")).unwrap();
            fs::create_dir_all(folder.join("mon_groups")).unwrap();
            Fake::fill(&folder, "    L3:0=ffff;1=ffff\n    MB:0=100;1=100\n");
            Fake(folder)
        }

        fn fill(folder: &Path, schemata: &str) {
            fs::create_dir_all(folder.join("mon_groups")).unwrap();
            fs::write(folder.join("schemata"), schemata).unwrap();
            fs::write(folder.join("tasks"), "").unwrap();
        }

        fn group(&self, name: Option<&str>, schemata: &[&str]) -> CacheGroup {
            CacheGroup {
                resctrl: self.0.clone(),
                name: name.map(str::to_owned),
                making: Making::IfMissing,
                schemata: schemata.iter().map(|line| (*line).to_owned()).collect(),
                monitor: None,
            }
        }

        fn text(&self, file: &str) -> String {
            fs::read_to_string(self.0.join(file)).unwrap()
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn join_quietly(group: &CacheGroup) -> Result<()> {
        join(group, 42, &|_| Ok(()))
    }

    #[test]
    fn the_group_of_everybody_and_one_that_is_there_are_joined() {
        let fake = Fake::new("there");
        let root = CacheGroup { making: Making::MustExist, ..fake.group(None, &["L3:1=ffff"]) };
        join_quietly(&root).unwrap();
        assert_eq!(fake.text("tasks"), "42");
        Fake::fill(&fake.0.join("gold"), "L3:0=ff;1=f\nMB:0=50\n");
        join_quietly(&fake.group(Some("gold"), &["L3:0=000ff", "MB:0=50"])).unwrap();
        assert_eq!(fake.text("gold/tasks"), "42");
        assert!(fake.text("gold/schemata").starts_with("L3:0=ff;1=f"), "what is there stays");
    }

    #[test]
    fn a_group_with_another_share_is_refused() {
        let fake = Fake::new("other");
        Fake::fill(&fake.0.join("gold"), "L3:0=ff\n");
        let error = join_quietly(&fake.group(Some("gold"), &["L3:0=f"])).unwrap_err().to_string();
        assert!(error.contains("its share of L3 is not that of the config: L3:0=ff"), "{error}");
        let error = join_quietly(&fake.group(Some("gold"), &["MB:0=50"])).unwrap_err().to_string();
        assert!(error.contains("its share of MB is not"), "{error}");
        assert_eq!(fake.text("gold/tasks"), "");
    }

    #[test]
    fn a_group_that_has_to_be_there_is_not_made() {
        let fake = Fake::new("absent");
        let group = CacheGroup { making: Making::MustExist, ..fake.group(Some("gold"), &[]) };
        let error = join_quietly(&group).unwrap_err().to_string();
        assert!(error.contains("gold does not exist") && !fake.0.join("gold").exists(), "{error}");
    }

    #[test]
    fn a_group_is_told_of_before_it_is_made_and_the_kernels_words_are_shown() {
        let fake = Fake::new("made");
        fs::write(fake.0.join("info/last_cmd_status"), "Mask out of range\n").unwrap();
        let told = RefCell::new(Vec::new());
        let group = fake.group(Some("new"), &["L3:0=fffff"]);
        let journal = |made: Made<'_>| {
            let Made::Soon(folder) = made else { panic!("nobody else makes it") };
            told.borrow_mut().push((folder.to_owned(), folder.exists()));
            Ok(())
        };
        // A plain folder has no `schemata` for it: as near as a folder comes to a kernel that refuses.
        let error = join(&group, 42, &journal).unwrap_err().to_string();
        assert_eq!(*told.borrow(), [(fake.0.join("new"), false)]);
        assert!(error.contains("ENOENT") && error.contains("resctrl says: Mask out of range"), "{error}");
    }

    #[test]
    fn a_container_is_counted_in_a_folder_of_its_own() {
        let fake = Fake::new("counted");
        Fake::fill(&fake.0.join("mon_groups/web"), "");
        join_quietly(&CacheGroup { monitor: Some("web".to_owned()), ..fake.group(None, &[]) }).unwrap();
        assert_eq!(fake.text("mon_groups/web/tasks"), "42");
    }

    #[test]
    fn only_a_group_without_processes_is_removed() {
        let fake = Fake::new("removed");
        let folder = fake.0.join("mon_groups/x");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("tasks"), "7\n").unwrap();
        remove(&folder).unwrap();
        assert!(folder.exists());
        fs::remove_file(folder.join("tasks")).unwrap();
        remove(&folder).unwrap();
        assert!(!folder.exists());
        remove(&folder).unwrap();
    }
}
