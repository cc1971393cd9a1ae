//! What does the same in a shell as a request of the daemon's API.

use std::path::Path;

use super::output::quote;
use crate::daemon::equivalent::Equivalent;
use crate::daemon::wanted::Named;
use crate::types::Seq;

/// The command, for a daemon of this configuration.
pub(super) fn command(of: &Equivalent, file: &Path) -> String {
    let at = |named: &Named, seq: Seq| quote(&format!("{}@seq:{seq}", named.name));
    let file = quote(&file.display().to_string());
    let (named, command) = match of {
        Equivalent::Show(named, seq) => (named, format!("show {}", at(named, *seq))),
        Equivalent::Coverage(named) => (named, format!("coverage {}", quote(&named.name))),
        Equivalent::Query(named, seq, sql) => {
            (named, format!("query {} {}", at(named, *seq), quote(sql)))
        }
        Equivalent::Label(named, seq, label) => {
            (named, format!("label {} {}", at(named, *seq), quote(label)))
        }
        Equivalent::LabelNow(named, path, label) => {
            let (name, label) = (quote(&named.name), quote(label));
            (named, format!("backup {} --name {name} --label {label}", quote(path)))
        }
        Equivalent::Job(named, kind) => {
            let (name, repository) = (quote(&named.name), quote(&named.repository));
            return format!("pagekeep job start {name} {kind} --repository {repository} -c {file}");
        }
    };
    format!("pagekeep {command} -r {} -c {file}", quote(&named.repository))
}
