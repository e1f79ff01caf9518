//! Known ways to more than was asked for: users, groups, capabilities, environment. `docs/cves.md` has the list.

use std::fs;

use serde_json::json;

use crate::support::*;
use crate::tests;

tests![
    a_numeric_user_is_never_looked_up_in_the_image,
    a_user_that_is_no_number_is_refused_whole needs [Need::Not("runc", "1.1 takes some")],
    an_id_beyond_32_bits_is_never_root needs [Need::Not("runc", "1.1 takes 2^32 for 0")],
    capabilities_are_never_inheritable_unless_configured,
    absent_capabilities_are_none,
    sixteen_bit_lengths_do_not_wrap,
    a_hook_gets_no_word_of_the_containers_environment,
    the_runtime_loads_nothing_that_the_caller_or_image_names,
    a_hook_that_is_swapped_after_create_is_not_the_containers,
];

/// Ids beside 0 need a map with many.
fn with_many_ids() -> Container {
    if config::id_maps().0[0]["size"] == 1 && config::id_maps().0.get(1).is_none() {
        skip("the caller has no subordinate ids, and the test needs a second one");
    }
    Bundle::sleeper().start()
}

fn a_numeric_user_is_never_looked_up_in_the_image() {
    // CVE-2016-3697.
    let container = with_many_ids();
    fs::write(container.bundle.rootfs().join("etc/passwd"), "1000:x:0:0:root:/root:/bin/sh\n").unwrap();
    fs::write(container.bundle.rootfs().join("etc/group"), "1000:x:0:\n").unwrap();
    let seen =
        container.exec_with(&["--user", "1000"], &["/bin/sh", "-c", "grep ^Uid /proc/self/status"]).ok();
    assert_eq!(seen.text().split_whitespace().collect::<Vec<_>>()[1..], ["1000"; 4], "{seen}");
    let seen =
        container.exec_with(&["--user", "1000:1000"], &["/bin/sh", "-c", "grep ^Gid /proc/self/status"]).ok();
    assert_eq!(seen.text().split_whitespace().collect::<Vec<_>>()[1..], ["1000"; 4], "{seen}");
}

fn a_user_that_is_no_number_is_refused_whole() {
    // CVE-2026-30892.
    let container = with_many_ids();
    assert_eq!(container.exec_with(&["--user", "1"], &["id", "-u"]).ok().text(), "1");
    assert_eq!(container.exec_with(&["--user", "1:2"], &["id", "-g"]).ok().text(), "2");
    for user in
        ["", "1:", ":1", "1x", "x", "-1", "+1", "1:2:3", "0x1", "1 ", " 1", "1:+1", "1:-1", "٣", "1\n"]
    {
        let argument = format!("--user={user}");
        let output = container.exec_with(&[&argument], &["id", "-u"]);
        assert!(output.code != 0 && output.stdout.is_empty(), "{user:?}: {output}");
    }
}

fn an_id_beyond_32_bits_is_never_root() {
    // CVE-2026-46680; (u32)-1 means "no change" to the kernel.
    let container = Bundle::sleeper().start();
    for user in
        ["4294967295", "4294967296", "18446744073709551616", "0:4294967295", "0:4294967296", "4294967296:0"]
    {
        let output = container.exec_with(&["--user", user], &["id", "-u"]);
        assert!(output.code != 0 && output.stdout.is_empty(), "{user}: {output}");
    }
    for id in [json!(4_294_967_295_u64), json!(4_294_967_296_u64), json!(-1), json!(1e20)] {
        Bundle::nothing().set("/process/user", json!({"uid": id, "gid": 0})).refused(&[]);
        Bundle::nothing().set("/process/user", json!({"uid": 0, "gid": id})).refused(&[]);
        Bundle::nothing()
            .set("/process/user", json!({"uid": 0, "gid": 0, "additionalGids": [id]}))
            .refused(&[]);
    }
}

fn capabilities_are_never_inheritable_unless_configured() {
    // CVE-2022-29162, CVE-2022-24769, CVE-2022-27650, CVE-2025-27612.
    let script = "grep -E '^Cap(Inh|Amb)' /proc/self/status | tr -d '\\t\\n'";
    let none = "CapInh:0000000000000000CapAmb:0000000000000000";
    assert_eq!(Bundle::shell(script).output(), none);
    let container = Bundle::sleeper().start();
    assert_eq!(container.sh(script), none);
    let cap = container
        .exec_with(&["--cap", "CAP_NET_RAW", "--cap", "CAP_SYS_ADMIN"], &["/bin/sh", "-c", script])
        .ok();
    assert_eq!(cap.text(), none);
}

