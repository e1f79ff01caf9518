//! `mounts[].options` as values: what each word of runtime-spec's table does, and what is left for the
//! filesystem. Pure.
//!
//! One table ([`TABLE`]) serves the parser and `features`. Later words win over earlier ones of the same
//! matter (`ro rw`, `noatime relatime`); propagations are kept in order, as the kernel applies each.

use nix::libc;
use serde::{Serialize, Serializer};

use super::mount_id_maps::OptionMaps;
use crate::error::{Error, Result};

/// Whether a mount shows a place that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bind {
    /// A filesystem of its own.
    #[default]
    No,
    /// The mount at the source, without those below it.
    Bind,
    /// All mounts at and below the source.
    Rbind,
}

/// Which mounts of a bind show owners through an id map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IdMapped {
    /// `idmap`: the mount itself.
    Mount,
    /// `ridmap`: all mounts below it too.
    All,
}

/// How mounts and unmounts travel between copies of a mount (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// Both ways.
    Shared,
    /// Only inwards.
    Slave,
    /// Not at all.
    Private,
    /// Not at all, and it cannot be bound.
    Unbindable,
    /// `Shared`, on every mount below too; the same for the three that follow.
    Rshared,
    /// See `Rshared`.
    Rslave,
    /// See `Rshared`.
    Rprivate,
    /// See `Rshared`.
    Runbindable,
}

impl Propagation {
    /// The same as flags of mount(2), `MS_REC` included.
    pub fn flags(self) -> libc::c_ulong {
        match self {
            Propagation::Shared => libc::MS_SHARED,
            Propagation::Slave => libc::MS_SLAVE,
            Propagation::Private => libc::MS_PRIVATE,
            Propagation::Unbindable => libc::MS_UNBINDABLE,
            Propagation::Rshared => libc::MS_SHARED | libc::MS_REC,
            Propagation::Rslave => libc::MS_SLAVE | libc::MS_REC,
            Propagation::Rprivate => libc::MS_PRIVATE | libc::MS_REC,
            Propagation::Runbindable => libc::MS_UNBINDABLE | libc::MS_REC,
        }
    }

    /// What a word means (`linux.rootfsPropagation` uses the same words).
    pub fn parse(word: &str) -> Option<Propagation> {
        match effect(word) {
            Some(Effect::Propagate(propagation)) => Some(propagation),
            _ => None,
        }
    }
}

/// A set of `MS_*` flags of mount(2); serialised as their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MountFlags(libc::c_ulong);

/// A set of `MOUNT_ATTR_*` of mount_setattr(2); serialised as their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MountAttributes(u64);

impl MountFlags {
    /// The bits for the kernel.
    pub fn bits(self) -> libc::c_ulong {
        self.0
    }

    /// Whether all of `flags` are in it.
    pub fn has(self, flags: libc::c_ulong) -> bool {
        self.0 & flags == flags
    }
}

impl MountAttributes {
    /// The bits for the kernel.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Serialize for MountFlags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(FLAG_NAMES.iter().filter(|(flag, _)| self.has(*flag)).map(|(_, name)| name))
    }
}

impl Serialize for MountAttributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = self.0 & libc::MOUNT_ATTR__ATIME;
        let has = |attribute: u64| match attribute & libc::MOUNT_ATTR__ATIME {
            0 => self.0 & attribute == attribute,
            class => time == class,
        };
        serializer.collect_seq(ATTRIBUTE_NAMES.iter().filter(|(bits, _)| has(*bits)).map(|(_, name)| name))
    }
}

const FLAG_NAMES: [(libc::c_ulong, &str); 15] = [
    (libc::MS_RDONLY, "MS_RDONLY"),
    (libc::MS_NOSUID, "MS_NOSUID"),
    (libc::MS_NODEV, "MS_NODEV"),
    (libc::MS_NOEXEC, "MS_NOEXEC"),
    (libc::MS_SYNCHRONOUS, "MS_SYNCHRONOUS"),
    (libc::MS_MANDLOCK, "MS_MANDLOCK"),
    (libc::MS_DIRSYNC, "MS_DIRSYNC"),
    (libc::MS_NOSYMFOLLOW, "MS_NOSYMFOLLOW"),
    (libc::MS_NOATIME, "MS_NOATIME"),
    (libc::MS_NODIRATIME, "MS_NODIRATIME"),
    (libc::MS_SILENT, "MS_SILENT"),
    (libc::MS_RELATIME, "MS_RELATIME"),
    (libc::MS_I_VERSION, "MS_I_VERSION"),
    (libc::MS_STRICTATIME, "MS_STRICTATIME"),
    (libc::MS_LAZYTIME, "MS_LAZYTIME"),
];

