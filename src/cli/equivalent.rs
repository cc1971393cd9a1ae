//! What does the same in a shell as a request of the daemon's API.

use super::output::quote;
use crate::daemon::equivalent::Equivalent;
use crate::daemon::wanted::Named;
use crate::types::Seq;

/// The command.
pub(super) fn command(of: &Equivalent) -> String {
    let at = |named: &Named, seq: Seq| quote(&format!("{}@seq:{seq}", named.name));
    let name = |named: &Named| quote(&named.name);
    match of {
        Equivalent::Show(named, seq) => format!("pagekeep show {}", at(named, *seq)),
        Equivalent::Coverage(named) => format!("pagekeep coverage {}", name(named)),
        Equivalent::Query(named, seq, sql) => {
            format!("pagekeep query {} {}", at(named, *seq), quote(sql))
        }
        Equivalent::Label(named, seq, label) => {
            format!("pagekeep label {} {}", at(named, *seq), quote(label))
        }
        Equivalent::LabelNow(named, path, label) => {
            format!(
                "pagekeep backup {} --name {} --label {}",
                quote(path),
                name(named),
                quote(label)
            )
        }
        Equivalent::Job(named, kind) => {
            format!(
                "pagekeep job start {} {kind} --repository {}",
                name(named),
                quote(&named.repository)
            )
        }
    }
}
