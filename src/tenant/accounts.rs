//! Accounts in the texts of `/etc/passwd`, `/etc/group` and `/etc/shadow`: one more, or another password. Pure.

use crate::error::{Error, Kind, Result};

/// The first id of people's accounts: login.defs(5), UID_MIN.
const FIRST: u32 = 1000;

/// Where ids of people's accounts end; what lies above is nobody's.
const LAST: u32 = 60_000;

/// The three files as texts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Texts {
    /// `/etc/passwd`.
    pub passwd: String,
    /// `/etc/group`.
    pub group: String,
    /// `/etc/shadow`.
    pub shadow: String,
}

/// An account that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its home folder.
    pub home: String,
}

fn fault(why: String) -> Error {
    Error::new(why).kind(Kind::Usage).code(21)
}

/// Whether `name` may be an account: what useradd(8) takes on Debian.
///
/// # Errors
/// Exit code 21.
pub fn check_name(name: &str) -> Result<()> {
    let first = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let rest = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c));
    match first && rest && name.len() <= 32 {
        true => Ok(()),
        false => Err(fault(format!("{name:?} is no name of an account"))
            .hint("use at most 32 lower-case letters, digits, - and _; a letter first")),
    }
}

/// Whether `hash` is a password as crypt(5) has it.
///
/// # Errors
/// Exit code 21; what was given is not repeated.
pub fn check_hash(hash: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "$./=,_-+".contains(c);
    match hash.starts_with('$') && hash.len() <= 512 && hash.chars().all(plain) {
        true => Ok(()),
        false => Err(fault("the password is not hashed as crypt(5) has it".to_owned())
            .hint("'mkpasswd' (package whois) and 'openssl passwd -6' print such a hash")),
    }
}

impl Texts {
    /// The account `name`; one that is not there is made, with `shell`.
    ///
    /// # Errors
    /// No id is free.
    pub fn account(&mut self, name: &str, shell: &str) -> Result<Account> {
        if let Some(account) = find(&self.passwd, name) {
            return Ok(account);
        }
        let taken =
            |text: &str| text.lines().filter_map(|line| line.split(':').nth(2)?.parse().ok()).collect();
        let (users, groups): (Vec<u32>, Vec<u32>) = (taken(&self.passwd), taken(&self.group));
        let free = (FIRST..LAST).find(|id| !users.contains(id) && !groups.contains(id));
        let id = free.ok_or_else(|| Error::new("no id is free for another account"))?;
        let home = format!("/home/{name}");
        add(&mut self.passwd, &format!("{name}:x:{id}:{id}::{home}:{shell}"));
        if !self.group.lines().any(|line| line.split(':').next() == Some(name)) {
            add(&mut self.group, &format!("{name}:x:{id}:"));
        }
        // No password fits; and sshd does not take the account for a locked one.
        self.set_password(name, "*");
        Ok(Account { uid: id, gid: id, home })
    }

    /// Gives `name` this password, hashed.
    pub fn set_password(&mut self, name: &str, hash: &str) {
        let mut found = false;
        let lines = self.shadow.lines().map(|line| {
            let mut fields: Vec<&str> = line.split(':').collect();
            if fields.len() > 1 && fields[0] == name {
                found = true;
                fields[1] = hash;
            }
            fields.join(":") + "\n"
        });
        self.shadow = lines.collect();
        if !found {
            // Without a day of the last change: it need not be changed at once.
            add(&mut self.shadow, &format!("{name}:{hash}::0:99999:7:::"));
        }
    }
}

fn find(passwd: &str, name: &str) -> Option<Account> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let fields: Vec<&str> = line.split(':').collect();
    let home = fields.get(5).filter(|home| home.starts_with('/')).map_or("/", |home| home);
    let id = |index: usize| fields.get(index)?.parse().ok();
    Some(Account { uid: id(2)?, gid: id(3)?, home: home.to_owned() })
}

fn add(text: &mut String, line: &str) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(line);
    text.push('\n');
}

