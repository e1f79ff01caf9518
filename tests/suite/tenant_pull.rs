//! Templates out of a registry on this machine's loopback, and out of docker archives.

use std::fs;

use crate::support::child::eventually;
use crate::support::estate::Estate;
use crate::support::registry::{Registry, archive, needs_a_policy};
use crate::support::*;
use crate::tests;

tests![
    an_image_of_a_registry_becomes_a_template needs [Need::Isolate, Need::UserNamespaces, Need::Program("skopeo"), Need::Program("docker-registry")],
    a_docker_archive_becomes_a_template needs [Need::Isolate, Need::UserNamespaces, Need::Program("skopeo")],
    what_cannot_be_pulled_is_told_and_leaves_nothing needs [Need::Isolate, Need::Program("skopeo")],
];

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
    let image = registry.push(&archive(&estate));
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
