//! `isolate tenant export`, `import` and `verify`. The runtime process, with the caller's privilege.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};

use super::{table, targets};
use crate::cli::{arg, print};
use crate::error::{Explain, Result};
use crate::tenant::estate::Estate;
use crate::tenant::keys::KEYS;
use crate::tenant::measure::Unit;
use crate::tenant::name::Name;
use crate::tenant::parcel::{self, Parcel};
use crate::tenant::{lock, look, snapshots};

const EXPORT_EXAMPLES: &str = "Examples:
    isolate tenant export web1
  A snapshot, elsewhere:
    isolate tenant export web1 /srv/backup/web1-monday.tar.zst --snapshot monday

The tenant may run: what is packed is its disk at one moment. Beside the file its digest is written, in FILE.sha256.
The template is not in it: where it is imported the same template has to be.";

const IMPORT_EXAMPLES: &str = "Examples:
    isolate tenant import web1.tar.zst
  Under another name, on a disk of another size:
    isolate tenant import web1.tar.zst web2 --disk 1G";

const VERIFY_EXAMPLES: &str = "Examples:
    isolate tenant verify web1.tar.zst
    isolate tenant verify --json web1.tar.zst | jq -r .parcel.manifest.exported";

fn file() -> Arg {
    Arg::new("file")
        .value_name("FILE")
        .required(true)
        .value_parser(value_parser!(PathBuf))
        .help("The file of export")
}

fn read_file(matches: &ArgMatches) -> PathBuf {
    matches.get_one::<PathBuf>("file").cloned().unwrap_or_default()
}

/// The parser of `export`.
pub fn command() -> Command {
    Command::new("export")
        .about("Pack a tenant into one file, with its settings and a checksum")
        .arg(targets::name())
        .arg(file().required(false).help("The new file [default: NAME.tar.zst]"))
        .arg(arg::value("snapshot", "SNAPSHOT", "Its state in a snapshot, instead of now"))
        .arg(table::json_flag())
        .after_help(EXPORT_EXAMPLES)
}

/// Packs it.
///
/// # Errors
/// As [`parcel::export`].
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let name = targets::read_name(matches)?;
    let doing = || format!("cannot export tenant '{name}'");
    estate.tenant(&name).doing(doing)?;
    let _lock = lock::take(&estate.folder(&name), "export", estate.lock_wait).doing(doing)?;
    let tenant = estate.tenant(&name).doing(doing)?;
    let snapshot = arg::text(matches, "snapshot").map(|name| snapshots::find(&tenant, &Name::new(name)?));
    let snapshot = snapshot.transpose().doing(doing)?;
    let given = matches.get_one::<PathBuf>("file").cloned();
    let file = given.unwrap_or_else(|| PathBuf::from(format!("{name}.tar.zst")));
    let packed = parcel::export(estate, &tenant, snapshot.as_ref(), &file).doing(doing)?;
    show(matches, &packed, &file.display().to_string())
}

/// The parser of `import`.
pub fn import_command() -> Command {
    Command::new("import")
        .about("Make a tenant of an exported one")
        .arg(file())
        .arg(Arg::new("name").value_name("NAME").help("Its name [default: the one it had]"))
        .args(KEYS.iter().map(|key| arg::value(key.name, key.value, key.help)))
        .arg(table::json_flag())
        .after_help(IMPORT_EXAMPLES)
}

/// Unpacks it.
///
/// # Errors
/// As [`parcel::import`].
pub fn run_import(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let file = read_file(matches);
    let name = arg::text(matches, "name").map(Name::new).transpose()?;
    let settings = KEYS.iter().filter_map(|key| Some((key.name.to_owned(), arg::text(matches, key.name)?)));
    let settings: Vec<(String, String)> = settings.collect();
    let imported = parcel::import(estate, &file, name, &settings);
    let tenant = imported.doing(|| format!("cannot import {file:?}"))?;
    if matches.get_flag("json") {
        return print(table::versioned("tenant", &look::view(estate, &tenant.name)?)?);
    }
    let ids = tenant.config.first_id.map(|first| format!("  ids {first}+65536")).unwrap_or_default();
    print(format_args!("{}  {}{ids}", tenant.name, look::mode_word(tenant.config.boot.mode)))
}

/// The parser of `verify`.
pub fn verify_command() -> Command {
    Command::new("verify")
        .about("Check an exported tenant: its digest, and that all of it can be read")
        .arg(file())
        .arg(table::json_flag())
        .after_help(VERIFY_EXAMPLES)
}

/// Checks it.
///
/// # Errors
/// As [`parcel::verify`].
pub fn run_verify(matches: &ArgMatches, _estate: &Estate) -> Result<i32> {
    let file = read_file(matches);
    let found = parcel::verify(&file).doing(|| format!("cannot verify {file:?}"))?;
    show(matches, &found, &file.display().to_string())
}

fn show(matches: &ArgMatches, parcel: &Parcel, file: &str) -> Result<i32> {
    if matches.get_flag("json") {
        return print(table::versioned("parcel", parcel)?);
    }
    let name = &parcel.manifest.name;
    print(format_args!(
        "{file}  tenant {name}  {}  sha256:{}",
        Unit::Bytes.shown(parcel.bytes),
        parcel.sha256
    ))
}