const ATTRIBUTE_NAMES: [(u64, &str); 9] = [
    (libc::MOUNT_ATTR_RDONLY, "MOUNT_ATTR_RDONLY"),
    (libc::MOUNT_ATTR_NOSUID, "MOUNT_ATTR_NOSUID"),
    (libc::MOUNT_ATTR_NODEV, "MOUNT_ATTR_NODEV"),
    (libc::MOUNT_ATTR_NOEXEC, "MOUNT_ATTR_NOEXEC"),
    (libc::MOUNT_ATTR__ATIME, "MOUNT_ATTR__ATIME"),
    (libc::MOUNT_ATTR_NOATIME, "MOUNT_ATTR_NOATIME"),
    (libc::MOUNT_ATTR_STRICTATIME, "MOUNT_ATTR_STRICTATIME"),
    (libc::MOUNT_ATTR_NODIRATIME, "MOUNT_ATTR_NODIRATIME"),
    (libc::MOUNT_ATTR_NOSYMFOLLOW, "MOUNT_ATTR_NOSYMFOLLOW"),
];

/// What the options of one mount say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct MountOptions {
    /// Whether it binds; also when only the type says so.
    pub bind: Bind,
    /// `remount`: the mount is there, and its flags change.
    pub remount: bool,
    /// Flags asked for. Never holds `MS_BIND`, `MS_REC`, `MS_REMOUNT` or a propagation.
    pub set: MountFlags,
    /// Flags asked to be absent (`rw`, `suid`, …): in a bind these must not be kept from the source.
    pub cleared: MountFlags,
    /// What mount_setattr(2) sets on it and every mount below (`rro`, …).
    pub recursive_set: MountAttributes,
    /// What it clears; `MOUNT_ATTR__ATIME` whenever a recursive access time is asked for.
    pub recursive_cleared: MountAttributes,
    /// In order.
    pub propagation: Vec<Propagation>,
    /// The filesystem's own options, joined by commas.
    pub data: String,
    /// Owners are shown through an id map.
    pub id_mapped: Option<IdMapped>,
    /// Crun's: the maps stand in the option.
    pub id_maps: Option<OptionMaps>,
    /// A tmpfs starts with what the image has at its place.
    pub tmpcopyup: bool,
    /// crun's: a symlink as source is bound as the symlink it is.
    pub src_nofollow: bool,
    /// crun's: a symlink as destination is mounted over, not followed.
    pub dest_nofollow: bool,
    /// crun's: a symlink as source is copied, not bound.
    pub copy_symlink: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Nothing,
    Remount,
    Set(libc::c_ulong),
    Clear(libc::c_ulong),
    Bind(Bind),
    SetBelow(u64),
    ClearBelow(u64),
    Propagate(Propagation),
    CopyUp,
    IdMap(IdMapped),
}

use Effect::{Clear, ClearBelow, Propagate, Set, SetBelow};

