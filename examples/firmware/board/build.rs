//! Tells the linker where memory.x and device.x are.

fn main() {
    let folder = env!("CARGO_MANIFEST_DIR");
    // The first of its name that is found counts.
    if std::env::var_os("CARGO_FEATURE_LARGE").is_some() {
        println!("cargo:rustc-link-search={folder}/large");
    }
    println!("cargo:rustc-link-search={folder}");
    for file in ["memory.x", "large/memory.x", "device.x"] {
        println!("cargo:rerun-if-changed={file}");
    }
}
