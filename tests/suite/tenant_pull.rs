//! Templates out of a registry on this machine's loopback, and out of docker archives.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::support::child::{self, eventually};
use crate::support::estate::Estate;
use crate::support::*;
use crate::tests;

tests![
    an_image_of_a_registry_becomes_a_template needs [Need::Isolate, Need::UserNamespaces, Need::Program("skopeo"), Need::Program("docker-registry")],
    a_docker_archive_becomes_a_template needs [Need::Isolate, Need::UserNamespaces, Need::Program("skopeo")],
    what_cannot_be_pulled_is_told_and_leaves_nothing needs [Need::Isolate, Need::Program("skopeo")],
];

/// A registry on a free port of the loopback; it ends with the value.
struct Registry {
    child: Child,
    port: u16,
}

impl Registry {
    fn start(estate: &Estate) -> Registry {
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
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A docker archive, as `docker save` writes it, with a busybox in it.
fn archive(estate: &Estate) -> PathBuf {
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
fn needs_a_policy() {
    if !["/etc/containers/policy.json"].iter().any(|path| fs::exists(path).unwrap_or(false)) {
        skip("skopeo has no /etc/containers/policy.json (package golang-github-containers-common)");
    }
}

fn runs(estate: &Estate) {
    let shown = estate.t(&["template", "show", "--json", "other"]).ok().json();
    assert_eq!(shown["template"]["env"], serde_json::json!(["WHERE=image"]), "{shown}");
    estate.t(&["create", "web", "--template", "other"]).ok();
    estate.t(&["start", "web"]).ok();
    eventually("the image's command runs", || {
        estate.t(&["exec", "web", "--", "cat", "/mark"]).stdout == "from image\n"
    });
    let left = fs::read_dir(estate.data().join("templates")).unwrap().count();
    assert_eq!(left, 1, "only the template is left");
}

fn an_image_of_a_registry_becomes_a_template() {
    needs_a_policy();
    let estate = Estate::new();
    let registry = Registry::start(&estate);
    let image = format!("docker://127.0.0.1:{}/web:1", registry.port);
    let archive = format!("docker-archive:{}", archive(&estate).display());
    let mut push = Command::new("skopeo");
    push.args(["copy", "--dest-tls-verify=false", &archive, &image]);
    child::run(&mut push).ok();
    estate
        .t(&["template", "pull", "--as", "other", &image])
        .fails(1, &["cannot pull template 'other': skopeo failed", "--insecure"]);
    let said = estate.t(&["template", "pull", "--as", "other", "--insecure", &image]).ok();
    assert!(said.text().starts_with("other  ") && said.text().contains("sha256:"), "{said:?}");
    runs(&estate);
    estate
        .t(&["template", "pull", "--as", "other", "--insecure", &image])
        .fails(43, &["there is a template 'other'"]);
}

fn a_docker_archive_becomes_a_template() {
    needs_a_policy();
    let estate = Estate::new();
    let archive = format!("docker-archive:{}", archive(&estate).display());
    estate.t(&["template", "pull", "--as", "other", &archive]).ok();
    runs(&estate);
}

fn what_cannot_be_pulled_is_told_and_leaves_nothing() {
    let estate = Estate::new();
    let pull = |source: &str| estate.t(&["template", "pull", "--as", "other", source]);
    pull("dir:/etc")
        .fails(21, &["cannot pull template 'other': \"dir:/etc\" names no image", "docker://HOST/IMAGE:TAG"]);
    pull("docker-archive:/nonesuch.tar").fails(1, &["cannot pull template 'other': skopeo failed"]);
    // Nobody listens there.
    pull("docker://127.0.0.1:1/web:1").fails(1, &["skopeo failed"]);
    assert_eq!(fs::read_dir(estate.data().join("templates")).map_or(0, |entries| entries.count()), 0);
}