/// The options of runtime-spec ("Linux mount options"), sorted by word.
const TABLE: [(&str, Effect); 62] = [
    ("async", Clear(libc::MS_SYNCHRONOUS)),
    ("atime", Clear(libc::MS_NOATIME)),
    ("bind", Effect::Bind(Bind::Bind)),
    ("defaults", Effect::Nothing),
    ("dev", Clear(libc::MS_NODEV)),
    ("diratime", Clear(libc::MS_NODIRATIME)),
    ("dirsync", Set(libc::MS_DIRSYNC)),
    ("exec", Clear(libc::MS_NOEXEC)),
    ("idmap", Effect::IdMap(IdMapped::Mount)),
    ("iversion", Set(libc::MS_I_VERSION)),
    ("lazytime", Set(libc::MS_LAZYTIME)),
    ("loud", Clear(libc::MS_SILENT)),
    ("mand", Set(libc::MS_MANDLOCK)),
    ("noatime", Set(libc::MS_NOATIME)),
    ("nodev", Set(libc::MS_NODEV)),
    ("nodiratime", Set(libc::MS_NODIRATIME)),
    ("noexec", Set(libc::MS_NOEXEC)),
    ("noiversion", Clear(libc::MS_I_VERSION)),
    ("nolazytime", Clear(libc::MS_LAZYTIME)),
    ("nomand", Clear(libc::MS_MANDLOCK)),
    ("norelatime", Clear(libc::MS_RELATIME)),
    ("nostrictatime", Clear(libc::MS_STRICTATIME)),
    ("nosuid", Set(libc::MS_NOSUID)),
    ("nosymfollow", Set(libc::MS_NOSYMFOLLOW)),
    ("private", Propagate(Propagation::Private)),
    ("ratime", ClearBelow(libc::MOUNT_ATTR_NOATIME)),
    ("rbind", Effect::Bind(Bind::Rbind)),
    ("rdev", ClearBelow(libc::MOUNT_ATTR_NODEV)),
    ("rdiratime", ClearBelow(libc::MOUNT_ATTR_NODIRATIME)),
    ("relatime", Set(libc::MS_RELATIME)),
    ("remount", Effect::Remount),
    ("rexec", ClearBelow(libc::MOUNT_ATTR_NOEXEC)),
    ("ridmap", Effect::IdMap(IdMapped::All)),
    ("rnoatime", SetBelow(libc::MOUNT_ATTR_NOATIME)),
    ("rnodev", SetBelow(libc::MOUNT_ATTR_NODEV)),
    ("rnodiratime", SetBelow(libc::MOUNT_ATTR_NODIRATIME)),
    ("rnoexec", SetBelow(libc::MOUNT_ATTR_NOEXEC)),
    ("rnorelatime", ClearBelow(libc::MOUNT_ATTR__ATIME)),
    ("rnostrictatime", ClearBelow(libc::MOUNT_ATTR_STRICTATIME)),
    ("rnosuid", SetBelow(libc::MOUNT_ATTR_NOSUID)),
    ("rnosymfollow", SetBelow(libc::MOUNT_ATTR_NOSYMFOLLOW)),
    ("ro", Set(libc::MS_RDONLY)),
    ("rprivate", Propagate(Propagation::Rprivate)),
    ("rrelatime", ClearBelow(libc::MOUNT_ATTR__ATIME)),
    ("rro", SetBelow(libc::MOUNT_ATTR_RDONLY)),
    ("rrw", ClearBelow(libc::MOUNT_ATTR_RDONLY)),
    ("rshared", Propagate(Propagation::Rshared)),
    ("rslave", Propagate(Propagation::Rslave)),
    ("rstrictatime", SetBelow(libc::MOUNT_ATTR_STRICTATIME)),
    ("rsuid", ClearBelow(libc::MOUNT_ATTR_NOSUID)),
    ("rsymfollow", ClearBelow(libc::MOUNT_ATTR_NOSYMFOLLOW)),
    ("runbindable", Propagate(Propagation::Runbindable)),
    ("rw", Clear(libc::MS_RDONLY)),
    ("shared", Propagate(Propagation::Shared)),
    ("silent", Set(libc::MS_SILENT)),
    ("slave", Propagate(Propagation::Slave)),
    ("strictatime", Set(libc::MS_STRICTATIME)),
    ("suid", Clear(libc::MS_NOSUID)),
    ("symfollow", Clear(libc::MS_NOSYMFOLLOW)),
    ("sync", Set(libc::MS_SYNCHRONOUS)),
    ("tmpcopyup", Effect::CopyUp),
    ("unbindable", Propagate(Propagation::Unbindable)),
];

/// The words that `features` tells: exactly those that [`parse`] acts on by the specification's table.
pub fn names() -> Vec<&'static str> {
    TABLE.iter().map(|(word, _)| *word).collect()
}

