//! Images of an OCI image layout folder: the manifest is found, its digests checked, its layers unpacked.
//!
//! The runtime process, with the caller's privilege. The folder is hostile: a digest must look like one
//! before it becomes a path, JSON is read up to 4 MiB, every blob must have the size and SHA-256 that the
//! descriptor above it says.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType};
use pathrs::Root;
use pathrs::flags::OpenFlags;
use serde::de::DeserializeOwned;

use crate::error::{Call, Error, Explain, Result};
use crate::tenant::archive::{Digested, decompress};
use crate::tenant::rootfs::{Rootfs, fault};
use crate::tenant::unpack::{Layer, LeftOut, Space, Watch, unpack};

/// The most JSON that is read of one blob (the image-spec asks registries for 4 MiB).
const JSON: u64 = 4 << 20;

/// How many indexes may lie in each other.
const DEPTH: usize = 4;

/// What an image says of its process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Defaults {
    /// `Env`.
    pub env: Vec<String>,
    /// `Entrypoint` and `Cmd`.
    pub command: Vec<String>,
    /// `WorkingDir`.
    pub workdir: Option<String>,
    /// `User`.
    pub user: Option<String>,
}

/// A layout folder.
pub struct Layout {
    root: Root,
}

impl Layout {
    /// Opens the folder.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Layout> {
        Ok(Layout { root: Root::open(path).map_err(|error| fault("open", path, &error))? })
    }

    /// Unpacks the image called `tag` (or the only one), and gives what it says of its process.
    ///
    /// # Errors
    /// No such image, an image for another machine, a wrong digest, a hostile layer.
    pub fn unpack(
        &self,
        tag: Option<&str>,
        rootfs: &mut Rootfs,
        space: &mut Space,
        watch: &mut Watch<'_>,
    ) -> Result<(Defaults, LeftOut)> {
        let manifest: ImageManifest = self.json(&self.find(tag)?)?;
        let config: ImageConfiguration = self.json(manifest.config())?;
        let mut left_out = LeftOut::default();
        for layer in manifest.layers() {
            let digest = layer.digest().to_string();
            let more = self.layer(layer, rootfs, space, watch).at(|| format!("layer {digest}"))?;
            left_out.devices += more.devices;
            left_out.unknown += more.unknown;
        }
        Ok((defaults(&config), left_out))
    }

    fn layer(
        &self,
        layer: &Descriptor,
        rootfs: &mut Rootfs,
        space: &mut Space,
        watch: &mut Watch<'_>,
    ) -> Result<LeftOut> {
        // What the media type says of the compression is checked by looking: the digest covers either.
        if layer.media_type().to_string().contains("encrypted") {
            return Err(Error::new("encrypted layers are not supported"));
        }
        let mut blob = Digested::new(self.blob(layer)?);
        let left_out = unpack(decompress(&mut blob)?, Layer::Image, rootfs, space, watch)?;
        blob.verify(layer.digest().as_ref(), layer.size())?;
        Ok(left_out)
    }

    /// The descriptor of the manifest.
    fn find(&self, tag: Option<&str>) -> Result<Descriptor> {
        let place = Path::new("index.json");
        let index = self.root.open_subpath(place, OpenFlags::O_RDONLY | OpenFlags::O_NONBLOCK);
        let index = index.map_err(|error| {
            fault("openat2", place, &error)
                .hint("an OCI image layout is a folder with index.json, as skopeo copy … oci:DIR makes")
        })?;
        let mut index: ImageIndex = parse(index, "index.json")?;
        for _ in 0..DEPTH {
            let found = choose(&index, tag)?;
            match found.media_type() {
                MediaType::ImageIndex => index = self.json(&found)?,
                _ => return Ok(found),
            }
        }
        Err(Error::new("the image's indexes lie in each other too deep"))
    }

    fn json<T: DeserializeOwned>(&self, descriptor: &Descriptor) -> Result<T> {
        let digest = descriptor.digest().to_string();
        if descriptor.size() > JSON {
            return Err(Error::new(format!(
                "blob {digest} is too large for JSON ({} bytes)",
                descriptor.size()
            )));
        }
        let mut bytes = vec![];
        self.blob(descriptor)?.take(JSON + 1).read_to_end(&mut bytes).call(|| format!("read({digest:?})"))?;
        Digested::new(&bytes[..]).verify(&digest, descriptor.size()).at(|| format!("blob {digest}"))?;
        parse(&bytes[..], &digest)
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<File> {
        let digest = descriptor.digest().to_string();
        let hex = digest.strip_prefix("sha256:").filter(|hex| hex.len() == 64);
        let hex = hex.filter(|hex| hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
        let hex = hex.ok_or_else(|| Error::new(format!("digest {digest:?} is not a SHA-256 one")))?;
        let path = Path::new("blobs/sha256").join(hex);
        let file = self.root.open_subpath(&path, OpenFlags::O_RDONLY | OpenFlags::O_NONBLOCK);
        let file = file.map_err(|error| fault("openat2", &path, &error))?;
        match file.metadata().call(|| format!("fstat({path:?})"))?.is_file() {
            true => Ok(file),
            false => Err(Error::new(format!("blob {digest} is not a regular file"))),
        }
    }
}

fn parse<T: DeserializeOwned>(reader: impl Read, name: &str) -> Result<T> {
    serde_json::from_reader(reader.take(JSON)).map_err(|error| Error::new(error.to_string()).at(name))
}

const NAME: &str = "org.opencontainers.image.ref.name";

/// The one descriptor that is meant: by tag, by machine, or because there is no other.
fn choose(index: &ImageIndex, tag: Option<&str>) -> Result<Descriptor> {
    let name = |descriptor: &Descriptor| descriptor.annotations().as_ref()?.get(NAME).cloned();
    let matches = |descriptor: &&Descriptor| match (tag, name(descriptor)) {
        // Nested indexes carry machines, not names.
        (_, None) => true,
        (None, Some(_)) => true,
        (Some(tag), Some(name)) => tag == name,
    };
    let mut found: Vec<&Descriptor> = index.manifests().iter().filter(matches).collect();
    if tag.is_some() && found.iter().any(|descriptor| name(descriptor).is_some()) {
        found.retain(|descriptor| name(descriptor).is_some());
    }
    if found.iter().any(|descriptor| descriptor.platform().is_some()) {
        found.retain(|descriptor| descriptor.platform().as_ref().is_some_and(is_ours));
    }
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        _ => Err(choice_fault(index, tag, found.len())),
    }
}

