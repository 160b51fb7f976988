//! Migrations are embedded by a macro, which the compiler does not see depend on the folder: say so.

fn main() {
    println!("cargo::rerun-if-changed=../migrations");
}
