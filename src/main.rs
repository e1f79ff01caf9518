//! The program `isolate`: arguments in, exit code out.

fn main() {
    let code = isolate::cli::main(std::env::args_os().skip(1));
    std::process::exit(code)
}
