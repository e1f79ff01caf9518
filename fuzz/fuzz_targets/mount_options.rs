//! Any words as the options of a mount of any type.

use isolate::plan::mount_options::{names, parse};

pub fn run(data: &[u8]) {
    let Some((words, kind)) = isolate_fuzz::input::<(Vec<(u8, String)>, u8)>(data) else { return };
    let known = names();
    let word = |(index, text): (u8, String)| {
        if text.is_empty() { known[usize::from(index) % known.len()].to_owned() } else { text }
    };
    let options: Vec<String> = words.into_iter().map(word).collect();
    let kind = [None, Some("bind"), Some("tmpfs"), Some("proc"), Some("cgroup"), Some("overlay")]
        [usize::from(kind) % 6];
    if let Ok(parsed) = parse(&options, kind) {
        // The same options in the same order mean the same.
        assert_eq!(format!("{parsed:?}"), format!("{:?}", parse(&options, kind).expect("taken once")));
    }
}
