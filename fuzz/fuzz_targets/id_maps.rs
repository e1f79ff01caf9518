//! Any id maps, through the whole of planning: they end in the plan as they are, or in an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fn map(lines: &[(u32, u32, u32)]) -> Value {
    lines
        .iter()
        .take(400)
        .map(|(inside, outside, size)| json!({"containerID": inside, "hostID": outside, "size": size}))
        .collect()
}

fuzz_target!(|input: (Vec<(u32, u32, u32)>, Vec<(u32, u32, u32)>, u32, u32, Vec<u32>, u8)| {
    let (uids, gids, uid, gid, groups, kind) = input;
    let config = json!({
        "ociVersion": "1.0.2", "root": {"path": "rootfs"},
        "process": {"user": {"uid": uid, "gid": gid, "additionalGids": groups}, "args": ["/bin/true"], "cwd": "/"},
        "mounts": [{"destination": "/data", "type": "bind", "source": "/srv", "options": ["bind", "idmap"],
                    "uidMappings": map(&gids), "gidMappings": map(&uids)}],
        "linux": {"namespaces": [{"type": "user"}, {"type": "mount"}, {"type": "pid"}],
                  "uidMappings": map(&uids), "gidMappings": map(&gids)}
    });
    isolate_fuzz::plan(config.to_string().as_bytes(), &isolate_fuzz::host(kind));
});
