//! A store that works, fails, hangs or loses its answers, as the test says from one moment to the next.

use std::sync::{Arc, Condvar, Mutex};

use pagekeep::internals::store::Store;
use pagekeep::{Error, ErrorKind};

use crate::support::hooked::{Fate, Hooked, Op};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// Nothing is done; every operation answers this kind of error.
    Fails(ErrorKind),
    /// Operations wait until the mood is another.
    Hangs,
    /// Objects are created, and an error comes back.
    LosesAnswers,
}

/// The mood of a store.
pub struct Moods {
    /// The present one, and how many operations have met it.
    present: Mutex<(Mood, u64)>,
    changed: Condvar,
}

impl Moods {
    /// A store in front of this one, and its moods.
    pub fn of(inner: Arc<dyn Store>) -> (Arc<Self>, Hooked) {
        let moods =
            Arc::new(Self { present: Mutex::new((Mood::Well, 0)), changed: Condvar::new() });
        let asked = moods.clone();
        (moods, Hooked::new(inner, move |op, _| asked.fate(op)))
    }

    pub fn set(&self, mood: Mood) {
        *self.present.lock().unwrap() = (mood, 0);
        self.changed.notify_all();
    }

    /// How many operations have met the present mood.
    pub fn met(&self) -> u64 {
        self.present.lock().unwrap().1
    }

    fn fate(&self, op: Op<'_>) -> Fate {
        let mut present = self.present.lock().unwrap();
        present.1 += 1;
        while present.0 == Mood::Hangs {
            present = self.changed.wait(present).unwrap();
        }
        match (present.0, op) {
            (Mood::Fails(kind), _) => Fate::Fail(Error::new(kind, "the store is in a bad mood")),
            // Reading back is what mends a lost answer: let that be in vain as well.
            (Mood::LosesAnswers, Op::Create(_) | Op::Get) => {
                Fate::LoseAnswer(Error::new(ErrorKind::Storage, "the answer was lost"))
            }
            _ => Fate::PassOn,
        }
    }
}