/// The options of one mount; `kind` is its type, of which `bind` alone matters here.
///
/// # Errors
/// Every word that this version refuses, and a filesystem's option on a bind mount, which has no filesystem
/// to take it. The caller adds the place (`mounts[3].options`).
pub fn parse(options: &[String], kind: Option<&str>) -> Result<MountOptions> {
    let mut parsed = MountOptions::default();
    let (mut data, mut faults) = (Vec::new(), Vec::new());
    for option in options {
        match effect(option) {
            Some(effect) => parsed.apply(effect),
            None if parsed.apply_crun_word(option) => {}
            None if is_map(option) => {
                if let Err(why) = parsed.apply_map(option) {
                    faults.push(format!("option {option:?}: {why}"));
                }
            }
            None => data.push(option.as_str()),
        }
    }
    if parsed.bind == Bind::No && kind == Some("bind") {
        parsed.bind = Bind::Bind;
    }
    if parsed.bind != Bind::No && !data.is_empty() {
        faults.push(format!("bind mounts cannot have any filesystem-specific options applied: {data:?}"));
    }
    if parsed.bind == Bind::No {
        let words = options.iter().filter(|option| is_map(option) || is_crun_word(option));
        faults.extend(words.map(|word| format!("option {word:?} is for bind mounts")));
    }
    parsed.data = data.join(",");
    match faults.is_empty() {
        true => Ok(parsed),
        false => Err(Error::new(faults.join("; "))),
    }
}

fn effect(word: &str) -> Option<Effect> {
    TABLE.iter().find(|(name, _)| *name == word).map(|(_, effect)| *effect)
}

fn is_crun_word(option: &str) -> bool {
    ["src-nofollow", "dest-nofollow", "copy-symlink"].contains(&option)
}

/// Crun's form with maps of its own in the option.
fn is_map(option: &str) -> bool {
    option.starts_with("idmap=") || option.starts_with("ridmap=")
}

/// The kernel keeps one access time per mount: asking for another replaces it.
const ACCESS_TIMES: libc::c_ulong = libc::MS_NOATIME | libc::MS_RELATIME | libc::MS_STRICTATIME;

