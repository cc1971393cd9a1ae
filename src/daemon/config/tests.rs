use std::path::{Path, PathBuf};

use super::secret::SecretSource;
use super::*;
use crate::types::Timestamp;

fn parse(text: &str) -> Result<Config, Mistaken> {
    Config::parse(Path::new("/etc/pagekeep.toml"), text)
}

const REPOSITORY: &str = "[repositories.main]\nlocation = \"backups\"\nkey-file = \"key\"\n";

#[test]
fn a_database_says_what_the_defaults_do_not_mean() {
    let config = parse(&format!(
        "{REPOSITORY}
[defaults]
time-zone = \"Europe/Berlin\"
policy = {{ keep-window = \"7d\" }}
verify.restore = \"never\"
[[databases]]
path = \"shop.db\"
[[databases]]
path = \"/srv/*.db\"
name = \"tenant-{{stem}}\"
mode = \"snapshots\"
schedule = \"every 15m\"
time-zone = \"UTC\"
verify.sample = \"20%\"
"
    ))
    .unwrap();
    let repository = &config.repositories["main"];
    assert_eq!(repository.location, "/etc/backups");
    assert_eq!(repository.secret, SecretSource::KeyFile("/etc/key".into()));
    let [shop, tenants] = config.targets.as_slice() else { panic!("{config:?}") };
    assert_eq!(shop.found(), [PathBuf::from("/etc/shop.db")]);
    assert_eq!(shop.name_of(Path::new("/etc/shop.db")), "shop");
    assert_eq!(tenants.name_of(Path::new("/srv/a.db")), "tenant-a");
    assert!(matches!(shop.plan.mode, Mode::Follow { .. }));
    assert!(matches!(&tenants.plan.mode, Mode::Snapshots(s) if s.to_string() == "every 15m"));
    assert_ne!(shop.plan.zone, tenants.plan.zone);
    assert_eq!(shop.plan.verify.sample_ppm, 100_000);
    assert_eq!(tenants.plan.verify.sample_ppm, 200_000);
    assert!(tenants.plan.verify.restore.is_none() && tenants.plan.verify.data.is_some());
    assert!(tenants.plan.retention.is_some());
}

/// Its history would begin anew in another repository, which a mirror of both takes no copy of.
#[test]
fn the_daemons_own_database_stays_where_it_was() {
    let text = "[repositories.archive]\nlocation = \"/a\"\nkey-file = \"k\"
[repositories.main]\nlocation = \"/m\"\nkey-file = \"k\"\nmirrors = [\"off\"]
[repositories.off]\nlocation = \"/o\"\nkey-file = \"k\"\n";
    let kept_in = |known: &[(&str, i64)]| {
        let since = |name: &str| {
            let of = known.iter().find(|(repository, _)| *repository == name);
            of.map(|(_, since)| Timestamp(*since))
        };
        let config = parse(text).unwrap();
        let config = config.with_ledger("/state/daemon.db".into(), "daemon".to_owned(), since);
        config.targets[0].plan.repository.clone()
    };
    assert_eq!(kept_in(&[]), "archive");
    assert_eq!(kept_in(&[("main", 5)]), "main");
    // Where it moved last; a mirror and what is no more are no places for it.
    assert_eq!(kept_in(&[("archive", 5), ("main", 4)]), "archive");
    assert_eq!(kept_in(&[("off", 7), ("gone", 8), ("main", 4)]), "main");
}

#[test]
fn a_mirror_keeps_nothing_of_its_own_where_nothing_is_said() {
    let text = |mirrors: &str| {
        format!(
            "[repositories.a]\nlocation = \"/a\"\nkey-file = \"k\"
[repositories.main]\nlocation = \"/m\"\nkey-file = \"k\"\n{mirrors}
[[databases]]\npath = \"a.db\"\n"
        )
    };
    let config = parse(&text("mirrors = [\"a\"]\ncopy-every = \"5m\"")).unwrap();
    let main = &config.repositories["main"];
    assert_eq!((&*main.mirrors, main.copy_every.as_secs()), (&["a".to_owned()][..], 300));
    assert_eq!(config.targets[0].plan.repository, "main");
    let config = config.with_ledger("/state/daemon.db".into(), "daemon".to_owned(), |_| None);
    assert_eq!(config.targets[1].plan.repository, "main");
    // What is shown is read as the same.
    let again = parse(&config.shown()).unwrap();
    assert_eq!(again.repositories, config.repositories);
    for (mirrors, why) in [
        ("mirrors = [\"mani\"]", "there is no repository \"mani\""),
        ("mirrors = [\"main\"]", "no mirror of itself"),
        ("mirrors = [\"a\", \"a\"]", "named twice"),
        ("copy-every = \"5m\"", "has no mirrors"),
        (
            "mirrors = [\"a\"]\n[repositories.b]\nlocation = \"b\"\nkey-file = \"k\"\nmirrors = [\"main\"]",
            "has mirrors itself",
        ),
    ] {
        let mistaken = parse(&text(mirrors)).unwrap_err();
        let told: Vec<&str> = mistaken.mistakes().iter().map(|m| &*m.message).collect();
        assert!(told.iter().any(|told| told.contains(why)), "{mirrors}: {told:?}");
    }
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let mistaken = parse(
        "[repositories.main]
location = \"backups\"
key-file = \"key\"
password-env = \"PASSWORD\"
[[databases]]
path = \"a.db\"
repository = \"mani\"
[[databases]]
path = \"b.db\"
compression = \"fats\"
schedule = \"every 1h\"
promise.max-age = \"soon\"
[[databases]]
path = \"c/*.db\"
name = \"c\"
prune = \"@daily\"
",
    )
    .unwrap_err();
    let told: Vec<String> = mistaken
        .mistakes()
        .iter()
        .map(|m| {
            format!("{}: {} ({})", mistaken.line(m), m.message, m.help.as_deref().unwrap_or(""))
        })
        .collect();
    let expected = [
        "4: one key opens a repository",
        "7: there is no repository \"mani\" (did you mean `main`?)",
        "10: \"fats\" is not one of off, fast, default, max (did you mean `fast`?)",
        "11: a database that is followed has no schedule (mode = \"snapshots\"",
        "12: \"soon\" is not a time, such as 90s or 10m",
        "15: each database of a pattern needs a name of its own",
        "16: without a policy nothing is ever removed",
    ];
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told}\n{expected}");
    }
    assert_eq!(told.len(), expected.len(), "{told:#?}");
}

