//! Templates: what the root of a system is made of, as small declarative files. Pure.
//!
//! `rootfs-templates/README.md` is the format's reference; the files there are embedded here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Kind, Result};

/// The embedded templates, in the order they are listed.
const EMBEDDED: [(&str, &str); 4] = [
    ("host", include_str!("../../rootfs-templates/host.toml")),
    ("busybox", include_str!("../../rootfs-templates/busybox.toml")),
    ("debian", include_str!("../../rootfs-templates/debian.toml")),
    ("alpine", include_str!("../../rootfs-templates/alpine.toml")),
];

/// Where the tree comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RootKind {
    /// Only what the file says.
    Skeleton,
    /// And `/bin` with the host's static busybox and its links.
    Busybox,
    /// A tree that must be given.
    Source,
    /// A tree that is given or built by mmdebstrap.
    Bootstrap,
}

/// A folder to make.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// Where, absolute.
    pub path: String,
    /// Permissions.
    #[serde(default = "mode_0755", deserialize_with = "octal")]
    pub mode: u32,
}

/// A symbolic link to make.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Where, absolute.
    pub path: String,
    /// What it says.
    pub to: String,
}

/// A small file to write.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextFile {
    /// Where, absolute.
    pub path: String,
    /// Permissions.
    #[serde(default = "mode_0644", deserialize_with = "octal")]
    pub mode: u32,
    /// What is in it.
    pub text: String,
}

/// What a template cannot do without.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Needs {
    /// Programs on the PATH, all of them.
    #[serde(default)]
    pub programs: Vec<String>,
    /// The packages they come in.
    #[serde(default)]
    pub package: String,
    /// What `NAME:PATH` is to name; empty when nothing may be given.
    #[serde(default)]
    pub source: String,
}

/// What mmdebstrap builds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// The suite: `stable`, `trixie`.
    pub suite: String,
    /// The package set: `minbase`.
    pub variant: String,
}

/// One template.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Template {
    /// Version of the format: 1.
    pub format: u32,
    /// How it is called.
    pub name: String,
    /// One line for people.
    #[serde(default)]
    pub about: String,
    /// Where the tree comes from.
    pub root: RootKind,
    /// Candidates for the default command, best first.
    #[serde(default)]
    pub shell: Vec<String>,
    /// Variables of the command.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Host paths shown read-only at the same place.
    #[serde(default)]
    pub bind: Vec<String>,
    /// Host paths that become a link where the host has one, else a bind.
    #[serde(default)]
    pub follow: Vec<String>,
    /// Host paths copied if everyone may read them.
    #[serde(default)]
    pub copy: Vec<String>,
    /// The same for every path that begins so.
    #[serde(default)]
    pub copy_prefix: Vec<String>,
    /// Folders.
    #[serde(default)]
    pub directory: Vec<Directory>,
    /// Links.
    #[serde(default)]
    pub link: Vec<Link>,
    /// Files.
    #[serde(default)]
    pub file: Vec<TextFile>,
    /// What it cannot do without.
    #[serde(default)]
    pub needs: Needs,
    /// What mmdebstrap builds; only with `root = "bootstrap"`.
    pub bootstrap: Option<Bootstrap>,
}

fn mode_0755() -> u32 {
    0o755
}

fn mode_0644() -> u32 {
    0o644
}

fn octal<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let text = String::deserialize(deserializer)?;
    match u32::from_str_radix(&text, 8) {
        Ok(mode @ 0..=0o7777) => Ok(mode),
        _ => Err(serde::de::Error::custom(format!("mode {text:?} is not octal like \"0755\""))),
    }
}

/// Reads a template file's text; `place` names it in errors.
///
/// # Errors
/// TOML's own faults with their line, an unknown key, a wrong format number, a path that is not absolute.
pub fn parse(text: &str, place: &str) -> Result<Template> {
    let template: Template = toml::from_str(text)
        .map_err(|error| Error::new(error.to_string().trim_end().to_owned()).at(place))?;
    check(&template).map_err(|error| error.at(place))?;
    Ok(template)
}

