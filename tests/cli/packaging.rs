//! What is in `packaging/`, as far as the tools of this machine can check it. Alert rules and
//! dashboards are compared with the metrics beside these, in `src/daemon/metrics`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::cli::Lab;

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap()
}

/// Runs a tool, if this machine has it.
fn tool(name: &str, args: &[&std::ffi::OsStr]) -> Option<Output> {
    match Command::new(name).args(args).output() {
        Ok(output) => Some(output),
        Err(e) => {
            println!("skipped: {name} is not here: {e}");
            None
        }
    }
}

/// The unit is for a path where this build is not: it is checked with the path of this one.
#[test]
fn systemd_has_nothing_to_say_about_the_unit_the_user_and_the_folders() {
    let lab = Lab::empty();
    let unit = text("packaging/systemd/pagekeep.service");
    assert_eq!(unit.matches("/usr/bin/pagekeep").count(), 1, "{unit}");
    let ours = unit.replace("/usr/bin/pagekeep", lab.binary().to_str().unwrap());
    fs::write(lab.path("pagekeep.service"), ours).unwrap();
    let unit = lab.path("pagekeep.service");
    let args = ["verify".as_ref(), "--man=no".as_ref(), unit.as_os_str()];
    if let Some(output) = tool("systemd-analyze", &args) {
        // It ends well, whatever it does not understand.
        let told = String::from_utf8_lossy(&output.stderr);
        let about: Vec<&str> = told.lines().filter(|line| line.contains("pagekeep")).collect();
        assert!(output.status.success() && about.is_empty(), "{told}");
    }
    let users = file("packaging/sysusers.d/pagekeep.conf");
    if let Some(output) = tool("systemd-sysusers", &["--dry-run".as_ref(), users.as_os_str()]) {
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !told.contains("ignoring"), "{told}");
    }
}

/// What the unit, the package and the container name is there, and the same.
#[test]
fn the_parts_of_the_packages_fit_together() {
    let unit = text("packaging/systemd/pagekeep.service");
    let user = unit.lines().find_map(|line| line.strip_prefix("User=")).unwrap();
    for other in ["packaging/sysusers.d/pagekeep.conf", "packaging/tmpfiles.d/pagekeep.conf"] {
        assert!(text(other).contains(user), "{other}");
    }
    let toolchain: toml::Table = toml::from_str(&text("rust-toolchain.toml")).unwrap();
    let channel = toolchain["toolchain"]["channel"].as_str().unwrap();
    let image = channel.rsplit_once('.').unwrap().0;
    let container = text("packaging/container/Containerfile");
    assert!(container.contains(&format!("/rust:{image}-")), "{container}");
    let manifest: toml::Table = toml::from_str(&text("Cargo.toml")).unwrap();
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().unwrap();
    assert!(assets.len() > 5);
    for asset in assets {
        let source = asset.as_array().unwrap()[0].as_str().unwrap();
        // What the build makes is not there yet.
        assert!(source.starts_with("target/") || file(source).exists(), "{source}");
    }
    let rules = text("packaging/prometheus/pagekeep.rules.yml");
    assert_eq!(rules.matches("- alert: ").count(), rules.matches("summary: ").count());
    let dashboard: serde_json::Value =
        serde_json::from_str(&text("packaging/grafana/pagekeep.json")).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 10);
}

#[test]
fn a_daemon_begins_with_the_configuration_of_the_package() {
    let lab = Lab::new();
    let example = text("packaging/debian/pagekeep.toml");
    fs::write(lab.path("pagekeep.toml"), &example).unwrap();
    let checked = lab.run(&["config", "check", "-c", "pagekeep.toml"]);
    // Its databases are nowhere here, which is a warning.
    assert_eq!(checked.code, Some(3), "{checked:?}");
    assert!(checked.stdout.contains("can be used"), "{checked:?}");
}