#[test]
fn a_key_that_nobody_reads_is_an_error_with_what_was_meant() {
    let mistaken =
        parse(&format!("{REPOSITORY}[[databases]]\npath = \"a.db\"\nscheduel = \"@daily\"\n"))
            .unwrap_err();
    let picture = mistaken.pictures().join("\n");
    for part in [
        "there is no key `scheduel` here",
        "/etc/pagekeep.toml:6",
        "^^^^^^^^",
        "did you mean `schedule`?",
    ] {
        assert!(picture.contains(part), "{part}: {picture}");
    }
    let error = mistaken.error();
    assert!(error.to_string().contains("/etc/pagekeep.toml:6"), "{error}");
}

#[test]
fn no_text_is_read_as_something_else_or_breaks_the_reader() {
    let whole = format!("{REPOSITORY}[defaults]\njobs = 3\n[[databases]]\npath = \"ä/*.db\"\n");
    for end in (0..=whole.len()).filter(|end| whole.is_char_boundary(*end)) {
        if let Err(mistaken) = parse(&whole[..end]) {
            assert_eq!(mistaken.pictures().len(), mistaken.mistakes().len());
            assert!(!mistaken.mistakes().is_empty());
        }
    }
}

#[test]
fn two_databases_never_share_a_history() {
    let twice = |more: &str| {
        parse(&format!(
            "{REPOSITORY}[[databases]]\npath = \"a/app.db\"\n[[databases]]\npath = \"b/app.db\"\n{more}"
        ))
    };
    let mistaken = twice("").unwrap_err();
    assert!(mistaken.mistakes()[0].message.contains("has the name \"app\" of /etc/a/app.db"));
    assert!(twice("name = \"b\"\n").is_ok());
}

#[test]
fn defaults_are_for_those_whom_they_concern() {
    let config = parse(&format!(
        "{REPOSITORY}[defaults]\nsleep-after = \"5m\"\nschedule = \"every 5m\"
[[databases]]\npath = \"a.db\"\n[[databases]]\npath = \"b.db\"\nmode = \"snapshots\"\n"
    ))
    .unwrap();
    let [followed, captured] = config.targets.as_slice() else { panic!("{config:?}") };
    assert!(matches!(followed.plan.mode, Mode::Follow { .. }));
    assert!(matches!(&captured.plan.mode, Mode::Snapshots(s) if s.to_string() == "every 5m"));
}

