//! The longest chain that is whole, and what stands in its way.

use std::collections::HashSet;

use super::walk::Walk;
use super::{Chain, Problem};
use crate::error::{Error, ErrorKind, Result};
use crate::repo::history::History;
use crate::store::Entry;
use crate::types::SegmentId;

#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// The chain; empty if not even a base is left.
    pub(crate) chain: Chain,
    /// Segments of the log behind its end, which lead to it no more: the newest first.
    pub(crate) cut_off: Vec<Entry>,
    /// What broke the chains that end in those.
    pub(crate) breaks: Vec<Error>,
}

/// Finds the newest segment whose chain is whole, if need be behind the end of a broken one; as if some merged segments were
/// not there.
///
/// # Errors
/// Store errors.
pub(crate) fn survey(history: &History, without: &HashSet<SegmentId>) -> Result<Survey> {
    let mut walk = Walk::list_readable(history, without)?;
    let mut survey = Survey::default();
    for key in walk.log_keys() {
        let name = walk.listing.log_name(key);
        let entry = walk.listing.entries.iter().find(|e| e.name == name).cloned();
        let error = match walk.listing.log(key)? {
            Some(segment) => {
                walk.explore(&segment)?;
                let (mut path, whole) = walk.path(&segment);
                if whole {
                    path.reverse();
                    survey.chain = walk.finish(path);
                    return Ok(survey);
                }
                let end = path.pop().unwrap_or(segment);
                walk.why(&end)
            }
            None => match walk.listing.bad.get(&name) {
                Some(e) => Error::new(e.kind(), Problem::of(e).message).with_object(&*name),
                None => continue,
            },
        };
        survey.cut_off.extend(entry);
        survey.breaks.push(error);
    }
    for key in walk.merged_keys() {
        let Some(segment) = walk.listing.merged(key)? else { continue };
        walk.explore(&segment)?;
        let (mut path, whole) = walk.path(&segment);
        if whole {
            path.reverse();
            survey.chain = walk.finish(path);
            return Ok(survey);
        }
    }
    if walk.listing.gone {
        return Err(Error::new(ErrorKind::Busy, "is being pruned")
            .with_object(format!("history {:?}", history.name())));
    }
    Ok(survey)
}