fn absent_capabilities_are_none() {
    // youki 3434 and 3554: without the object, or without a set of it, the bounding set stayed the caller's.
    let script = "grep ^Cap /proc/self/status | tr -d '\\t\\n'";
    let zero = "0".repeat(16);
    let nothing = format!("CapInh:{zero}CapPrm:{zero}CapEff:{zero}CapBnd:{zero}CapAmb:{zero}");
    assert_eq!(Bundle::shell(script).unset("/process/capabilities").output(), nothing);
    assert_eq!(Bundle::shell(script).set("/process/capabilities", json!({})).output(), nothing);
    let bundle =
        Bundle::shell(script).set("/process/capabilities", json!({"effective": [], "permitted": []}));
    assert_eq!(bundle.output(), nothing);
}

fn sixteen_bit_lengths_do_not_wrap() {
    // CVE-2021-43784: what is longer than 64 KiB became other attributes; here it is right, or an error.
    let own = process::own_namespace("net");
    let long = format!("/{}", "x/".repeat(35_000));
    let bundle = Bundle::shell("readlink /proc/self/ns/net");
    let mount = json!({"destination": long, "type": "tmpfs", "source": "tmpfs"});
    let output = bundle.mount(mount).run();
    assert!(output.code == 1 || output.text() != own, "{output}");
    let many: Vec<u32> = (1..=20_000).collect();
    let output =
        Bundle::shell("readlink /proc/self/ns/net").set("/process/user/additionalGids", json!(many)).run();
    assert!(output.code == 1 || (output.text().starts_with("net:") && output.text() != own), "{output}");
    let value = "x".repeat(70_000);
    let output = Bundle::shell("readlink /proc/self/ns/net; echo ${#LONG}").config(|json| {
        json["process"]["env"].as_array_mut().unwrap().push(json!(format!("LONG={value}")));
    });
    let output = output.run();
    assert!(
        output.code == 1 || (output.text().ends_with("70000") && !output.text().contains(&own)),
        "{output}"
    );
    let nul = json!({"destination": "/a\u{0}b", "type": "tmpfs", "source": "tmpfs"});
    Bundle::nothing().mount(nul).refused(&[]);
}

fn a_hook_gets_no_word_of_the_containers_environment() {
    // CVE-2025-23266: all of the kinds that run outside of the container.
    let bundle = Bundle::sleeper();
    let out = bundle.host_folder("hooks");
    let hook = |name: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("env > {}/{name}", out.display())], "env": ["OWN=yes"]}]);
    let outside = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    let hooks: serde_json::Map<_, _> = outside.iter().map(|kind| ((*kind).to_owned(), hook(kind))).collect();
    let bundle = bundle.set("/hooks", json!(hooks)).config(|json| {
        json["process"]["env"].as_array_mut().unwrap().push(json!("LD_PRELOAD=/tmp/evil.so"));
    });
    let container = bundle.start();
    container.delete_by_force().ok();
    for kind in outside {
        let seen = fs::read_to_string(out.join(kind)).unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert!(seen.contains("OWN=yes") && !seen.contains("LD_PRELOAD"), "{kind}: {seen}");
    }
}

fn the_runtime_loads_nothing_that_the_caller_or_image_names() {
    // CVE-2019-14271: a tool that enters a root and loads libraries there. Ours has none to load.
    let bundle = Bundle::nothing()
        .file("/lib/x86_64-linux-gnu/libnss_files.so.2", "evil")
        .file("/etc/ld.so.preload", "/tmp/evil.so\n");
    bundle.run().ok();
    let binary = fs::read(&session().runtime).unwrap();
    let needs_a_loader = binary.windows(14).any(|window| window == b"ld-linux-x86-64");
    assert!(!session().is_isolate() || !needs_a_loader, "the binary asks for a dynamic loader");
}

fn a_hook_that_is_swapped_after_create_is_not_the_containers() {
    // CVE-2024-0132: hooks are the host's programs, by the host's paths; the same path in the root is never run.
    let bundle = Bundle::sleeper();
    let folder = bundle.host_folder("hooks");
    let mark = folder.join("hook");
    let bundle = bundle.program(mark.to_str().unwrap(), "#!/bin/sh\necho inside > /tmp/hook\n");
    child::while_nothing_is_spawned(|| {
        fs::write(&mark, "#!/bin/sh\necho outside > $(dirname $0)/ran\n").unwrap();
        fs::set_permissions(&mark, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    });
    let hook = json!([{"path": mark}]);
    let container = bundle.set("/hooks", json!({"createContainer": hook, "createRuntime": hook})).start();
    assert_eq!(fs::read_to_string(folder.join("ran")).unwrap().trim(), "outside");
    assert_eq!(container.peek("/tmp/hook"), "");
}