fn check(template: &Template) -> Result<()> {
    if template.format != 1 {
        return Err(Error::new(format!(
            "format {} is unknown; this program reads format 1",
            template.format
        )));
    }
    if template.root == RootKind::Bootstrap && template.bootstrap.is_none() {
        return Err(Error::new("root = \"bootstrap\" needs a [bootstrap] table"));
    }
    let paths = template.directory.iter().map(|entry| &entry.path);
    let paths = paths.chain(template.link.iter().map(|entry| &entry.path));
    let paths = paths.chain(template.file.iter().map(|entry| &entry.path));
    let paths = paths.chain(
        [&template.bind, &template.follow, &template.copy, &template.copy_prefix].into_iter().flatten(),
    );
    for path in paths.chain(&template.shell) {
        let parts = Path::new(path).components();
        let climbs = parts.clone().any(|part| part == std::path::Component::ParentDir);
        if !path.starts_with('/') || climbs || path.contains('\0') || parts.count() < 2 {
            return Err(Error::new(format!("path {path:?} must be absolute, below the root and without ..")));
        }
    }
    Ok(())
}

/// The embedded templates.
///
/// # Errors
/// Only if an embedded file is wrong, which a test excludes.
pub fn embedded() -> Result<Vec<Template>> {
    EMBEDDED.iter().map(|(name, text)| parse(text, &format!("template {name}"))).collect()
}

/// A template without a file: a bare tree.
fn bare(name: &str) -> Template {
    Template {
        format: 1,
        name: name.to_owned(),
        about: String::new(),
        root: RootKind::Source,
        shell: ["/bin/bash", "/usr/bin/bash", "/bin/sh", "/usr/bin/sh"].map(str::to_owned).to_vec(),
        env: BTreeMap::new(),
        bind: vec![],
        follow: vec![],
        copy: vec![],
        copy_prefix: vec![],
        directory: vec![],
        link: vec![],
        file: vec![],
        needs: Needs::default(),
        bootstrap: None,
    }
}

/// A tree that is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An OCI image layout folder, and the image's tag in it.
    Oci(PathBuf, Option<String>),
    /// A tar file.
    Tar(PathBuf),
    /// A folder.
    Directory(PathBuf),
    /// Whatever is found there.
    Any(PathBuf),
}

impl Source {
    /// Where it lies on the host.
    pub fn path(&self) -> &Path {
        match self {
            Source::Oci(path, _) | Source::Tar(path) | Source::Directory(path) | Source::Any(path) => path,
        }
    }
}

/// What `--template` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// An embedded template or a bare tree, and the tree that goes with it.
    Known(Box<Template>, Option<Source>),
    /// A template file on the host, to be read and given to [`parse`].
    File(PathBuf),
}

/// Understands `NAME`, `NAME:PATH`, `oci:PATH[:TAG]`, `tar:PATH`, `dir:PATH`, `PATH`, `FILE.toml`.
///
/// # Errors
/// An empty path, or a name that is no template; the error lists those there are.
pub fn parse_reference(text: &str) -> Result<Reference> {
    let (name, rest) = match text.split_once(':') {
        Some((name, rest)) if !name.contains('/') => (name, Some(rest)),
        _ => (text, None),
    };
    if rest == Some("") || text.contains('\0') {
        return Err(Error::new(format!("template {text:?}: the path is empty or invalid")).kind(Kind::Usage));
    }
    let given = |name: &str, source| Ok(Reference::Known(Box::new(bare(name)), Some(source)));
    match (name, rest) {
        ("oci", Some(rest)) => {
            let (path, tag) = split_tag(rest);
            given("oci", Source::Oci(path.into(), tag))
        }
        ("tar", Some(path)) => given("tar", Source::Tar(path.into())),
        ("dir", Some(path)) => given("dir", Source::Directory(path.into())),
        (path, None) if path.contains('/') && path.ends_with(".toml") => Ok(Reference::File(path.into())),
        (path, None) if path.contains('/') => given("path", Source::Any(path.into())),
        (name, path) => named(name, path.map(|path| Source::Any(path.into()))),
    }
}

