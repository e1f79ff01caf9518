//! The program `isolate`: arguments in, exit code out.

#![no_main]

isolate::program!(isolate::cli::main);
