//! Answers that have no end of their own, and the connections that have one under way.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// An answer that has no end of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lasting;

/// Whether a connection has such an answer under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Held(pub(super) Arc<AtomicBool>);
