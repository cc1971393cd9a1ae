//! From a selector to a commit.

use crate::error::{Error, ErrorKind, Result};
use crate::policy::selector::Selector;
use crate::repo::chain::{Chain, Commit};
use crate::repo::history::History;

/// The commit that a selector means.
///
/// # Errors
/// [`ErrorKind::NotFound`] when there is none, with what there is; [`ErrorKind::Usage`] when an id prefix fits several
/// snapshots.
pub fn select(history: &History, chain: &Chain, selector: &Selector) -> Result<Commit> {
    let nothing = |what: String| {
        let known = match (chain.commits().next(), chain.latest()) {
            (Some(first), Some(last)) => format!(
                "its commits go from seq:{} ({}) to seq:{} ({}); `pagekeep log {}` shows them",
                first.seq,
                first.record.time,
                last.seq,
                last.record.time,
                history.name()
            ),
            _ => "the history has no commits yet".to_owned(),
        };
        Error::new(ErrorKind::NotFound, what)
            .with_object(format!("history {:?}", history.name()))
            .with_hint(known)
    };
    match selector {
        Selector::Latest(back) => {
            let back = usize::try_from(*back).unwrap_or(usize::MAX);
            let none = || nothing(format!("has no commit latest~{back}"));
            chain.commits().rev().nth(back).ok_or_else(none)
        }
        Selector::Seq(seq) => {
            chain.commit(*seq).ok_or_else(|| nothing(format!("has no commit seq:{seq}")))
        }
        Selector::Moment(time) => chain
            .commits()
            .rev()
            .find(|c| c.record.time <= *time)
            .ok_or_else(|| nothing(format!("has no commit as old as {time}"))),
        Selector::Label(label) => {
            let snapshots = history.snapshots()?;
            let mut seqs: Vec<_> =
                snapshots.iter().filter(|s| s.label == *label).map(|s| s.seq).collect();
            if seqs.is_empty() && label.len() >= 4 {
                let prefixed = snapshots.iter().filter(|s| s.id.to_string().starts_with(label));
                seqs.extend(prefixed.map(|s| s.seq));
                if seqs.len() > 1 {
                    return Err(Error::new(ErrorKind::Usage, "fits several snapshots")
                        .with_object(label)
                        .with_hint("give more digits of the id"));
                }
            }
            seqs.iter()
                .max()
                .and_then(|seq| chain.commit(*seq))
                .ok_or_else(|| nothing(format!("has no snapshot labelled {label:?}")))
        }
    }
}
