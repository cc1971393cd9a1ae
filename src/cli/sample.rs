//! The configuration that a new user is given: what counts for the databases that were named, and
//! in comments what else there is.

use std::path::{Path, PathBuf};

use crate::daemon::config::quoted;

/// A commented configuration for databases and a repository.
pub(crate) fn sample(location: &str, key_file: Option<&Path>, databases: &[PathBuf]) -> String {
    let key = match key_file {
        Some(path) => format!("key-file = {}", quoted(&path.display().to_string())),
        None => "key-file = \"/etc/pagekeep/key\"".to_owned(),
    };
    let entry =
        |path: &PathBuf| format!("[[databases]]\npath = {}\n", quoted(&path.display().to_string()));
    let databases: String = match databases {
        [] => "# [[databases]]\n# path = \"/srv/app/app.db\"\n".to_owned(),
        databases => databases.iter().map(entry).collect::<Vec<_>>().join("\n"),
    };
    SAMPLE
        .replace("{location}", &quoted(location))
        .replace("{key}", &key)
        .replace("{databases}", databases.trim_end())
}

const SAMPLE: &str = r#"# What pagekeep keeps, and how. `pagekeep config check` explains it, `pagekeep run` does it, and a
# running one reads it again at SIGHUP. Paths are relative to the folder of this file.

[daemon]
# Where it keeps what it remembers [default: as the other commands]:
# state-dir = "/var/lib/pagekeep"
# How many jobs (snapshots, verifications, prunes) of each repository run at once:
# jobs = 2
# Where restore tests put their scratch files [default: the folder for temporary files]:
# scratch = "/var/tmp"

# Metrics for Prometheus, and whether all is well, at http://127.0.0.1:7373:
# [http]
# listen = "127.0.0.1:7373"

[repositories.main]
location = {location}
# Instead of a key file: password-file = "FILE", password-command = "COMMAND", password-env = "NAME".
{key}

# Who is told when something is wrong: ntfy, slack, mattermost, discord, telegram, mail, webhook,
# command, apprise. `pagekeep notify test ops` tries it.
# [channels.ops]
# kind = "ntfy"
# url = "https://ntfy.sh/a-topic-that-nobody-guesses"
# [alerts]
# quiet = "22:00-07:00"

# What counts for every database that says nothing else. All of it may stand in a database's own
# table, too.
[defaults]
# Which channels are told:
# notify = ["ops"]
# Every transaction is kept ("follow"), or a snapshot now and then ("snapshots"):
mode = "follow"
# With "snapshots": when. "every 15m", "daily at 03:00", "mon-fri at 22:30", "30 3 * * sun".
# schedule = "every 1h"
# Whose clock that is [default: this machine's]:
# time-zone = "Europe/Berlin"
# Databases that rest so long are closed and only watched; they wake with the next change:
# sleep-after = "1m"
# How long commits stay, and when the others go. Without a policy everything stays.
# policy = { keep-window = "7d", keep-daily = 30, keep-weekly = 12, keep-monthly = 12 }
# prune = "daily at 04:00"
# Proofs: batches are opened and compared, and the newest commit is restored and asked.
verify.data = "@daily"
verify.sample = "10%"
verify.restore = "@weekly"
# verify.assert = ["SELECT count(*) > 0 FROM orders"]

# A path, or a pattern such as "/srv/tenants/*.db"; `name` is the history's name.
{databases}
"#;