fn named(name: &str, source: Option<Source>) -> Result<Reference> {
    let mut all = embedded()?;
    let names: Vec<String> = all.iter().map(|template| template.name.clone()).collect();
    let Some(index) = names.iter().position(|known| known == name) else {
        let why = format!("no template is called {name:?}; there are {}", names.join(", "));
        return Err(Error::new(why)
            .hint("or give a tree: oci:PATH[:TAG], tar:PATH, dir:PATH, or a path with a / in it")
            .kind(Kind::Usage));
    };
    let template = all.swap_remove(index);
    if source.is_some() && template.needs.source.is_empty() {
        let why = format!("template {name:?} takes no path");
        return Err(Error::new(why).hint("use dir:PATH, tar:PATH or oci:PATH").kind(Kind::Usage));
    }
    Ok(Reference::Known(Box::new(template), source))
}

/// `PATH:TAG`; a colon before a slash belongs to the path.
fn split_tag(text: &str) -> (&str, Option<String>) {
    match text.rsplit_once(':') {
        Some((path, tag)) if !path.is_empty() && !tag.is_empty() && !tag.contains('/') => {
            (path, Some(tag.to_owned()))
        }
        _ => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedded_templates_are_valid_and_named_like_their_file() {
        let names: Vec<String> = embedded().unwrap().into_iter().map(|template| template.name).collect();
        assert_eq!(names, EMBEDDED.map(|(name, _)| name));
    }

    #[test]
    fn the_host_template_copies_no_secret() {
        let host = embedded().unwrap().swap_remove(0);
        for secret in
            ["/etc/shadow", "/etc/gshadow", "/etc/ssh", "/etc/machine-id", "/etc/ssl/private", "/etc/passwd"]
        {
            let copied = host.copy.iter().any(|path| Path::new(secret).starts_with(path));
            assert!(!copied, "{secret}");
        }
    }

    fn source(text: &str) -> Source {
        match parse_reference(text).unwrap() {
            Reference::Known(_, Some(source)) => source,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn references_name_a_template_a_tree_or_both() {
        assert!(matches!(parse_reference("host").unwrap(), Reference::Known(t, None) if t.name == "host"));
        assert_eq!(source("oci:/a:b/img:v1"), Source::Oci("/a:b/img".into(), Some("v1".into())));
        assert_eq!(source("oci:/a:b/img"), Source::Oci("/a:b/img".into(), None));
        assert_eq!(source("tar:x.tar"), Source::Tar("x.tar".into()));
        assert_eq!(source("dir:x"), Source::Directory("x".into()));
        assert_eq!(source("./x"), Source::Any("./x".into()));
        assert_eq!(source("alpine:x.tgz"), Source::Any("x.tgz".into()));
        assert_eq!(parse_reference("./x.toml").unwrap(), Reference::File("./x.toml".into()));
    }

    #[test]
    fn unknown_names_list_what_there_is() {
        let text = parse_reference("fedora").unwrap_err().to_string();
        assert!(
            text.starts_with("no template is called \"fedora\"; there are host, busybox, debian, alpine"),
            "{text}"
        );
        for bad in ["", "oci:", "host:/x", "tar:", "dir:\0"] {
            assert!(parse_reference(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn faulty_files_are_refused_with_their_place() {
        let base = "format = 1\nname = \"x\"\nroot = \"skeleton\"\n";
        for bad in [
            "color = 1",
            "bind = [\"usr\"]",
            "copy = [\"/etc/../x\"]",
            "bind = [\"/\"]",
            "root = 2",
            "shell = [\"sh\"]",
        ] {
            let error = parse(&format!("{base}{bad}\n"), "my.toml").unwrap_err().to_string();
            assert!(error.starts_with("my.toml: "), "{error}");
        }
        assert!(parse("format = 2\nname=\"x\"\nroot=\"skeleton\"", "x").is_err());
        assert!(parse("format = 1\nname=\"x\"\nroot=\"bootstrap\"", "x").is_err());
        let bad_mode = format!("{base}[[directory]]\npath=\"/a\"\nmode=\"0999\"\n");
        assert!(parse(&bad_mode, "x").is_err());
    }
}
