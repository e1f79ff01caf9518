//! Any id maps, through the whole of planning: they end in the plan as they are, or in an error.

use serde_json::{Value, json};

fn map(lines: &[(u32, u32, u32)]) -> Value {
    lines
        .iter()
        .take(400)
        .map(|(inside, outside, size)| json!({"containerID": inside, "hostID": outside, "size": size}))
        .collect()
}

pub fn run(data: &[u8]) {
    let Some((uids, gids, uid, gid, groups, kind)) =
        isolate_fuzz::input::<(Vec<(u32, u32, u32)>, Vec<(u32, u32, u32)>, u32, u32, Vec<u32>, u8)>(data)
    else {
        return;
    };
    let config = json!({
        "ociVersion": "1.0.2", "root": {"path": "rootfs"},
        "process": {"user": {"uid": uid, "gid": gid, "additionalGids": groups}, "args": ["/bin/true"], "cwd": "/"},
        "mounts": [{"destination": "/data", "type": "bind", "source": "/srv", "options": ["bind", "idmap"],
                    "uidMappings": map(&gids), "gidMappings": map(&uids)}],
        "linux": {"namespaces": [{"type": "user"}, {"type": "mount"}, {"type": "pid"}],
                  "uidMappings": map(&uids), "gidMappings": map(&gids)}
    });
    isolate_fuzz::plan(config.to_string().as_bytes(), &isolate_fuzz::host(kind));
}
