//! A container registry on this machine's loopback, Debian's docker-registry, and an image to put into it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::child::{self, eventually};
use super::estate::Estate;
use super::runner::skip;

/// A registry on a free port of the loopback; it ends with the value.
pub struct Registry {
    child: Child,
    port: u16,
}

impl Registry {
    /// Starts one; what it keeps is in the estate's folder.
    pub fn start(estate: &Estate) -> Registry {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = estate.folder.join("registry.yml");
        let store = estate.folder.join("registry");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {store:?}}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n"
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let registry = Registry { child, port };
        eventually("the registry listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        registry
    }

    /// Puts a docker archive into it; the image's name, as `template pull` takes it.
    pub fn push(&self, archive: &Path) -> String {
        let image = format!("docker://127.0.0.1:{}/web:1", self.port);
        let archive = format!("docker-archive:{}", archive.display());
        let mut push = Command::new("skopeo");
        child::run(push.args(["copy", "--dest-tls-verify=false", &archive, &image])).ok();
        image
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A docker archive, as `docker save` writes it, with a busybox in it.
pub fn archive(estate: &Estate) -> PathBuf {
    let folder = estate.folder.join("image");
    fs::create_dir_all(folder.join("root/bin")).unwrap();
    fs::create_dir_all(folder.join("root/etc")).unwrap();
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from);
    let busybox = busybox.iter().find(|path| path.exists()).expect("there is a busybox");
    fs::copy(busybox, folder.join("root/bin/busybox")).unwrap();
    for name in ["sh", "sleep", "cat", "echo"] {
        std::os::unix::fs::symlink("busybox", folder.join("root/bin").join(name)).unwrap();
    }
    fs::write(folder.join("root/etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    let sh = |script: &str| {
        child::run(Command::new("sh").args(["-ec", script]).current_dir(&folder)).ok().text().to_owned()
    };
    let digest = sh("tar -C root -cf layer.tar . && sha256sum layer.tar | cut -d' ' -f1");
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Cmd": ["/bin/sh", "-c", "echo from $WHERE > /mark; exec sleep 1000"], "Env": ["WHERE=image"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let manifest =
        serde_json::json!([{"Config": "config.json", "RepoTags": ["web:1"], "Layers": ["layer.tar"]}]);
    fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    sh("tar -cf ../image.tar manifest.json config.json layer.tar");
    estate.folder.join("image.tar")
}

/// skopeo with a policy of the test's, since a host may have none.
pub fn needs_a_policy() {
    if !["/etc/containers/policy.json"].iter().any(|path| fs::exists(path).unwrap_or(false)) {
        skip("skopeo has no /etc/containers/policy.json (package golang-github-containers-common)");
    }
}
