//! Keys, passphrases, policies and locations as inputs, and recovery keys as an output, through the real binary: bounded, interruptible,
//! and never lost.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::cli::{self, Ended, Lab};
use crate::support::terminal::Terminal;

const ENDLESS: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT count(*) FROM n";

/// Whether a process has handlers for signals yet.
fn catches(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() >> 14 & 1 == 1
}

fn fifo(lab: &Lab, name: &str) {
    assert!(Command::new("mkfifo").arg(lab.path(name)).status().unwrap().success());
}

#[test]
fn every_wait_ends_with_a_signal() {
    let lab = Lab::with_history();
    fifo(&lab, "fifo");
    for args in [
        &["status", "--key-file", "fifo"][..],
        &["status", "--password-file", "fifo"],
        &["status", "--recovery-key-file", "fifo"],
        &["status", "--password-command", "sleep 30 2>&-; true"],
        &["status", "--password-command", "echo half; exec >&- 2>&-; sleep 30; true"],
        &["key", "add", "--new-password-file", "fifo"],
        &["key", "rotate", "--with-key-file", "fifo"],
        &["prune", "--policy", "fifo"],
        &["verify", "app", "--level", "restore", "--assert", ENDLESS],
    ] {
        for signal in ["-TERM", "-INT"] {
            let mut command = lab.command(args);
            // As under a service manager: no terminal of whoever runs the tests.
            let child = command.process_group(0).spawn().unwrap();
            while !catches(child.id()) {
                std::thread::sleep(Duration::from_millis(1));
            }
            // That it waits shows in that it goes on.
            std::thread::sleep(Duration::from_millis(300));
            let began = Instant::now();
            cli::signal(signal, &child.id().to_string());
            let ended: Ended = child.wait_with_output().unwrap().into();
            assert!(began.elapsed() < Duration::from_secs(20), "{args:?} {signal}");
            assert_eq!(ended.code, Some(130), "{args:?} {signal}: {ended:?}");
            assert!(ended.stderr.contains("stopped on request"), "{ended:?}");
            assert!(!ended.stderr.contains("error: "), "a request is no error: {ended:?}");
        }
    }
    lab.tidy();
}

#[test]
fn what_nobody_can_wait_for_is_refused_at_once() {
    let lab = Lab::with_history();
    fifo(&lab, "fifo");
    lab.fails(&["init", "-r", "new", "--key-file", "fifo"], 12, &["fifo", "not a file"]);
    lab.fails(&["key", "add", "--new-key-file", "fifo"], 12, &["fifo", "not a file"]);
    let limited = ["verify", "app", "--level", "restore", "--max-time", "1s", "--assert", ENDLESS];
    lab.fails(&limited, 1, &["app@seq:2", "time was up", "nothing is proven"]);
    assert!(lab.json(&["show", "app"])[0]["proofs"].as_array().unwrap().is_empty());
}

#[test]
fn no_input_is_read_beyond_its_bound() {
    let lab = Lab::with_history();
    for (args, code) in [
        (&["status", "--key-file", "/dev/zero"][..], 12),
        (&["status", "--password-file", "/dev/zero"], 12),
        (&["status", "--recovery-key-file", "/dev/zero"], 12),
        (&["status", "--password-command", "yes"], 12),
        (&["key", "add", "--new-password-file", "/dev/zero"], 12),
        (&["prune", "--policy", "/dev/zero"], 2),
    ] {
        let mut limited = vec!["-c", "ulimit -v 1000000; exec \"$0\" \"$@\"", cli::BIN];
        limited.extend(args);
        let ended = Ended::of(lab.other("sh").args(limited));
        ended.failed(code, &["65536 bytes"]);
    }
    // A pipe that ends is as good as a file.
    let piped = format!(
        "{} status --key-file /dev/stdin < key && cat key | {} status --key-file /dev/stdin",
        cli::BIN,
        cli::BIN
    );
    assert_eq!(Ended::of(lab.other("sh").args(["-c", &piped])).code, Some(0));
}