#[test]
fn what_can_never_work_is_told_before_it_is_tried() {
    for (text, told) in [
        ("[[databases]]\npath = \"a.db\"\nname = \"x@y\"", "a history's name has"),
        ("[[databases]]\npath = \"a.db\"\nname = \"{stm}\"", "neither {stem} nor {folder}"),
        ("[[databases]]\npath = \"a.db\"\npolicy = {}", "keeps nothing"),
    ] {
        let mistaken = parse(&format!("{REPOSITORY}{text}\n")).unwrap_err();
        assert!(mistaken.mistakes()[0].message.contains(told), "{:?}", mistaken.mistakes());
    }
    let cloud = "[repositories.main]\nlocation = \"s3://x\"\nkey-file = \"k\"\n";
    assert!(parse(cloud).unwrap_err().mistakes()[0].message.contains("not supported yet"));
}

#[test]
fn where_monitors_ask_is_read_and_no_other_machine_gets_in_unasked() {
    let http = |text: &str| parse(&format!("[http]\n{text}\n{REPOSITORY}"));
    for text in ["listen = \"127.0.0.1:7373\"", "listen = \"[::1]:0\"", "listen = \"unix:h.sock\""]
    {
        let config = http(text).unwrap();
        let shown = config.shown();
        assert_eq!(parse(&shown).unwrap().http, config.http, "{shown}");
    }
    let listen = http("listen = \"unix:run/h.sock\"").unwrap().http.unwrap().listen;
    assert_eq!(listen, Listen::Unix("/etc/run/h.sock".into()));
    let open = "listen = \"0.0.0.0:7373\"\nmetrics-only = true\nhosts = [\"Backup.example\"]";
    assert_eq!(http(open).unwrap().http.unwrap().hosts, ["backup.example"]);
    assert_eq!(parse(REPOSITORY).unwrap().http, None);
    for (text, told) in [
        ("listen = \"0.0.0.0:7373\"", "can be reached by other machines"),
        ("listen = \"[::]:7373\"", "can be reached by other machines"),
        ("listen = \"7373\"", "is no address with a port"),
        ("listen = \"localhost:7373\"", "is no address with a port"),
        ("listen = \"unix:\"", "names no file"),
        ("metrics-only = true", "missing field `listen`"),
        ("listen = \"127.0.0.1:1\"\nhosts = [\"a:80\"]", "is no name of a host"),
        ("listen = \"127.0.0.1:1\"\nport = 1", "there is no key `port` here"),
    ] {
        let mistaken = http(text).unwrap_err();
        assert!(mistaken.mistakes()[0].message.contains(told), "{:?}", mistaken.mistakes());
    }
}

#[test]
fn a_group_names_databases_that_may_be_there_and_are_followed() {
    let text = |members: &str, more: &str| {
        format!(
            "[repositories.main]\nlocation = \"r\"\nkey-file = \"k\"
[groups.g]\ndatabases = [{members}]
[[databases]]\npath = \"shop.db\"
[[databases]]\npath = \"billing.db\"\nmode = \"snapshots\"\nschedule = \"every 1h\"
{more}"
        )
    };
    let wrong = |members: &str, more: &str| -> Vec<(String, Option<String>)> {
        let mistaken = parse(&text(members, more)).unwrap_err();
        mistaken.mistakes().iter().map(|m| (m.message.clone(), m.help.clone())).collect()
    };
    assert!(parse(&text("\"shop\"", "")).is_ok());
    let unknown = wrong("\"shpo\"", "");
    assert_eq!(unknown.len(), 1);
    assert_eq!(unknown[0].0, "there is no database \"shpo\"");
    assert_eq!(unknown[0].1.as_deref(), Some("did you mean `shop`?"));
    // Whether named or matched, one that is captured by a schedule has no commit of that moment.
    for members in ["\"shop\", \"billing\"", "\"*\""] {
        assert!(wrong(members, "")[0].0.contains("billing is not followed"), "{members}");
    }
    // What files a pattern will match nobody knows; its names are known as far as they are fixed.
    let pattern = "[[databases]]\npath = \"t/*.db\"\nname = \"tenant-{stem}\"";
    assert!(parse(&text("\"shop\", \"tenant-7\"", pattern)).is_ok());
    assert_eq!(wrong("\"tenan-7\"", pattern).len(), 1);
    let plain = "[[databases]]\npath = \"t/*.db\"";
    assert!(parse(&text("\"anything\"", plain)).is_ok());
}

#[test]
fn a_mirror_that_is_mistyped_is_one_mistake() {
    let text = "[repositories.main]\nlocation = \"m\"\nkey-file = \"k\"\nmirrors = [\"fra\"]
[repositories.far]\nlocation = \"f\"\nkey-file = \"k\"
[[databases]]\npath = \"a.db\"\n[[databases]]\npath = \"b.db\"";
    let mistaken = parse(text).unwrap_err();
    let told: Vec<&str> = mistaken.mistakes().iter().map(|m| &*m.message).collect();
    assert_eq!(told, ["there is no repository \"fra\""]);
}
