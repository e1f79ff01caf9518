//! What isolate computes before it asks the kernel for anything: reading a config, compiling a plan, compiling filters.
//! `benches/run micro`; of the config in `benches/bundle`, and of podman's seccomp profile.
#![allow(clippy::expect_used)]

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use isolate::host::{Host, probe};
use isolate::ids::ContainerId;
use isolate::oci::read;
use isolate::plan::{self, ConsoleTo, Options, Start};
use oci_spec::runtime::{LinuxSeccomp, Spec};

const CONFIG: &[u8] = include_bytes!("../bundle/config.json");
const PROFILE: &[u8] = include_bytes!("../../tests/data/seccomp/podman.json");

fn options() -> Options {
    Options {
        id: ContainerId::new("bench").expect("a name"),
        no_pivot: false,
        no_new_keyring: false,
        console: ConsoleTo::Socket,
        start: Start::OnCommand,
        close_from: 3,
        env: Vec::new(),
        notify: None,
        cgroups: true,
        cgroup_parent: None,
    }
}

fn spec() -> Spec {
    read::parse(CONFIG).expect("the config of the benchmark").spec
}

fn parsing(criterion: &mut Criterion) {
    criterion.bench_function("parse/config", |bencher| bencher.iter(|| read::parse(black_box(CONFIG))));
    criterion.bench_function("parse/probe host", |bencher| bencher.iter(probe::probe));
}

fn plans(criterion: &mut Criterion) {
    let (spec, options, host): (_, _, Host) = (spec(), options(), probe::probe().expect("a host"));
    let bundle = Path::new("/bundle");
    criterion.bench_function("plan/create", |bencher| {
        bencher.iter(|| plan::compile(black_box(&spec), bundle, &options, &host));
    });
    let process = spec.process().clone().expect("a process");
    let filter = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.seccomp().as_ref())
        .map(|config| plan::seccomp::compile(config).expect("the filter of the benchmark"));
    let joined = [plan::Namespace::Pid, plan::Namespace::Mount];
    criterion.bench_function("plan/exec", |bencher| {
        bencher.iter(|| {
            plan::compile_exec(black_box(&process), &spec, filter.clone(), &joined, &options, &host)
        });
    });
}

fn filters(criterion: &mut Criterion) {
    let config: LinuxSeccomp = serde_json::from_slice(PROFILE).expect("podman's profile");
    criterion.bench_function("filter/podman", |bencher| {
        bencher.iter(|| plan::seccomp::compile(black_box(&config)));
    });
    let spec = spec();
    let config = spec.linux().as_ref().and_then(|linux| linux.seccomp().clone()).expect("a filter");
    criterion.bench_function("filter/benchmark", |bencher| {
        bencher.iter(|| plan::seccomp::compile(black_box(&config)));
    });
}

criterion_group!(benches, parsing, plans, filters);
criterion_main!(benches);
