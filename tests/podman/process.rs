//! What the options of `run` make of the program: its user, folder, environment, limits, its place as pid 1.

use std::fs;

use crate::engine::*;
use crate::support::child;
use crate::tests;

tests![
    workdir_is_where_the_program_starts,
    env_and_env_file_reach_the_program,
    the_environment_of_podman_does_not_reach_the_program,
    user_by_number_is_the_programs_user,
    user_by_name_takes_the_image_s_ids_and_home,
    group_add_adds_a_supplementary_group,
    ulimit_limits_the_program,
    init_makes_an_init_the_first_process_and_it_reaps,
    the_program_is_pid_1_without_init,
    umask_is_the_programs_umask,
    oom_score_adj_is_the_programs,
    entrypoint_comes_before_the_arguments,
    hostname_is_the_programs,
    preserved_descriptors_reach_the_program,
    the_program_has_no_descriptor_of_the_runtime,
];

fn workdir_is_where_the_program_starts() {
    assert_eq!(sh(&["--workdir", "/tmp"], "pwd"), "/tmp");
}

fn env_and_env_file_reach_the_program() {
    let file = folder().join("env-file");
    fs::write(&file, "FROM_FILE=two words\n").unwrap();
    let options = ["--env", "GIVEN=a=b", "--env-file", file.to_str().unwrap()];
    assert_eq!(sh(&options, "echo $GIVEN/$FROM_FILE/$container"), "a=b/two words/podman");
}

fn the_environment_of_podman_does_not_reach_the_program() {
    let mut command = run_command(&[], &["env"]);
    let output = child::run(command.env("ISOLATE_TEST_SECRET", "1")).ok();
    assert!(!output.stdout.contains("SECRET") && output.stdout.contains("PATH="), "{output}");
}

fn user_by_number_is_the_programs_user() {
    assert_eq!(sh(&["--user", "123:456"], "id -u; id -g; id -G"), "123\n456\n456");
    assert_eq!(
        sh(&["--user", "123"], "grep -E '^[UG]id' /proc/self/status | tr '\\t' ' '"),
        "Uid: 123 123 123 123\nGid: 0 0 0 0"
    );
}

fn user_by_name_takes_the_image_s_ids_and_home() {
    assert_eq!(sh(&["--user", "user"], "id -u; id -g; echo $HOME"), "1000\n1000\n/home");
}

fn group_add_adds_a_supplementary_group() {
    let groups = sh(&["--group-add", "77", "--user", "123:456"], "id -G");
    assert!(groups.split(' ').any(|group| group == "77"), "{groups}");
}

fn ulimit_limits_the_program() {
    // One --ulimit makes podman forget the configured ones, and ask for more processes than this machine may allow.
    let options = ["--ulimit", "nofile=100:200", "--ulimit", "core=0:0", "--ulimit", "nproc=4096:4096"];
    assert_eq!(sh(&options, "ulimit -Sn; ulimit -Hn; ulimit -c"), "100\n200\n0");
}

fn init_makes_an_init_the_first_process_and_it_reaps() {
    let container = Container::sleeper(&["--init"]);
    let first = container.sh("tr '\\0' ' ' < /proc/1/cmdline");
    assert!(first.contains("init"), "{first}");
    container.sh("sh -c 'sleep 0.1 & exit 0'; sleep 0.4; ! grep -q '^State:.Z' /proc/[0-9]*/status");
}

fn the_program_is_pid_1_without_init() {
    assert_eq!(sh(&[], "echo $$"), "1");
}

fn umask_is_the_programs_umask() {
    assert_eq!(sh(&["--umask", "0077"], "umask"), "0077");
    assert_eq!(sh(&[], "umask"), "0022");
}

fn oom_score_adj_is_the_programs() {
    assert_eq!(sh(&["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj"), "500");
}

fn entrypoint_comes_before_the_arguments() {
    assert_eq!(run(&["--entrypoint", r#"["echo", "one"]"#], &["two"]).ok().text(), "one two");
}

fn hostname_is_the_programs() {
    assert_eq!(
        sh(&["--hostname", "a-name"], "hostname; cat /proc/sys/kernel/hostname; echo $HOSTNAME"),
        "a-name\na-name\na-name"
    );
}

fn preserved_descriptors_reach_the_program() {
    let file = folder().join("preserved");
    fs::write(&file, "from the host\n").unwrap();
    let inner = run_command(&["--preserve-fds", "1"], &["cat", "/proc/self/fd/3"]);
    let mut outer = std::process::Command::new("sh");
    outer.args(["-c", "file=$1; shift; exec \"$@\" 3<\"$file\"", "sh"]).arg(&file);
    outer.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        value.map(|value| outer.env(name, value));
    }
    assert_eq!(child::run(&mut outer).ok().text(), "from the host");
}

fn the_program_has_no_descriptor_of_the_runtime() {
    // ls itself opens the folder as 3.
    assert_eq!(run(&[], &["ls", "/proc/self/fd"]).ok().text(), "0\n1\n2\n3");
}
