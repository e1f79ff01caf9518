//! What `/proc` tells about processes.

use std::fs;
use std::path::Path;

/// The children of this process, of all its threads.
pub fn children_of_self() -> Vec<i32> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|line| line.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>())
        .collect()
}

/// All pids of this pid namespace.
pub fn all() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// A field of `/proc/PID/status`, without its name.
pub fn status(pid: i32, field: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    field_of(&text, field)
}

/// A field of the text of a status file.
pub fn field_of(text: &str, field: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// The parent of a process.
pub fn parent(pid: i32) -> Option<i32> {
    status(pid, "PPid")?.parse().ok()
}

/// Whether the process exists and is no zombie.
pub fn is_alive(pid: i32) -> bool {
    status(pid, "State").is_some_and(|state| !state.starts_with(['Z', 'X']))
}

/// Every process below `ancestor`.
pub fn descendants(ancestor: i32) -> Vec<i32> {
    let pairs: Vec<(i32, i32)> = all().into_iter().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = vec![ancestor];
    let mut next = 0;
    while next < found.len() {
        let of = found[next];
        let children = pairs.iter().filter(|(_, parent)| *parent == of).map(|(pid, _)| *pid);
        found.extend(children);
        next += 1;
    }
    found.split_off(1)
}

/// The link `/proc/PID/ns/NAME`, such as `net:[4026531840]`.
pub fn namespace(pid: i32, name: &str) -> Option<String> {
    let link = fs::read_link(format!("/proc/{pid}/ns/{name}")).ok()?;
    Some(link.to_str()?.to_owned())
}

/// The same for the calling process.
pub fn own_namespace(name: &str) -> String {
    namespace(std::process::id() as i32, name).unwrap()
}

/// The command line with spaces, or the name in brackets.
pub fn command_line(pid: i32) -> String {
    let bytes = fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
    match text.trim() {
        "" => format!("[{}]", status(pid, "Name").unwrap_or_default()),
        text => text.to_owned(),
    }
}