#[test]
fn a_command_for_the_passphrase_has_to_succeed_and_is_in_no_error() {
    let lab = Lab::empty();
    lab.secret("words", "the words\n");
    let key = [("PAGEKEEP_KEY_FILE", "")];
    let init = ["init", "--password-file", "words"];
    let mut command = lab.command(&init);
    assert_eq!(Ended::of(command.env_remove("PAGEKEEP_KEY_FILE")).code, Some(0));
    let with = |command: &'static str| ["status", "--password-command", command];
    let mut command = lab.command(&with("echo 'the words'; echo more"));
    assert_eq!(Ended::of(command.env_remove("PAGEKEEP_KEY_FILE")).code, Some(0));
    for (command, code, what) in [
        ("echo 'the words'; false", 12, "failed: exit status: 1"),
        ("kill -9 $$ # hidden", 12, "failed: signal: 9"),
        ("true hidden", 2, "passphrase is empty"),
        ("printf 'hidden\\377\\n'", 12, "no text"),
    ] {
        lab.fails_with(&key, &with(command), code, &["--password-command", what]);
        let mut json = lab.command(&[&with(command)[..], &["--json"]].concat());
        let ended = Ended::of(json.env_remove("PAGEKEEP_KEY_FILE"));
        let told = ended.stdout + &ended.stderr;
        assert!(!told.contains("hidden") && !told.contains("the words"), "{told}");
    }
}

