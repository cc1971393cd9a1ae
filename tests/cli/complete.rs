//! What shells complete, through the real binary and as the shells ask.

use std::fs;
use std::process::Command;

use crate::support::cli::{self, Ended, Lab};

/// A folder with the histories `app` and `apple pie`.
fn orchard() -> Lab {
    let lab = Lab::with_history();
    lab.ok(&["backup", "app.db", "--name", "apple pie"]);
    lab
}

/// What a shell is answered, with other variables.
fn asked(lab: &Lab, shell: &str, words: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    let mut command = lab.command(&[&["--", "pagekeep"], words].concat());
    command.env("PAGEKEEP_COMPLETE", shell).env("PAGEKEEP_BREAKS", " \t\n\"'@><=;|&(:");
    command.envs(variables.iter().copied());
    let ended = Ended::of(&mut command);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{words:?}: {ended:?}");
    ended.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn names_of_histories_are_completed() {
    let lab = orchard();
    for shell in ["bash", "fish", "zsh"] {
        let space = if shell == "bash" { "apple\\ pie" } else { "apple pie" };
        for command in [
            "log", "find", "trace", "coverage", "show", "restore", "verify", "label", "prune",
            "undelete", "status",
        ] {
            assert_eq!(
                asked(&lab, shell, &[command, "ap"], &[]),
                ["app", space],
                "{shell} {command}"
            );
            assert_eq!(
                asked(&lab, shell, &[command, ""], &[]),
                ["app", space],
                "{shell} {command}"
            );
        }
        assert_eq!(asked(&lab, shell, &["hold", "add", "appl"], &[]), [space], "{shell}");
        assert_eq!(asked(&lab, shell, &["backup", "app.db", "--name", "appl"], &[]), [space]);
        // Files are the shell's own business.
        for words in [&["backup", ""][..], &["restore", "app", ""], &["log", "none"]] {
            assert_eq!(asked(&lab, shell, words, &[]), [""; 0], "{shell} {words:?}");
        }
    }
    assert_eq!(asked(&lab, "bash", &["log", "\"apple p"], &[]), ["apple pie"]);
    // What was typed of the repository counts, and so does what `copy` itself names.
    let elsewhere = [("PAGEKEEP_REPO", "none"), ("PAGEKEEP_KEY_FILE", ""), ("HOME", ".")];
    for words in [
        &["-r", "~/repo", "--key-file", "~/key", "log", "ap"][..],
        &["log", "--repo=repo", "--key-file=key", "ap"],
        &["copy", "repo", "off", "--key-file", "key", "--name", "ap"],
    ] {
        assert_eq!(asked(&lab, "fish", words, &elsewhere).len(), 2, "{words:?}");
    }
}

#[test]
fn commands_options_and_choices_are_completed() {
    let lab = Lab::empty();
    for shell in ["bash", "fish", "zsh"] {
        let first = |words: &[&str]| -> Vec<String> {
            let found = asked(&lab, shell, words, &[]);
            found.iter().map(|line| line.split(['\t', ':']).next().unwrap().to_owned()).collect()
        };
        assert_eq!(first(&["sn"]), ["snapshots"]);
        assert_eq!(first(&["key", "ro"]), ["rotate"]);
        assert_eq!(first(&["restore", "app", "--ch"]), ["--check"]);
        assert_eq!(first(&["verify", "--level", "re"]), ["restore"]);
        assert!(!first(&[""]).contains(&"demo-writer".to_owned()));
    }
    // Bash breaks words at these, and replaces only what stands behind.
    assert_eq!(asked(&lab, "bash", &["verify", "--level=re"], &[]), ["restore"]);
}

#[test]
fn a_shell_that_can_not_be_answered_is_shown_nothing() {
    let lab = orchard();
    fs::write(lab.path("half"), "no key").unwrap();
    assert!(Command::new("mkfifo").arg(lab.path("pipe")).status().unwrap().success());
    for variables in [
        &[("PAGEKEEP_REPO", "none")][..],
        &[("PAGEKEEP_REPO", "")],
        &[("PAGEKEEP_REPO", "s3:bucket")],
        &[("PAGEKEEP_KEY_FILE", "half")],
        &[("PAGEKEEP_KEY_FILE", "pipe")],
        &[("PAGEKEEP_KEY_FILE", "-")],
        &[("PAGEKEEP_KEY_FILE", ""), ("PAGEKEEP_PASSWORD", "which takes a while")],
        &[("PAGEKEEP_STATE_DIR", "key")],
    ] {
        assert_eq!(asked(&lab, "bash", &["log", "ap"], variables), [""; 0], "{variables:?}");
    }
    assert_eq!(
        asked(&lab, "bash", &["log", "ap", "--password-file", "none", "--since"], &[]),
        ["--since"]
    );
    assert_eq!(asked(&lab, "tcsh", &["log", "ap"], &[]), [""; 0]);
    assert_eq!(asked(&lab, "fish", &[], &[]), [""; 0]);
    fs::write(lab.path("repo/keys").join("0000000000000000"), "junk").unwrap();
    assert_eq!(asked(&lab, "fish", &["log", "app"], &[]), ["app", "apple pie"]);
    // The variable alone is no question.
    let mut command = lab.command(&["log", "app", "-n", "1"]);
    assert!(Ended::of(command.env("PAGEKEEP_COMPLETE", "bash")).stdout.contains("seq:2"));
}

/// The script that `completions` prints, in the shell itself.
#[test]
fn bash_itself_completes() {
    let lab = orchard();
    fs::write(lab.path("script"), lab.ok(&["completions", "bash"]).stdout).unwrap();
    let bin = lab.path("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(cli::BIN, bin.join("pagekeep")).unwrap();
    // Words as bash breaks them.
    for (line, words, reply) in [
        ("pagekeep log ap", &["pagekeep", "log", "ap"][..], "app|apple\\ pie|"),
        ("pagekeep log ", &["pagekeep", "log", ""], "app|apple\\ pie|"),
        ("pagekeep restore app@latest ", &["pagekeep", "restore", "app", "@", "latest", ""], ""),
        ("pagekeep verify --level=re", &["pagekeep", "verify", "--level", "=", "re"], "restore|"),
        (
            "pagekeep label app@seq:1 x --re",
            &["pagekeep", "label", "app", "@", "seq", ":", "1", "x", "--re"],
            "--repo|--recovery-key-file|--remove|",
        ),
    ] {
        let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let mut bash = lab.other("bash");
        bash.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
        bash.args(["--norc", "-c"]).arg(format!(
            "source ./script; COMP_WORDBREAKS=$' \\t\\n\"\\'@><=;|&(:'; COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}
             COMP_WORDS=({}); COMP_CWORD={}; _pagekeep; printf '%s|' \"${{COMPREPLY[@]}}\"; complete -p pagekeep",
            quoted.join(" "),
            words.len() - 1
        ));
        let ended = Ended::of(&mut bash);
        let reply = if reply.is_empty() { "|" } else { reply };
        let mut found: Vec<&str> = ended.stdout.lines().next().unwrap().split('|').collect();
        let registered = found.pop().unwrap();
        assert_eq!(ended.stderr, "", "{line}");
        let mut reply: Vec<&str> = reply.split('|').collect();
        reply.pop();
        found.sort_unstable();
        reply.sort_unstable();
        assert_eq!(found, reply, "{line}");
        assert!(registered.contains("-o default"), "files: {registered}");
    }
}
