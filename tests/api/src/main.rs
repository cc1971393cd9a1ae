//! Prints the public API of the library alone, item by item, as `docs/public-api.txt` has it.
//!
//! It reads what rustdoc writes as JSON, whose format belongs to one version of the compiler. So the
//! first line names the compiler, and `tests/run.sh` compares only what the same one made.

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    let manifest: PathBuf =
        std::env::args_os().nth(1).ok_or("usage: pagekeep-api CARGO_TOML")?.into();
    let target = manifest.with_file_name("target").join("api");
    let json = rustdoc_json::Builder::default()
        .manifest_path(&manifest)
        .target_dir(target)
        .no_default_features(true)
        .silent(true)
        .build()?;
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()?;
    let compiler = Command::new("rustc").arg("--version").output()?;
    println!("# {}", String::from_utf8(compiler.stdout)?.trim());
    println!("{api}");
    Ok(())
}