/// What `init` prints is what people keep.
#[test]
fn a_recovery_key_is_found_in_what_was_printed() {
    let lab = Lab::empty();
    let printed = lab.ok(&["init"]).stdout;
    let json = lab.ok(&["key", "recovery", "--json"]).stdout;
    for (name, text) in [("printed", printed), ("json", json)] {
        lab.secret(name, &text);
        let mut command = lab.command(&["status", "--recovery-key-file", name]);
        let ended = Ended::of(command.env_remove("PAGEKEEP_KEY_FILE"));
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

#[test]
fn files_with_passphrases_are_ones_own_and_text() {
    let lab = Lab::empty();
    let none = [("PAGEKEEP_KEY_FILE", "")];
    lab.secret("words", "the words\r\n");
    lab.secret("marked", "\u{feff}the words\n");
    let mut init = lab.command(&["init", "--password-file", "words", "--no-recovery-key"]);
    assert_eq!(Ended::of(init.env_remove("PAGEKEEP_KEY_FILE")).code, Some(0));
    let status = |file: &str| {
        let mut command = lab.command(&["status", "--password-file", file]);
        Ended::of(command.env_remove("PAGEKEEP_KEY_FILE"))
    };
    assert_eq!(status("marked").code, Some(0), "what Windows puts in front is no part of it");
    fs::write(lab.path("shown"), "the words\n").unwrap();
    fs::set_permissions(lab.path("shown"), fs::Permissions::from_mode(0o644)).unwrap();
    status("shown").failed(3, &["shown can be read by others", "chmod 600"]);
    lab.fails_with(&[none[0], ("PAGEKEEP_PASSWORD", "other words")], &["status"], 12, &["key"]);
    let mut odd = lab.command(&["status"]);
    odd.env_remove("PAGEKEEP_KEY_FILE").env("PAGEKEEP_PASSWORD", OsStr::from_bytes(b"a\xff"));
    Ended::of(&mut odd).failed(12, &["PAGEKEEP_PASSWORD: is no text"]);
}

#[test]
fn usage_errors_are_json_if_that_was_asked_for() {
    let lab = Lab::new();
    for args in [&["status", "--bogus", "--json"][..], &["--json", "log"], &["--json", "nonsense"]]
    {
        let ended = lab.run(args);
        assert_eq!(ended.code, Some(2));
        let told = ended.objects();
        assert_eq!(
            (told.len(), &told[0]["type"], &told[0]["kind"]),
            (1, &"error".into(), &"usage".into())
        );
        assert!(
            told[0]["exit_code"] == 2 && told[0]["message"].as_str().unwrap().len() > 10,
            "{ended:?}"
        );
    }
}

#[test]
fn locations_of_other_programs_are_refused_and_not_created() {
    let lab = Lab::new();
    for location in
        ["s3:bucket/x", "S3:bucket", "sftp:host:/x", "rclone:r:x", "me@host:/x", "s3://b/x"]
    {
        lab.fails(
            &["init", "-r", location],
            2,
            &[location, "not supported yet", &format!("./{location}")],
        );
        lab.fails(&["status", "-r", location], 2, &[location]);
        lab.fails(&["copy", "repo", location, "--to-key-file", "key"], 2, &[location]);
        assert!(!lab.path(location.split('/').next().unwrap()).exists());
    }
    lab.ok(&["init", "-r", "./s3:bucket"]);
    lab.ok(&["status", "-r", "./s3:bucket"]);
}

/// The ids of the keys, by kind.
fn keys(lab: &Lab, kind: &str) -> Vec<String> {
    let listed = lab.json(&["key", "list"]);
    let of = listed.iter().filter(|key| key["kind"] == kind);
    of.map(|key| key["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_recovery_key_that_was_not_shown_opens_nothing_and_removes_nothing() {
    let lab = Lab::new();
    let before = (keys(&lab, "recovery"), keys(&lab, "key-file"));
    let commands =
        ["key recovery", "key recovery --replace", "key rotate --new-recovery-key --remove-others"];
    for command in commands {
        for json in ["", " --json"] {
            for to in ["> /dev/full", "| true", "| sleep 0.2"] {
                let line = format!("{{ {} {command}{json}; echo \"$?\" >&2; }} {to}", cli::BIN);
                let ended = Ended::of(lab.other("sh").args(["-c", &line]));
                let code = ended.stderr.lines().last().unwrap();
                assert_eq!(code, if to.starts_with('>') { "14" } else { "1" }, "{line}: {ended:?}");
                assert!(ended.stderr.contains("standard output: cannot be written"), "{ended:?}");
                assert_eq!((keys(&lab, "recovery"), keys(&lab, "key-file")), before, "{line}");
            }
        }
    }
    for to in ["> /dev/full", "| true"] {
        let line = format!("{{ {} init -r none; echo \"$?\" >&2; }} {to}", cli::BIN);
        let ended = Ended::of(lab.other("sh").args(["-c", &line]));
        assert!(
            !ended.stderr.ends_with("\n0\n") && ended.stderr.contains("no repository"),
            "{ended:?}"
        );
        assert!(!lab.path("none/repository").exists() && !lab.path("none/keys").exists());
    }
    // Whoever reads gets it, and it opens.
    for command in commands {
        let line = format!("{} {command} --json | tee told > file", cli::BIN);
        assert_eq!(Ended::of(lab.other("sh").args(["-c", &line])).code, Some(0));
        let told = fs::read_to_string(lab.path("told")).unwrap();
        let told: serde_json::Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
        lab.secret("paper", told["recovery_key"].as_str().unwrap());
        lab.ok(&["status", "--recovery-key-file", "paper"]);
    }
}

#[test]
fn whenever_a_replacement_is_killed_a_key_that_was_shown_opens() {
    for command in ["key recovery --replace", "key rotate --new-recovery-key --remove-others"] {
        let lab = Lab::empty();
        let shown = lab.summary(&["init"])["recovery_key"].as_str().unwrap().to_owned();
        lab.secret("paper", &shown);
        // The recovery key is the only one left.
        let listed = lab.json(&["key", "list", "--recovery-key-file", "paper"]);
        let file = listed.iter().find(|key| key["kind"] == "key-file").unwrap();
        let id = file["id"].as_str().unwrap();
        lab.ok(&["key", "remove", id, "--recovery-key-file", "paper"]);
        for millis in (0..60).step_by(3) {
            let line = format!("{command} --recovery-key-file paper --json");
            let args: Vec<&str> = line.split(' ').collect();
            let told = fs::File::create(lab.path("told")).unwrap();
            let mut child = lab.command(&args).stdout(told).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(millis));
            let _ = child.kill();
            child.wait().unwrap();
            let told = fs::read_to_string(lab.path("told")).unwrap();
            assert!(
                !told.contains("\"error\""),
                "nothing that a kill left stands in the way: {told}"
            );
            let new =
                told.lines().next().and_then(|l| serde_json::from_str::<serde_json::Value>(l).ok());
            if let Some(new) = new {
                lab.secret("new", new["recovery_key"].as_str().unwrap());
                if lab.run(&["status", "--recovery-key-file", "new"]).code == Some(0) {
                    fs::rename(lab.path("new"), lab.path("paper")).unwrap();
                }
            }
            lab.ok(&["status", "--recovery-key-file", "paper"]);
        }
    }
}

#[test]
fn the_key_in_use_is_removed_only_on_purpose() {
    let lab = Lab::new();
    let file = keys(&lab, "key-file").remove(0);
    lab.fails(&["key", "remove", &file], 17, &["in use", "--in-use"]);
    lab.ok(&["key", "add", "--new-key-file", "other.key"]);
    lab.ok(&["key", "remove", &file, "--in-use"]);
    lab.fails(&["status"], 12, &["no key slot opens"]);
    lab.ok(&["status", "--key-file", "other.key"]);
}

#[test]
fn one_key_has_one_slot() {
    let lab = Lab::new();
    lab.secret("words", "some words\n");
    for new in [["--new-key-file", "other.key"], ["--new-password-file", "words"]] {
        lab.ok(&[&["key", "add"], &new[..]].concat());
        let again = lab.run(&[&["key", "add"], &new[..]].concat());
        again.failed(3, &["opens the repository already", "nothing was added"]);
    }
    lab.run(&["key", "add", "--new-key-file", "key"]).failed(3, &["already"]);
    let (files, words) = (keys(&lab, "key-file").len(), keys(&lab, "passphrase").len());
    assert_eq!((files, words), (2, 1));
}

#[test]
fn a_new_key_keeps_the_name_and_goes_on_after_a_kill() {
    let lab = Lab::new();
    lab.fails(&["key", "passwd", "--new-key-file", "key"], 2, &["is the one in use"]);
    // As a kill between the two steps leaves it.
    lab.ok(&["key", "add", "--new-key-file", "new.key", "--label", "first key"]);
    lab.ok(&["key", "passwd", "--new-key-file", "new.key"]);
    let listed = lab.json(&["key", "list", "--key-file", "new.key"]);
    let files: Vec<_> = listed.iter().filter(|key| key["kind"] == "key-file").collect();
    assert_eq!((files.len(), &files[0]["label"]), (1, &"first key".into()));
    let passwd = ["key", "passwd", "--key-file", "new.key", "--new-key-file", "third.key"];
    lab.ok(&passwd);
    let listed = lab.json(&["key", "list", "--key-file", "third.key"]);
    assert!(listed.iter().any(|key| key["kind"] == "key-file" && key["label"] == "first key"));
    let args =
        ["key", "passwd", "--key-file", "third.key", "--new-key-file", "4.key", "--label", "mine"];
    lab.ok(&args);
    let listed = lab.json(&["key", "list", "--key-file", "4.key"]);
    assert!(listed.iter().any(|key| key["label"] == "mine"));
}

#[test]
fn a_new_recovery_key_says_that_older_ones_still_open() {
    let lab = Lab::new();
    let told = lab.ok(&["key", "recovery"]).stdout;
    assert!(told.contains("1 recovery key made before still opens"), "{told}");
    let told = lab.ok(&["key", "recovery"]).stdout;
    assert!(told.contains("2 recovery keys made before still open the"), "{told}");
    let told = lab.summary(&["key", "recovery", "--replace"]);
    assert_eq!(
        (told["removed"].as_array().unwrap().len(), &told["kept"]),
        (3, &serde_json::json!([]))
    );
}

/// Each shows its key, and then finds the old one gone.
#[test]
fn of_two_that_replace_the_recovery_key_at_once_both_do_well_and_say_so() {
    let lab = Lab::with_history();
    let old = lab.json(&["key", "list"]).len();
    let replace = ["key", "recovery", "--replace"];
    // It goes on only once its key was read.
    let mut first = lab.command(&replace).spawn().unwrap();
    let mut output = first.stdout.take().unwrap();
    let began = Instant::now();
    while rustix::io::ioctl_fionread(&output).unwrap() == 0 {
        assert!(began.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(5));
    }
    lab.ok(&replace);
    let mut told = String::new();
    std::io::Read::read_to_string(&mut output, &mut told).unwrap();
    let ended = first.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{told}{}", String::from_utf8_lossy(&ended.stderr));
    assert!(told.contains("1 recovery key made by others meanwhile still opens"), "{told}");
    assert_eq!(lab.json(&["key", "list"]).len(), old + 1);
    lab.ok(&replace);
    assert_eq!(lab.json(&["key", "list"]).len(), old);
}

#[test]
fn no_other_process_looks_into_one_that_holds_keys() {
    let mut lab = Lab::with_history();
    lab.without_privileges();
    fifo(&lab, "fifo");
    let mut child = lab.command(&["status", "--key-file", "fifo"]).spawn().unwrap();
    while !catches(child.id()) {
        std::thread::sleep(Duration::from_millis(1));
    }
    // What can't be dumped belongs to root.
    let owner = |file: &str| {
        let path = format!("/proc/{}/{file}", child.id());
        std::os::unix::fs::MetadataExt::uid(&fs::metadata(path).unwrap())
    };
    assert_eq!(owner("mem"), 0);
    cli::signal("-TERM", &child.id().to_string());
    child.wait().unwrap();
}

#[test]
fn no_core_dump_holds_keys_and_a_limit_on_files_is_an_error() {
    let lab = Lab::with_history();
    fifo(&lab, "fifo");
    // As if core dumps were wanted.
    let line = "ulimit -c unlimited || exit 77; exec \"$@\"";
    let mut command = lab.other("sh");
    command.args(["-c", line, "sh", cli::BIN, "status", "--key-file", "fifo"]);
    let mut child = command.spawn().unwrap();
    while !catches(child.id()) {
        std::thread::sleep(Duration::from_millis(1));
        if child.try_wait().unwrap().is_some_and(|ended| ended.code() == Some(77)) {
            println!("skipped: core dumps can't be allowed here");
            return;
        }
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    cli::signal("-TERM", &child.id().to_string());
    child.wait().unwrap();

    let line = format!("ulimit -f 8; {} restore app out.db; echo \"ended $?\"", cli::BIN);
    let ended = Ended::of(lab.other("bash").args(["-c", &line]));
    assert!(ended.stdout.contains("ended 14"), "{ended:?}");
    assert!(ended.stderr.contains("File too large"), "{ended:?}");
    assert!(!lab.path("out.db").exists());
    lab.tidy();
}

#[test]
fn who_mistypes_a_passphrase_may_try_again() {
    let lab = Lab::empty();
    lab.secret("words", "the words");
    let mut init = lab.command(&["init", "--password-file", "words", "--no-recovery-key"]);
    assert_eq!(Ended::of(init.env_remove("PAGEKEEP_KEY_FILE")).code, Some(0));
    let typed = |lines: &[&str]| {
        let line = format!("{} status; echo ended $?", cli::BIN);
        let mut terminal = Terminal::start_without_key(&lab, &line)?;
        for (n, line) in (1..).zip(lines) {
            terminal.wait_for("Passphrase of repo: ", n);
            assert!(terminal.types(&format!("{line}\n")));
        }
        Some(terminal.end())
    };
    let Some(seen) = typed(&["wrong", "the words"]) else { return };
    assert!(seen.contains("No key slot opens with that. Passphrase of repo: "), "{seen}");
    assert!(seen.contains("ended 0"), "{seen}");
    let seen = typed(&["wrong", "wrong again", "and again"]).unwrap();
    assert!(seen.contains("ended 12") && seen.contains("error:"), "{seen}");
}

/// Who pastes three passphrases does not wait for the second prompt, and the first one is stretched meanwhile.
#[test]
fn what_is_typed_ahead_of_a_prompt_is_not_shown() {
    let lab = Lab::empty();
    lab.secret("words", "the words");
    let mut init = lab.command(&["init", "--password-file", "words", "--no-recovery-key"]);
    assert_eq!(Ended::of(init.env_remove("PAGEKEEP_KEY_FILE")).code, Some(0));
    let session = |command: &str, typed: &[&str]| {
        let line = format!("{} {command}; echo ended $?; stty -a", cli::BIN);
        let mut terminal = Terminal::start_without_key(&lab, &line)?;
        terminal.wait_for("Passphrase of repo: ", 1);
        for text in typed {
            if !terminal.types(text) {
                break;
            }
            // As soon as the first one was taken, and long before it is stretched.
            std::thread::sleep(Duration::from_millis(30));
        }
        Some(terminal.end())
    };
    let typed = ["the words\n", "seen by all\n", "seen by all\n"];
    let Some(seen) = session("key passwd", &typed) else { return };
    assert!(seen.contains("ended 0") && seen.contains("replaces key"), "{seen}");
    assert!(!seen.contains("seen by all"), "{seen}");
    assert!(seen.contains(" echo "), "and what is typed later is: {seen}");
    // Ctrl-D is no passphrase. The first one may come before the prompt reads.
    for command in ["status", "key passwd"] {
        let seen = session(command, &["\u{4}"; 20]).unwrap();
        assert!(seen.contains("no passphrase was typed") && seen.contains("ended 12"), "{seen}");
        assert!(seen.contains(" echo "), "{seen}");
    }
}
