//! Limits compiled to `linux.resources`, as far as this host can hold them. Pure.
//!
//! The rule: a limit asked for that cannot be applied is an error; a default one is applied where possible,
//! else one line says that it is not.

use serde_json::{Value, json};

use crate::cgroup::layout::Version;
use crate::error::{Error, Kind, Result};
use crate::host::Host;
use crate::tenant::settings::{DEFAULT_MEMORY, DEFAULT_PIDS, Limit, Settings};
use crate::tenant::size;

/// The period of CPU quotas in microseconds: the kernel's default.
pub(super) const PERIOD: u64 = 100_000;

/// Whether cgroups may be used at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cgroups {
    /// As the host has them.
    Host,
    /// `--cgroup-manager disabled`.
    Disabled,
}

/// `linux.resources` and what the user should know.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Limits {
    /// The object; empty when no limit is set.
    pub resources: serde_json::Map<String, Value>,
    /// Downgrades, each a sentence.
    pub warnings: Vec<String>,
}

/// Compiles the limits of `settings`.
///
/// # Errors
/// A limit that was asked for and that this host cannot hold.
pub fn compile(settings: &Settings, host: &Host, cgroups: Cgroups) -> Result<Limits> {
    let mut limits = Limits::default();
    let can = |controller: &str| check(host, cgroups, controller);
    let memory = decide(settings.memory, Some(DEFAULT_MEMORY));
    limits.set("memory", "--memory", memory, size::show_bytes, can("memory"), |n| json!({"limit": n}))?;
    let cpus = decide(settings.cpus, None);
    let show = |n| format!("{}", f64::from(n) / 1000.0);
    limits.set(
        "cpu",
        "--cpus",
        cpus,
        show,
        can("cpu"),
        |thousandths| json!({"quota": u64::from(thousandths) * PERIOD / 1000, "period": PERIOD}),
    )?;
    let pids = decide(settings.pids, Some(DEFAULT_PIDS));
    limits.set("pids", "--pids", pids, |n| n.to_string(), can("pids"), |n| json!({"limit": n}))?;
    Ok(limits)
}

/// Who wants the limit.
enum Wish<T> {
    Asked(T),
    Default(T),
}

fn decide<T>(limit: Limit<T>, default: Option<T>) -> Option<Wish<T>> {
    match limit {
        Limit::Asked(value) => Some(Wish::Asked(value)),
        Limit::Default => default.map(Wish::Default),
        Limit::None => None,
    }
}

impl Limits {
    fn set<T: Copy>(
        &mut self,
        key: &str,
        option: &str,
        wish: Option<Wish<T>>,
        show: impl Fn(T) -> String,
        possible: Result<(), String>,
        object: impl Fn(T) -> Value,
    ) -> Result<()> {
        let value = match (wish, possible) {
            (None, _) => return Ok(()),
            (Some(Wish::Asked(value) | Wish::Default(value)), Ok(())) => value,
            (Some(Wish::Default(value)), Err(why)) => {
                let limit = show(value);
                self.warnings.push(format!("the default limit {option} {limit} is not applied: {why}"));
                return Ok(());
            }
            (Some(Wish::Asked(value)), Err(why)) => {
                let limit = show(value);
                return Err(Error::new(format!("{option} {limit} cannot be applied: {why}"))
                    .hint(format!("leave {option} out to run without this limit"))
                    .kind(Kind::Unsupported));
            }
        };
        self.resources.insert(key.to_owned(), object(value));
        Ok(())
    }
}

