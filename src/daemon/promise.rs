//! Whoever waits for a message gets one, whatever becomes of the task that is to send it: a task
//! may be dropped before it begins, and it may panic.

use crossbeam_channel::Sender;

use super::desk::Message;
use crate::error::{Error, ErrorKind, Result};

/// A message that is sent when this is dropped, unless another one was sent before.
#[derive(Debug)]
pub(super) struct Promise {
    mailbox: Sender<Message>,
    otherwise: Option<Message>,
}

impl Promise {
    /// Promises a message: `otherwise`, if nothing else is known by then.
    pub(super) fn new(mailbox: &Sender<Message>, otherwise: Message) -> Self {
        Self { mailbox: mailbox.clone(), otherwise: Some(otherwise) }
    }

    /// Sends what was promised.
    pub(super) fn keep(mut self, message: Message) {
        self.otherwise = Some(message);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if let Some(message) = self.otherwise.take() {
            // A supervisor that has ended needs no answer.
            let _ = self.mailbox.send(message);
        }
    }
}

/// What a task comes to that is dropped.
pub(super) fn undone<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Interrupted, "nothing was done: its thread had to end"))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crossbeam_channel::{bounded, unbounded};

    use super::*;
    use crate::daemon::job::{Ended, Outcome};
    use crate::daemon::kept::Whose;
    use crate::daemon::pool::Pool;

    #[test]
    fn a_task_that_is_never_begun_answers_all_the_same() {
        let (mailbox, inbox) = unbounded();
        let whose = Whose { path: "/srv/a.db".into(), number: 1 };
        let done = |id, outcome| Message::Done(whose.clone(), id, outcome);
        let dropped = |id| Promise::new(&mailbox, done(id, Outcome::of(undone())));
        let pool = Pool::start("test", 1).unwrap();
        let (go, wait) = bounded::<()>(0);
        let (begins, begun) = bounded::<()>(1);
        let first = dropped(1);
        let well = done(1, Outcome::of(Ok(Outcome { ended: Ended::Well, message: String::new() })));
        pool.give(move || {
            begins.send(()).unwrap();
            let _ = wait.recv();
            first.keep(well);
        });
        let second = dropped(2);
        pool.give(move || {
            let _second = second;
            unreachable!("the pool has ended");
        });
        let third = dropped(3);
        begun.recv().unwrap();
        assert!(!pool.end(Instant::now()));
        drop(go);
        let mut heard = Vec::new();
        while heard.len() < 2 {
            match inbox.recv_timeout(Duration::from_secs(60)).unwrap() {
                Message::Done(_, id, outcome) => heard.push((id, outcome.ended)),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(heard, [(1, Ended::Well), (2, Ended::Stopped)]);
        // A panic drops it as well.
        let pool = Pool::start("test", 1).unwrap();
        pool.give(move || {
            let _third = third;
            panic!("a task of a test that panics");
        });
        let heard = inbox.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(matches!(heard, Message::Done(_, 3, outcome) if outcome.ended == Ended::Stopped));
    }
}
