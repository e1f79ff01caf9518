//! `doctor`: what commands that were killed have left, and how it is put right. The runtime process, with the caller's
//! privilege. It takes each tenant's lock, and passes over one that somebody works on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::container::{self, Status};
use crate::error::{Call, Error, Result};
use crate::tenant::death::{self, Running};
use crate::tenant::estate::{Estate, Tenant};
use crate::tenant::halt;
use crate::tenant::ids::of_caller;
use crate::tenant::lock;
use crate::tenant::look;
use crate::tenant::name::Name;
use crate::tenant::snapshots;
use crate::tenant::stock;
use crate::tenant::workspace::remove_tree;

/// What is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cure {
    /// Nothing: it is told.
    Tell,
    /// It is put right.
    Fix,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// The tenant or template, or a file.
    pub about: String,
    /// What is wrong.
    pub what: String,
    /// Whether it has been put right.
    pub fixed: bool,
    /// What is left to do by hand, or why it could not be put right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Looks at everything.
///
/// # Errors
/// A folder that cannot be read; what is wrong with a tenant is a finding.
pub fn examine(estate: &Estate, cure: Cure) -> Result<Vec<Finding>> {
    let mut doctor = Doctor { estate, cure, found: vec![] };
    for name in estate.names()? {
        doctor.tenant(&name);
    }
    doctor.imports();
    doctor.run_time()?;
    Ok(doctor.found)
}

struct Doctor<'a> {
    estate: &'a Estate,
    cure: Cure,
    found: Vec<Finding>,
}

impl Doctor<'_> {
    /// Writes a finding down, after `cure` when that is wanted.
    fn found(&mut self, about: impl ToString, what: &str, cure: impl FnOnce() -> Result<()>) {
        let mut finding =
            Finding { about: about.to_string(), what: what.to_owned(), fixed: false, hint: None };
        if self.cure == Cure::Fix {
            match cure() {
                Ok(()) => finding.fixed = true,
                Err(error) => finding.hint = Some(error.to_string()),
            }
        }
        self.found.push(finding);
    }

    /// What only its owner can put right.
    fn told(&mut self, about: impl ToString, what: String, hint: &str) {
        let hint = Some(hint.to_owned());
        self.found.push(Finding { about: about.to_string(), what, fixed: false, hint });
    }

    fn tenant(&mut self, name: &Name) {
        let estate = self.estate;
        let folder = estate.folder(name);
        let held = match lock::take(&folder, "doctor", Duration::ZERO) {
            Ok(held) => held,
            // Somebody works on it: what looks half done is being done. Or has removed it.
            Err(error) if matches!(error.get_code(), Some(9 | 14)) => return,
            Err(error) => return self.told(name, error.to_string(), "let the caller read its folder"),
        };
        if !folder.join("tenant.toml").exists() {
            drop(held);
            let remove = || death::destroy(estate, name, Running::Kill);
            return self.found(name, "a command that made or removed it was killed", remove);
        }
        let tenant = match estate.tenant(name) {
            Ok(tenant) => tenant,
            Err(error) => {
                return self.told(
                    name,
                    format!("its settings cannot be read: {error}"),
                    "put its file right",
                );
            }
        };
        self.template(&tenant);
        self.snapshots(&tenant);
        self.container(&tenant);
        self.remains(&tenant);
    }

    fn template(&mut self, tenant: &Tenant) {
        match stock::find(self.estate, &tenant.config.template.name) {
            Ok((template, _)) if template.digest == tenant.config.template.digest => {}
            Ok(_) => {
                let what = format!(
                    "template '{}' is another one than it was made from",
                    tenant.config.template.name
                );
                self.told(&tenant.name, what, "import the right one again under that name");
            }
            Err(error) => self.told(&tenant.name, error.to_string(), "import the template again"),
        }
    }

    fn snapshots(&mut self, tenant: &Tenant) {
        let estate = self.estate;
        if snapshots::is_unsettled(tenant) {
            let what = "a snapshot or rollback was killed on its way";
            self.found(&tenant.name, what, || snapshots::settle(estate, tenant));
        }
    }

    fn container(&mut self, tenant: &Tenant) {
        let estate = self.estate;
        match look::state(estate, &tenant.name) {
            // An init's keeper removes it, unless it was killed; a command has none, and nobody else looks.
            Ok(Some(state)) if state.status == Status::Stopped => {
                let forget = || halt::forget(estate, &tenant.name);
                self.found(&tenant.name, "its container has ended, and its cgroups are still there", forget);
            }
            Ok(_) => {}
            Err(error) => self.told(&tenant.name, error.to_string(), "'isolate tenant stop --kill' ends it"),
        }
    }

    /// Folders and files that a verb makes for a moment; the lock is held, so nobody needs them.
    fn remains(&mut self, tenant: &Tenant) {
        let maps = of_caller(&self.estate.host);
        for path in hidden(&tenant.folder) {
            let what = format!("{} was left by a command that was killed", shown(&path));
            self.found(&tenant.name, &what, || match path.is_dir() {
                true => remove_tree(&path, &maps),
                false => std::fs::remove_file(&path).call(|| format!("unlink({path:?})")),
            });
        }
    }

    fn imports(&mut self) {
        let estate = self.estate;
        for path in stock::unfinished(estate) {
            let what = "an import was killed on its way";
            self.found(shown(&path), what, || {
                stock::sweep(estate);
                if path.exists() { Err(Error::new("it is being imported")) } else { Ok(()) }
            });
        }
    }

    /// Containers and sockets without a tenant.
    fn run_time(&mut self) -> Result<()> {
        let estate = self.estate;
        for name in crate::tenant::estate::names_in(&estate.runtime.root)? {
            if !estate.folder(&name).is_dir() {
                let id = estate.container(&name)?;
                let remove = || container::delete(&estate.runtime, &id, true);
                self.found(&name, "a container without a tenant", remove);
            }
        }
        Ok(())
    }
}

fn shown(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn hidden(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| shown(path).starts_with('.')).collect()
}