/// Whether a limit of `controller` can be set; if not, why.
pub(super) fn check(host: &Host, cgroups: Cgroups, controller: &str) -> Result<(), String> {
    if cgroups == Cgroups::Disabled {
        return Err("cgroups are disabled by --cgroup-manager".to_owned());
    }
    let mut hierarchies = host.cgroups.hierarchies.iter();
    // cgroup-v2.rst: `cpu` and its siblings are names in one file there, v1 mounts them one by one.
    let found = hierarchies.find(|hierarchy| hierarchy.controllers.iter().any(|name| name == controller));
    match found {
        None => Err(format!("this host has no cgroup controller {controller:?}")),
        Some(_) if host.privileged => Ok(()),
        Some(hierarchy) if hierarchy.version == Version::V1 => {
            Err("cgroup v1 cannot be used without root's privilege".to_owned())
        }
        Some(hierarchy) if hierarchy.delegated.iter().any(|name| name == controller) => Ok(()),
        Some(_) => {
            Err(format!("an ordinary user has no cgroup with the controller {controller:?} delegated here"))
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cgroup::layout::{Hierarchy, Layout};

    pub(crate) fn host(privileged: bool, version: Version, controllers: &[&str]) -> Host {
        let hierarchy = Hierarchy {
            version,
            controllers: controllers.iter().map(|&name| name.to_owned()).collect(),
            mount_point: "/sys/fs/cgroup".into(),
            own: "/".into(),
            delegated: vec![],
        };
        Host {
            kernel: (6, 1),
            uid: if privileged { 0 } else { 1000 },
            gid: if privileged { 0 } else { 1000 },
            initial_user_namespace: true,
            privileged,
            sys_admin: privileged,
            subuids: vec![],
            subgids: vec![],
            newidmap: false,
            cgroups: Layout { hierarchies: vec![hierarchy] },
            apparmor: false,
            selinux: false,
            resctrl: Default::default(),
            systemd: None,
            namespaces: vec![],
        }
    }

    #[test]
    fn defaults_apply_where_the_host_has_the_controllers() {
        let host = host(true, Version::V2, &["cpu", "memory", "pids"]);
        let limits = compile(&Settings::default(), &host, Cgroups::Host).unwrap();
        let expected = json!({"memory": {"limit": 512 << 20}, "pids": {"limit": 1024}});
        assert_eq!(Value::Object(limits.resources), expected);
        assert!(limits.warnings.is_empty());
    }

    #[test]
    fn a_default_that_cannot_be_applied_is_one_line() {
        let host = host(true, Version::V1, &["memory"]);
        let limits = compile(&Settings::default(), &host, Cgroups::Host).unwrap();
        assert_eq!(
            limits.warnings,
            ["the default limit --pids 1024 is not applied: this host has no cgroup controller \"pids\""]
        );
    }

    #[test]
    fn an_ordinary_user_may_limit_by_what_is_delegated() {
        let mut host = host(false, Version::V2, &["cpu", "memory", "pids"]);
        host.cgroups.hierarchies[0].delegated = vec!["memory".to_owned()];
        assert_eq!(check(&host, Cgroups::Host, "memory"), Ok(()));
        assert!(check(&host, Cgroups::Host, "pids").is_err_and(|why| why.contains("\"pids\" delegated")));
    }

    #[test]
    fn an_asked_limit_that_cannot_be_applied_is_an_error() {
        let settings = Settings { cpus: Limit::Asked(500), ..Settings::default() };
        let error = compile(&settings, &host(false, Version::V2, &["cpu"]), Cgroups::Host).unwrap_err();
        assert!(error.to_string().starts_with("--cpus 0.5 cannot be applied: an ordinary user"), "{error}");
        let memory = Settings { memory: Limit::Asked(1 << 30), ..Settings::default() };
        let error = compile(&memory, &host(true, Version::V2, &["memory"]), Cgroups::Disabled).unwrap_err();
        assert!(
            error.to_string().starts_with("--memory 1G cannot be applied: cgroups are disabled"),
            "{error}"
        );
    }

    #[test]
    fn half_a_cpu_is_half_a_period() {
        let settings = Settings { cpus: Limit::Asked(500), ..Settings::default() };
        let limits = compile(&settings, &host(true, Version::V1, &["cpu"]), Cgroups::Host).unwrap();
        assert_eq!(limits.resources["cpu"], json!({"quota": 50_000, "period": 100_000}));
    }

    #[test]
    fn a_limit_taken_away_is_neither_applied_nor_warned_of() {
        let settings = Settings { memory: Limit::None, pids: Limit::None, ..Settings::default() };
        let limits = compile(&settings, &host(false, Version::V1, &[]), Cgroups::Host).unwrap();
        assert_eq!(limits, Limits::default());
    }
}
