//! Who runs the command: names looked up in the root's own `passwd` and `group`, given as text. Pure.

use crate::error::{Error, Result};
use crate::tenant::settings::UserName;

/// A user as the kernel and the shell need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Id inside.
    pub uid: u32,
    /// Main group.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// `HOME`.
    pub home: String,
    /// `USER`; absent for a number without a name.
    pub name: Option<String>,
}

struct Line<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// A line of `passwd(5)`; one that is none is passed over, as glibc does.
fn parse_line(line: &str) -> Option<Line<'_>> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
    let home = fields.nth(1).filter(|home| home.starts_with('/') && !home.contains('\0')).unwrap_or("/");
    Some(Line { name, uid, gid, home })
}

/// Finds `wanted` in the texts of `/etc/passwd` and `/etc/group`; absent: root.
///
/// # Errors
/// A name that is not in `passwd`. A number needs no line.
pub fn resolve(wanted: Option<&UserName>, passwd: &str, group: &str) -> Result<User> {
    let mut lines = passwd.lines().filter_map(parse_line);
    let default = UserName::Id(0, None);
    let (line, uid, gid) = match wanted.unwrap_or(&default) {
        UserName::Name(name) => match lines.find(|line| line.name == name) {
            Some(line) => (Some((line.name, line.home)), line.uid, line.gid),
            None => return Err(Error::new(format!("user {name:?} is not in the root's /etc/passwd"))),
        },
        UserName::Id(uid, gid) => match lines.find(|line| line.uid == *uid) {
            Some(line) => (Some((line.name, line.home)), *uid, gid.unwrap_or(line.gid)),
            None => (None, *uid, gid.unwrap_or(0)),
        },
    };
    let groups = line.map_or(vec![], |(name, _)| groups_of(name, group));
    // Without a line for root its home is still known; others get the root folder.
    let home = line.map_or(if uid == 0 { "/root" } else { "/" }, |(_, home)| home);
    Ok(User { uid, gid, groups, home: home.to_owned(), name: line.map(|(name, _)| name.to_owned()) })
}

/// The login shell of a user in the text of `/etc/passwd`; `/bin/sh` without one.
pub fn shell(uid: u32, passwd: &str) -> String {
    let of = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.len() >= 7 && fields[2].parse() == Ok(uid)).then(|| fields[6].to_owned())
    };
    let shell = passwd.lines().find_map(of).filter(|shell| shell.starts_with('/') && !shell.contains('\0'));
    shell.unwrap_or_else(|| "/bin/sh".to_owned())
}

fn groups_of(name: &str, group: &str) -> Vec<u32> {
    let member = |line: &str| {
        let mut fields = line.split(':');
        let gid = fields.nth(2)?.parse().ok()?;
        fields.next()?.split(',').any(|member| member == name).then_some(gid)
    };
    // NGROUPS_MAX is 65536; a hostile file shall not make the kernel refuse the whole call.
    group.lines().filter_map(member).take(1024).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbad line\nweb:x:33:34::/var/www:/bin/false\n";
    const GROUP: &str = "adm:x:4:web,root\nbad\naudio:x:29:web\n";

    #[test]
    fn names_are_found_with_their_groups() {
        let web = resolve(Some(&UserName::Name("web".into())), PASSWD, GROUP).unwrap();
        assert_eq!((web.uid, web.gid, web.groups, web.home.as_str()), (33, 34, vec![4, 29], "/var/www"));
        assert!(resolve(Some(&UserName::Name("nope".into())), PASSWD, GROUP).is_err());
    }

    #[test]
    fn numbers_need_no_line() {
        let user = resolve(Some(&UserName::Id(7, None)), PASSWD, GROUP).unwrap();
        assert_eq!((user.uid, user.gid, user.name, user.home.as_str()), (7, 0, None, "/"));
        assert_eq!(resolve(Some(&UserName::Id(33, Some(9))), PASSWD, GROUP).unwrap().gid, 9);
    }

    #[test]
    fn nobody_asked_means_root_even_without_a_file() {
        assert_eq!(resolve(None, "", "").unwrap().home, "/root");
    }
}
