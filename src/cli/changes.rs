//! `changes`: the change feed, for programs: one line of JSON for each change.

use std::time::{Duration, Instant};

use super::args::ChangesArgs;
use super::context::Context;
use super::moments::{limit_heap, named};
use super::progress::{Progress, stop_requested};
use crate::api::rows as answers;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::diff::feed::{FeedEvent, FeedOptions};
use crate::ops::view::ViewOptions;
use crate::progress::stopped;

/// How often to look for a stop while nothing comes.
const TICK: Duration = Duration::from_millis(100);

pub(crate) fn changes(context: &Context, args: &ChangesArgs) -> Result<()> {
    limit_heap()?;
    let repository = context.repository()?;
    let history = repository.history(&args.name)?;
    let chain = context.chain(&history)?;
    let cache = usize::try_from(args.cache / 2).unwrap_or(usize::MAX);
    let view = ViewOptions::default().cache_bytes(cache);
    let mut options = FeedOptions::default().tables(args.table.clone()).view(view);
    options.from = named(context, &history, &chain, args.from.as_deref())?;
    options.to = named(context, &history, &chain, args.to.as_deref())?;
    if let (Some(from), Some(to)) = (options.from, options.to)
        && from > to
    {
        let what = format!("seq:{from} is later than seq:{to}, and comes first");
        return Err(Error::new(ErrorKind::Usage, what)
            .with_object(format!("history {:?}", history.name()))
            .with_hint("name the earlier one with --from"));
    }
    drop(chain);
    let out = &context.out;
    let mut feed = history.feed(&options)?;
    let mut take = |seq, time, event: FeedEvent| {
        if out.is_unread() || out.lost().is_some() {
            return Err(stopped());
        }
        match event {
            FeedEvent::Schema(change) => out.object(&answers::SchemaStep::of(seq, time, &change)),
            FeedEvent::Row(change) => out.object(&answers::RowStep::of(seq, time, change)),
            FeedEvent::End(tables) => out.object(&answers::CommitEnd::of(seq, time, &tables)),
        }
        Ok(())
    };
    let progress = Progress::new(out);
    loop {
        match feed.advance(&mut take, &progress) {
            // Nobody reads the rest.
            Err(_) if out.is_unread() => return Ok(()),
            Err(e) if args.follow && e.kind() == ErrorKind::Interrupted => return Ok(()),
            told => told?,
        };
        if !args.follow {
            break;
        }
        let until = Instant::now() + args.interval;
        while Instant::now() < until {
            if stop_requested() {
                return Ok(());
            }
            std::thread::sleep(TICK.min(until.saturating_duration_since(Instant::now())));
        }
    }
    match feed.unmet().next() {
        Some(table) => Err(Error::new(ErrorKind::NotFound, "is in none of these commits")
            .with_object(format!("table {table:?}"))
            .with_hint("`SELECT name FROM sqlite_schema` shows what there is")),
        None => Ok(()),
    }
}
