//! `try_bundle [OPTIONS OF isolate try] [-- COMMAND]`: prepares the bundle that `isolate try` would run, runs it
//! with the OCI runtime named by `$RUNTIME` (default: runc), and removes it. For comparing runtimes on the
//! same bundle. With `KEEP_BUNDLE=1` the bundle's path is printed, and removed when standard input ends.

use std::io::Read;
use std::process::Command;

use isolate::cgroup::layout::{Hierarchy, Layout, Version};
use isolate::container::{CgroupManager, Runtime};
use isolate::error::Result;
use isolate::host::Host;
use isolate::tenant::prepare::{self, Request};
use isolate::tenant::settings::{self, Limit, Settings};
use isolate::tenant::spec::Terminal;
use isolate::tenant::{remove, workspace::Workspace};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // The program calls itself as `try --remove-tree PATH`.
    let result = match arguments.as_slice() {
        [name, worker, path] if name == "try" && *worker == format!("--{}", remove::WORKER) => {
            remove::work(path.as_ref()).map(|()| 0)
        }
        _ => run(arguments),
    };
    std::process::exit(result.unwrap_or_else(|error| {
        eprintln!("try_bundle: {error}");
        1
    }));
}

/// The facts that matter to a template, looked up simply; the program itself uses its probe.
fn host() -> Host {
    let uid = nix::unistd::geteuid().as_raw();
    let name =
        nix::unistd::User::from_uid(uid.into()).ok().flatten().map(|user| user.name).unwrap_or_default();
    let subids = |path: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let own: Vec<&str> = text.lines().filter(|line| line.starts_with(&format!("{name}:"))).collect();
        isolate::tenant::ids::parse_subids(&own.join("\n"))
    };
    let names = ["cpu", "memory", "pids"];
    let hierarchies = names.map(|name| Hierarchy {
        version: Version::V1,
        controllers: vec![name.to_owned()],
        mount_point: format!("/sys/fs/cgroup/{name}").into(),
        own: "/".into(),
    });
    Host {
        kernel: (6, 1),
        uid,
        gid: nix::unistd::getegid().as_raw(),
        initial_user_namespace: true,
        privileged: uid == 0,
        sys_admin: uid == 0,
        subuids: subids("/etc/subuid"),
        subgids: subids("/etc/subgid"),
        newidmap: std::path::Path::new("/usr/bin/newuidmap").exists(),
        cgroups: Layout { hierarchies: hierarchies.to_vec() },
        apparmor: false,
        selinux: false,
        namespaces: vec![],
    }
}

fn run(arguments: Vec<String>) -> Result<i32> {
    let matches =
        isolate::cli::try_::command().get_matches_from(std::iter::once("try".to_owned()).chain(arguments));
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let command = matches.get_many::<String>("command").into_iter().flatten().cloned().collect();
    let settings = Settings {
        command,
        net: settings::parse_net(&text("net").unwrap_or_default())?,
        memory: text("memory").map_or(Ok(Limit::Default), |memory| settings::parse_memory(&memory))?,
        user: text("user").map(|user| settings::parse_user(&user)).transpose()?,
        binds: matches
            .get_many::<String>("bind")
            .into_iter()
            .flatten()
            .map(|bind| settings::parse_bind(bind))
            .collect::<Result<_>>()?,
        ..Settings::default()
    };
    let (template, source) = prepare::find_template(&text("template").unwrap_or_default())?;
    let runtime =
        Runtime { root: "/run/none".into(), cgroup_manager: CgroupManager::Cgroupfs, rootless: None };
    let host = host();
    let workspace = Workspace::claim(&host, &|_| Ok(()))?;
    let request = Request {
        settings: &settings,
        template: &template,
        source: source.as_ref(),
        host: &host,
        runtime: &runtime,
        terminal: Terminal::None,
    };
    let start = std::time::Instant::now();
    for warning in prepare::prepare(&request, &workspace, &mut |_, _| Ok(()))? {
        eprintln!("warning: {warning}");
    }
    eprintln!("prepared in {:?}", start.elapsed());
    let code = drive(&workspace);
    let start = std::time::Instant::now();
    workspace.remove()?;
    eprintln!("removed in {:?}", start.elapsed());
    Ok(code)
}

fn drive(workspace: &Workspace) -> i32 {
    if std::env::var_os("KEEP_BUNDLE").is_some() {
        println!("{}", workspace.path().display());
        let _ = std::io::stdin().read_to_end(&mut vec![]);
        return 0;
    }
    let runtime = std::env::var("RUNTIME").unwrap_or_else(|_| "runc".to_owned());
    let mut words = runtime.split(' ');
    let mut command = Command::new(words.next().unwrap_or("runc"));
    let command =
        command.args(words).arg("run").arg("--bundle").arg(workspace.path()).arg(workspace.id().as_str());
    match command.status() {
        Ok(status) => status.code().unwrap_or(1),
        Err(error) => {
            eprintln!("{runtime}: {error}");
            1
        }
    }
}