impl MountOptions {
    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Nothing => {}
            Effect::Remount => self.remount = true,
            Effect::CopyUp => self.tmpcopyup = true,
            Effect::IdMap(depth) => self.id_mapped = Some(depth),
            Effect::Bind(bind) => self.bind = bind,
            Set(flag) => {
                if flag & ACCESS_TIMES != 0 {
                    self.set.0 &= !ACCESS_TIMES;
                }
                self.set.0 |= flag;
                self.cleared.0 &= !flag;
            }
            Clear(flag) => {
                self.set.0 &= !flag;
                self.cleared.0 |= flag;
            }
            SetBelow(attribute) => self.set_below(attribute),
            ClearBelow(attribute) => self.clear_below(attribute),
            Propagate(propagation) => self.propagation.push(propagation),
        }
    }

    /// mount_setattr(2): the access time is a number in a field of bits, which must be cleared as a whole.
    fn set_below(&mut self, attribute: u64) {
        if attribute & libc::MOUNT_ATTR__ATIME != 0 {
            self.recursive_set.0 &= !libc::MOUNT_ATTR__ATIME;
            self.recursive_cleared.0 |= libc::MOUNT_ATTR__ATIME;
        } else {
            self.recursive_cleared.0 &= !attribute;
        }
        self.recursive_set.0 |= attribute;
    }

    fn clear_below(&mut self, attribute: u64) {
        let bits = match attribute & libc::MOUNT_ATTR__ATIME {
            0 => attribute,
            _ => libc::MOUNT_ATTR__ATIME,
        };
        self.recursive_set.0 &= !bits;
        self.recursive_cleared.0 |= bits;
    }

    fn apply_map(&mut self, option: &str) -> std::result::Result<(), String> {
        let (word, maps) = option.split_once('=').unwrap_or_default();
        self.id_mapped = Some(if word == "ridmap" { IdMapped::All } else { IdMapped::Mount });
        self.id_maps = Some(OptionMaps::parse(maps)?);
        Ok(())
    }

    fn apply_crun_word(&mut self, word: &str) -> bool {
        let field = match word {
            "src-nofollow" => &mut self.src_nofollow,
            "dest-nofollow" => &mut self.dest_nofollow,
            "copy-symlink" => &mut self.copy_symlink,
            _ => return false,
        };
        *field = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &str) -> Result<MountOptions> {
        let options: Vec<String> = options.split_whitespace().map(str::to_owned).collect();
        parse(&options, None)
    }

    #[test]
    fn every_word_of_the_specification_is_known_once_and_sorted() {
        let names = names();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
        let spec = "async atime bind defaults dev diratime dirsync exec idmap iversion lazytime loud mand noatime \
            nodev nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow \
            private ratime rbind rdev rdiratime relatime remount rexec ridmap rnoatime rnodev rnodiratime rnoexec \
            rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave \
            rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync \
            tmpcopyup unbindable";
        assert_eq!(names, spec.split_whitespace().collect::<Vec<_>>());
    }

    #[test]
    fn no_word_reaches_the_filesystem_when_the_table_knows_it() {
        for word in names() {
            assert_eq!(of(word).unwrap().data, "", "{word}");
        }
    }

    #[test]
    fn flags_are_set_and_cleared_and_the_later_word_wins() {
        let options = of("ro nosuid rw nodev dev nodev").unwrap();
        assert_eq!(options.set.bits(), libc::MS_NOSUID | libc::MS_NODEV);
        assert_eq!(options.cleared.bits(), libc::MS_RDONLY);
        assert_eq!(of("noatime strictatime").unwrap().set.bits(), libc::MS_STRICTATIME);
        assert_eq!(of("strictatime noatime atime").unwrap().set.bits(), 0);
    }

    #[test]
    fn bind_comes_from_the_options_or_from_the_type() {
        assert_eq!(of("bind rbind").unwrap().bind, Bind::Rbind);
        assert_eq!(parse(&[], Some("bind")).unwrap().bind, Bind::Bind);
        assert_eq!(parse(&["rbind".to_owned()], Some("bind")).unwrap().bind, Bind::Rbind);
        assert_eq!(parse(&[], Some("tmpfs")).unwrap().bind, Bind::No);
    }

    #[test]
    fn the_rest_is_the_filesystems_and_a_bind_has_none() {
        assert_eq!(of("nosuid mode=755 size=64k noswap").unwrap().data, "mode=755,size=64k,noswap");
        let error = of("bind mode=755").unwrap_err().to_string();
        assert_eq!(error, "bind mounts cannot have any filesystem-specific options applied: [\"mode=755\"]");
    }

    #[test]
    fn words_of_binds_mean_nothing_elsewhere() {
        for word in ["idmap=uids=0-0-1;gids=0-0-1", "src-nofollow", "dest-nofollow", "copy-symlink"] {
            assert!(of(&format!("bind {word}")).is_ok(), "{word}");
            let error = of(word).unwrap_err().to_string();
            assert_eq!(error, format!("option {word:?} is for bind mounts"));
        }
        assert_eq!(
            of("bind ridmap=uids=0-1-2").unwrap_err().to_string(),
            "option \"ridmap=uids=0-1-2\": it needs both uids= and gids="
        );
    }

    #[test]
    fn recursive_access_times_clear_the_whole_field() {
        let options = of("rbind rro rnosuid rsuid rnoatime").unwrap();
        assert_eq!(options.recursive_set.bits(), libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOATIME);
        assert_eq!(options.recursive_cleared.bits(), libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR__ATIME);
        let relatime = of("rnoatime rrelatime").unwrap();
        assert_eq!((relatime.recursive_set.bits(), relatime.recursive_cleared.bits()), (0, 0x70));
        assert_eq!(of("rro rrw").unwrap().recursive_set.bits(), 0);
    }

    #[test]
    fn propagations_stay_in_order() {
        let options = of("rprivate shared").unwrap();
        assert_eq!(options.propagation, [Propagation::Rprivate, Propagation::Shared]);
        assert_eq!(Propagation::parse("rslave").unwrap().flags(), libc::MS_SLAVE | libc::MS_REC);
        assert_eq!(Propagation::parse("ro"), None);
    }

    #[test]
    fn options_print_as_names() {
        let options = of("rbind ro nosuid rro rnoatime rw rslave dest-nofollow").unwrap();
        let json = serde_json::to_value(&options).unwrap();
        assert_eq!(json["bind"], "rbind");
        assert_eq!(json["set"], serde_json::json!(["MS_NOSUID"]));
        assert_eq!(json["cleared"], serde_json::json!(["MS_RDONLY"]));
        assert_eq!(json["recursive_set"], serde_json::json!(["MOUNT_ATTR_RDONLY", "MOUNT_ATTR_NOATIME"]));
        assert_eq!(json["recursive_cleared"], serde_json::json!(["MOUNT_ATTR__ATIME"]));
        assert_eq!(json["propagation"], serde_json::json!(["rslave"]));
        assert_eq!(json["dest_nofollow"], true);
    }
}
