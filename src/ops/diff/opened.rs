//! A restore point that is open to be compared with others, one after the other.

use std::sync::Arc;

use super::pages::trees_between;
use super::side::Side;
use crate::error::Result;
use crate::ops::point::RestorePoint;
use crate::ops::view::{Moment, ViewOptions};
use crate::repo::chain::Written;
use crate::sqlite::rows::differing::{Wanted, differing};
use crate::sqlite::rows::record::Layout;
use crate::sqlite::rows::table::{Schema, schema};
use crate::sqlite::rows::trees::{Memory, Trees};

/// The page that the schema begins with.
const SCHEMA: u32 = 1;
/// Of a schema that differs more than this it is known that it does.
const SCHEMA_BYTES: usize = 1024 * 1024;

/// A restore point, its pages, and what asks them.
pub(super) struct Opened {
    pub(super) point: RestorePoint,
    pub(super) moment: Arc<Moment>,
    pub(super) side: Side<'static>,
    pub(super) schema: Arc<Schema>,
}

impl Opened {
    /// Opens a restore point.
    ///
    /// # Errors
    /// As [`RestorePoint::open`].
    pub(super) fn open(point: &RestorePoint, options: &ViewOptions) -> Result<Self> {
        let moment = Arc::new(Moment::of(point, options)?);
        Self::over(point, moment, options, None)
    }

    /// Opens a restore point that is compared with another one, of which something is remembered.
    /// Also returns how their pages differ, if that can be told.
    ///
    /// # Errors
    /// As [`RestorePoint::open`].
    pub(super) fn open_beside(
        point: &RestorePoint,
        other: &Self,
        options: &ViewOptions,
        (written, memory): (&mut Written, Memory),
    ) -> Result<(Self, Option<Trees>)> {
        let moment = Arc::new(match point.is_beside(&other.point) {
            true => other.moment.beside(point)?,
            false => Moment::of(point, options)?,
        });
        let threads = threads(point, options);
        let (old, new) = ((&other.point, &other.moment), (point, &moment));
        let trees = trees_between(old, new, (written, memory), threads)?;
        let same = trees.as_ref().is_some_and(is_same_schema);
        // A schema whose rows are the same is not read again.
        let schema = same.then(|| other.schema.clone());
        Ok((Self::over(point, moment, options, schema)?, trees))
    }

    /// What is before the first commit, to compare a restore point with.
    ///
    /// # Errors
    /// As [`RestorePoint::open`].
    pub(super) fn nothing(point: &RestorePoint, options: &ViewOptions) -> Result<Self> {
        let moment = Arc::new(Moment::of(point, options)?);
        let (side, schema) = (Side::nothing()?, Arc::default());
        Ok(Self { point: point.clone(), moment, side, schema })
    }

    /// All but what asks it, for when that comes back.
    pub(super) fn kept(&self) -> Kept {
        Kept { point: self.point.clone(), moment: self.moment.clone(), schema: self.schema.clone() }
    }

    fn over(
        point: &RestorePoint,
        moment: Arc<Moment>,
        options: &ViewOptions,
        known: Option<Arc<Schema>>,
    ) -> Result<Self> {
        let side = Side::point(moment.clone(), options);
        let schema = match known {
            Some(schema) => schema,
            None => Arc::new(schema(side.connection()?).map_err(|e| side.explain(e))?),
        };
        Ok(Self { point: point.clone(), moment, side, schema })
    }
}

/// A restore point that was open, without what asks it.
pub(super) struct Kept {
    point: RestorePoint,
    moment: Arc<Moment>,
    schema: Arc<Schema>,
}

impl Kept {
    /// The restore point, open again.
    pub(super) fn with(self, side: Side<'static>) -> Opened {
        Opened { point: self.point, moment: self.moment, side, schema: self.schema }
    }
}

/// Whether the rows of the schema are the same in two states: page 1 is written for other reasons,
/// too.
fn is_same_schema(trees: &Trees) -> bool {
    let layout = Layout::of(Vec::new());
    let wanted = [Wanted { root: SCHEMA, layout: &layout, keyed: None }];
    // What can't be read shows again when the schema is.
    let Ok(found) = differing(trees, &wanted, SCHEMA_BYTES, 1) else { return false };
    found.iter().all(|rows| rows.as_ref().is_some_and(Vec::is_empty))
}

/// How many threads read pages of a restore point.
pub(super) fn threads(point: &RestorePoint, options: &ViewOptions) -> usize {
    if options.read_ahead { point.history().repository().threads() } else { 1 }
}