fn is_ours(platform: &oci_spec::image::Platform) -> bool {
    let machine = oci_spec::image::Arch::default();
    *platform.architecture() == machine && platform.os().to_string() == "linux"
}

fn choice_fault(index: &ImageIndex, tag: Option<&str>, found: usize) -> Error {
    let names = index.manifests().iter().filter_map(|one| one.annotations().as_ref()?.get(NAME));
    let names: Vec<&str> = names.map(String::as_str).collect();
    let why = match (tag, found) {
        (Some(tag), 0) => format!("no image {tag:?} for this machine is in the layout"),
        (None, 0) => "no image for this machine is in the layout".to_owned(),
        (_, found) => format!("{found} images are in the layout"),
    };
    match names.is_empty() {
        true => Error::new(why),
        false => Error::new(why).hint(format!("name one with oci:PATH:TAG; there are {}", names.join(", "))),
    }
}

fn defaults(config: &ImageConfiguration) -> Defaults {
    let Some(config) = config.config() else { return Defaults::default() };
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    Defaults {
        env: list(config.env()).into_iter().filter(|variable| variable.contains('=')).collect(),
        command: [list(config.entrypoint()), list(config.cmd())].concat(),
        workdir: text(config.working_dir()).filter(|path| path.starts_with('/')),
        user: text(config.user()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::rootfs::Owners;
    use serde_json::{Value, json};
    use sha2::{Digest, Sha256};
    use std::fs;

    fn blob(layout: &Path, bytes: &[u8], media: &str) -> Value {
        let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let folder = layout.join("blobs/sha256");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(&hex), bytes).unwrap();
        json!({"mediaType": media, "digest": format!("sha256:{hex}"), "size": bytes.len()})
    }

    /// A layout with one image of one file, called `v1`.
    fn layout() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut tar = tar::Builder::new(vec![]);
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, "etc/hi", &b"hi"[..]).unwrap();
        let at = folder.path();
        let layer = blob(at, &tar.into_inner().unwrap(), "application/vnd.oci.image.layer.v1.tar");
        let config = json!({"architecture": oci_spec::image::Arch::default().to_string(), "os": "linux",
            "config": {"Env": ["A=1", "bad"], "Cmd": ["/x"], "Entrypoint": ["/e"], "WorkingDir": "/w", "User": "web"},
            "rootfs": {"type": "layers", "diff_ids": []}, "history": []});
        let config = blob(at, config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
        let mut manifest =
            blob(at, manifest.to_string().as_bytes(), "application/vnd.oci.image.manifest.v1+json");
        manifest["annotations"] = json!({NAME: "v1"});
        fs::write(at.join("index.json"), json!({"schemaVersion": 2, "manifests": [manifest]}).to_string())
            .unwrap();
        folder
    }

    fn unpack_to(layout: &Path, tag: Option<&str>) -> Result<(tempfile::TempDir, Defaults)> {
        let root = tempfile::tempdir().unwrap();
        let mut rootfs = Rootfs::open(root.path(), Owners::Caller)?;
        let mut space = Space { bytes: 1 << 20, files: 100 };
        let (defaults, _) = Layout::open(layout)?.unpack(tag, &mut rootfs, &mut space, &mut |_, _| Ok(()))?;
        rootfs.finish()?;
        Ok((root, defaults))
    }

    #[test]
    fn an_image_is_found_by_tag_or_alone() {
        let layout = layout();
        for tag in [None, Some("v1")] {
            let (root, defaults) = unpack_to(layout.path(), tag).unwrap();
            assert_eq!(fs::read_to_string(root.path().join("etc/hi")).unwrap(), "hi");
            assert_eq!(
                (defaults.env, defaults.command),
                (vec!["A=1".into()], vec!["/e".into(), "/x".into()])
            );
        }
        let text = unpack_to(layout.path(), Some("v2")).unwrap_err().to_string();
        assert!(text.contains("no image \"v2\"") && text.contains("there are v1"), "{text}");
    }

    #[test]
    fn a_blob_that_was_changed_is_refused() {
        for index in 0..3 {
            let layout = layout();
            let blobs = fs::read_dir(layout.path().join("blobs/sha256")).unwrap();
            let mut blobs: Vec<_> = blobs.map(|entry| entry.unwrap().path()).collect();
            blobs.sort();
            let mut bytes = fs::read(&blobs[index]).unwrap();
            let last = bytes.len() - 2;
            bytes[last] ^= 1;
            fs::write(&blobs[index], bytes).unwrap();
            assert!(unpack_to(layout.path(), None).is_err(), "{index}");
        }
    }

    #[test]
    fn a_digest_that_is_a_path_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for digest in ["sha256:../../../../etc/passwd", "sha512:00", "x"] {
            let index = json!({"schemaVersion": 2, "manifests": [
                {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1}]});
            fs::write(folder.path().join("index.json"), index.to_string()).unwrap();
            assert!(unpack_to(folder.path(), None).is_err(), "{digest}");
        }
    }
}
