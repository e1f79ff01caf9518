//! Names the place where the kernel enters the program: `src/sys/entry.rs` says why it is not the usual one.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64") {
        println!("cargo:rustc-link-arg-bin=isolate=-Wl,-e,isolate_entry");
    }
}
