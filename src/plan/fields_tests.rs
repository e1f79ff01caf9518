//! Plans of what few kernels can show: labels of security modules.

use oci_spec::runtime::Spec;
use serde_json::{Value, json};

use super::{Options, Plan, Stage, Step, compile, test_host, test_options};
use crate::host::Host;
use crate::oci::default_spec::{CgroupNamespace, Rootless, default_spec_text};

fn planned(host: &Host, change: impl Fn(&mut Value)) -> Result<Plan, String> {
    let mut config: Value =
        serde_json::from_str(&default_spec_text(Rootless::No, CgroupNamespace::New)).unwrap();
    config["linux"].as_object_mut().unwrap().remove("resources");
    change(&mut config);
    let spec: Spec = serde_json::from_value(config).unwrap();
    let options = Options { cgroups: false, ..test_options() };
    compile(&spec, std::path::Path::new("/bundle"), &options, host).map_err(|error| error.to_string())
}

fn with_modules() -> Host {
    Host { apparmor: true, selinux: true, ..test_host() }
}

#[test]
fn labels_are_written_before_the_pivot() {
    let plan = planned(&with_modules(), |config| {
        config["process"]["apparmorProfile"] = json!("docker-default");
        config["process"]["selinuxLabel"] = json!("u:r:t:s0");
    });
    let plan = plan.unwrap();
    let labels = plan.steps.iter().filter_map(|planned| match &planned.step {
        Step::ExecLabel { file, label } => Some((planned.stage, file.as_str(), label.as_str())),
        _ => None,
    });
    // Only there is the host's procfs in sight, which nobody in the image can have replaced.
    let expected =
        [(Stage::Setup, "apparmor/exec", "exec docker-default"), (Stage::Setup, "exec", "u:r:t:s0")];
    assert_eq!(labels.collect::<Vec<_>>(), expected);
    let pivot = plan.steps.iter().position(|planned| planned.step == Step::Pivot).unwrap();
    let last = plan.steps.iter().rposition(|planned| matches!(planned.step, Step::ExecLabel { .. })).unwrap();
    assert!(last < pivot);
}

#[test]
fn the_label_of_mounts_is_given_as_the_annotation_says() {
    let data = |kind: Option<&str>| {
        let plan = planned(&with_modules(), |config| {
            config["linux"]["mountLabel"] = json!("u:o:t:s0:c1,c2");
            if let Some(kind) = kind {
                config["annotations"] = json!({"run.oci.mount_context_type": kind});
            }
        });
        let steps = plan.unwrap().steps;
        let mut found = steps.iter().filter_map(|planned| match &planned.step {
            Step::MountFs { fstype, data, .. } if fstype == "devpts" => Some(data.clone()),
            _ => None,
        });
        found.next().unwrap()
    };
    assert!(data(None).ends_with(",context=\"u:o:t:s0:c1,c2\""), "{}", data(None));
    for kind in ["context", "fscontext", "defcontext", "rootcontext"] {
        assert!(data(Some(kind)).ends_with(&format!(",{kind}=\"u:o:t:s0:c1,c2\"")), "{kind}");
    }
}