/// The keys in the text of a file as `authorized_keys` wants them: one a line.
///
/// # Errors
/// Exit code 21 with the number of a line that is none; a private key is told as such.
pub fn keys(text: &str) -> Result<Vec<&str>> {
    if text.contains("PRIVATE KEY") {
        return Err(fault("it is a private key".to_owned()).hint("the public one ends in .pub"));
    }
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let keys = lines.map(|(index, line)| {
        let kinds = ["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"];
        let is_key = line.split_whitespace().any(|word| kinds.iter().any(|kind| word.starts_with(kind)));
        let plain = !line.chars().any(char::is_control) && line.split_whitespace().count() >= 2;
        match is_key && plain {
            true => Ok(line),
            false => Err(fault(format!("line {} is no public ssh key", index + 1))),
        }
    });
    let keys: Vec<&str> = keys.collect::<Result<_>>()?;
    if keys.is_empty() { Err(fault("there is no ssh key in it".to_owned())) } else { Ok(keys) }
}

/// Whether `zone` can be the name of a time zone.
///
/// # Errors
/// Exit code 21.
pub fn check_zone(zone: &str) -> Result<()> {
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "_+-".contains(c))
    };
    match zone.len() <= 64 && zone.split('/').all(plain) {
        true => Ok(()),
        false => Err(fault(format!("{zone:?} is no time zone")).hint("write one as Europe/Paris or UTC")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Texts {
        Texts {
            passwd: "root:x:0:0:root:/root:/bin/sh\nold:x:1000:1000::/srv/old:/bin/sh".into(),
            group: "root:x:0:\nold:x:1000:\nmore:x:1001:\n".into(),
            shadow: "root:*:19000:0:99999:7:::\n".into(),
        }
    }

    #[test]
    fn a_new_account_has_ids_that_nobody_has() {
        let mut changed = texts();
        let account = changed.account("ops", "/bin/bash").unwrap();
        assert_eq!((account.uid, account.home.as_str()), (1002, "/home/ops"));
        assert!(changed.passwd.ends_with("sh\nops:x:1002:1002::/home/ops:/bin/bash\n"));
        assert!(changed.group.ends_with("ops:x:1002:\n"));
        assert!(changed.shadow.contains("\nops:*::0:99999:7:::\n"));
        let before = changed.clone();
        assert_eq!(changed.account("old", "/bin/sh").unwrap().home, "/srv/old");
        assert_eq!(changed, before);
    }

    #[test]
    fn a_password_changes_its_own_line_and_no_other() {
        let mut changed = texts();
        changed.set_password("root", "$6$a$b");
        assert_eq!(changed.shadow, "root:$6$a$b:19000:0:99999:7:::\n");
        changed.set_password("ops", "$y$x");
        assert_eq!(changed.shadow.lines().count(), 2);
    }

    #[test]
    fn what_could_write_other_lines_is_refused() {
        for name in ["", "a:b", "a\nb", "Root", "-a", "../a", &"a".repeat(33)] {
            assert_eq!(check_name(name).unwrap_err().get_code(), Some(21), "{name:?}");
        }
        for hash in ["", "secret", "$6$a:b", "$6$a\nroot::0:0:::", "*"] {
            assert_eq!(check_hash(hash).unwrap_err().get_code(), Some(21), "{hash:?}");
            assert!(hash.is_empty() || !check_hash(hash).unwrap_err().to_string().contains(hash), "{hash:?}");
        }
        for zone in ["", "/etc/passwd", "../x", "Europe/../../x", "a b", "Europe/"] {
            assert_eq!(check_zone(zone).unwrap_err().get_code(), Some(21), "{zone:?}");
        }
        check_zone("America/Argentina/Buenos_Aires").and_then(|()| check_zone("Etc/GMT+5")).unwrap();
    }

    #[test]
    fn only_public_keys_are_keys() {
        let two = "# mine\nssh-ed25519 AAAA me@here\n\nfrom=\"10.0.0.1\" ecdsa-sha2-nistp256 AAAA\n";
        assert_eq!(keys(two).unwrap().len(), 2);
        assert!(keys("ssh-ed25519 AAAA x\nrubbish\n").unwrap_err().to_string().starts_with("line 2 is no"));
        assert!(
            keys("-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap_err().to_string().contains("private key")
        );
        assert!(keys("\n").is_err());
    }
}
