use super::*;
use proptest::prelude::*;

const START: Timestamp = Timestamp(1_800_000_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);

fn key(kind: Kind) -> Key {
    let subject = Subject::Database("main".to_owned(), "shop".to_owned());
    Key { subject, kind, detail: String::new() }
}

fn at(minutes: u64) -> Timestamp {
    START.after(MINUTE * u32::try_from(minutes).unwrap())
}

fn manner() -> Manner {
    let remind = Some(MINUTE * 100);
    Manner { after: MINUTE * 2, remind, zone: Zone::Utc, ..Manner::default() }
}

/// One alert, and channels to which everything or nothing gets through.
struct Trial {
    book: Book,
    manner: Manner,
}

impl Trial {
    fn new(manner: Manner) -> Self {
        Self { book: Book::default(), manner }
    }

    fn look(&mut self, minutes: u64, kind: Kind, known: Known) {
        self.book.look(BTreeMap::from([(key(kind), known)]), &self.manner, at(minutes));
        self.settle(minutes);
    }

    fn holds(&mut self, minutes: u64) {
        self.look(minutes, Kind::Lag, Known::Holds("slow".to_owned()));
    }

    fn over(&mut self, minutes: u64) {
        self.look(minutes, Kind::Lag, Known::Over);
    }

    fn due(&self, channel: &str, minutes: u64) -> Vec<What> {
        let due = self.book.due(channel, |_| true, &self.manner, at(minutes));
        due.into_iter().map(|telling| telling.what).collect()
    }

    fn deliver(&mut self, channel: &str, minutes: u64) -> Vec<What> {
        let due = self.book.due(channel, |_| true, &self.manner, at(minutes));
        self.book.delivered(channel, &due, at(minutes));
        self.settle(minutes);
        due.into_iter().map(|telling| telling.what).collect()
    }

    fn settle(&mut self, minutes: u64) {
        self.book.settle(["a", "b"].into_iter(), |_, _| true, &self.manner, at(minutes));
    }
}

#[test]
fn an_alert_is_told_reminded_of_and_over_for_each_channel_by_itself() {
    let mut trial = Trial::new(manner());
    trial.holds(0);
    assert_eq!(trial.deliver("a", 1), []);
    trial.holds(2);
    assert_eq!(trial.deliver("a", 2), [What::Raised]);
    assert_eq!(trial.deliver("a", 3), []);
    // The other one is out of order: it is due until it arrives.
    assert_eq!(trial.due("b", 60), [What::Raised]);
    trial.holds(101);
    assert_eq!(trial.due("a", 101), []);
    assert_eq!(trial.deliver("a", 102), [What::Reminder]);
    trial.over(110);
    assert_eq!(trial.due("a", 111), []);
    assert_eq!(trial.deliver("a", 112), [What::Over]);
    // The other one hears all of it at once.
    assert_eq!(trial.book.alerts().len(), 1);
    assert_eq!(trial.deliver("b", 200), [What::Passed]);
    assert!(trial.book.alerts().is_empty());
}

#[test]
fn what_comes_and_goes_is_told_once() {
    let mut trial = Trial::new(manner());
    let mut told = Vec::new();
    for minute in 0..60 {
        if minute % 2 == 0 {
            trial.holds(minute)
        } else {
            trial.over(minute)
        }
        told.extend(trial.deliver("a", minute));
    }
    assert_eq!(told, [What::Raised]);
    assert_eq!(trial.deliver("a", 61), [What::Over]);
    // What was never there for long is told by nobody.
    let mut trial = Trial::new(manner());
    for minute in (0..60).step_by(3) {
        trial.holds(minute);
        trial.over(minute + 1);
        assert_eq!(trial.deliver("a", minute + 2), [], "{minute}");
    }
}

#[test]
fn one_that_comes_back_is_told_to_whom_it_was_over() {
    let mut trial = Trial::new(manner());
    trial.holds(0);
    assert_eq!(
        (trial.deliver("a", 2), trial.deliver("b", 2)),
        (vec![What::Raised], vec![What::Raised])
    );
    trial.over(10);
    assert_eq!(trial.deliver("a", 12), [What::Over]);
    trial.holds(20);
    assert_eq!((trial.due("a", 22), trial.due("b", 22)), (vec![What::Raised], vec![]));
    // It came back while somebody was told that it is over.
    let mut trial = Trial::new(manner());
    trial.holds(0);
    trial.deliver("a", 2);
    trial.over(10);
    let due = trial.book.due("a", |_| true, &trial.manner, at(12));
    trial.holds(13);
    trial.book.delivered("a", &due, at(13));
    trial.holds(15);
    assert_eq!(trial.due("a", 15), [What::Raised]);
}

#[test]
fn the_night_is_quiet_but_for_what_is_critical_if_that_is_wished() {
    // 08:00 UTC at the start.
    let quiet = Quiet::parse("22:00-07:00").ok();
    let mut trial = Trial::new(Manner { quiet, ..manner() });
    let hour = |hours: u64| hours * 60;
    trial.holds(hour(15));
    assert_eq!(trial.deliver("a", hour(16)), []);
    trial.holds(hour(23));
    assert_eq!(trial.deliver("a", hour(23)), [What::Raised]);
    // Its end is quiet, too.
    trial.over(hour(39));
    assert_eq!(
        (trial.deliver("a", hour(40)), trial.deliver("a", hour(47))),
        (vec![], vec![What::Over])
    );
    let critical = |breaks| {
        let mut trial = Trial::new(Manner { quiet, critical_breaks_quiet: breaks, ..manner() });
        trial.look(hour(15), Kind::Damage, Known::Holds("x".to_owned()));
        trial.deliver("a", hour(16))
    };
    assert_eq!((critical(true), critical(false)), (vec![What::Raised], vec![]));
}

#[test]
fn notices_are_collected_and_nothing_else() {
    let digest = Schedule::parse("daily at 09:00").ok();
    let mut trial = Trial::new(Manner { digest, ..manner() });
    trial.book.happened(key(Kind::Gap), "first".to_owned(), at(30));
    trial.book.happened(key(Kind::Gap), "second".to_owned(), at(40));
    trial.book.happened(key(Kind::LargeDeletion), "all".to_owned(), at(41));
    // Each of them once; the deletion at once.
    let due = trial.book.due("a", |_| true, &trial.manner, at(50));
    assert_eq!(due.iter().map(|t| t.key.kind).collect::<Vec<_>>(), [Kind::LargeDeletion]);
    trial.book.delivered("a", &due, at(50));
    assert_eq!(trial.due("a", 59), []);
    let due = trial.book.due("a", |_| true, &trial.manner, at(60));
    assert_eq!((due.len(), due[0].alert.count, &*due[0].alert.why), (1, 2, "second"));
    trial.book.delivered("a", &due, at(60));
    // What happens again soon is told later, and once.
    trial.book.happened(key(Kind::LargeDeletion), "again".to_owned(), at(60));
    trial.book.happened(key(Kind::LargeDeletion), "and again".to_owned(), at(70));
    assert_eq!(trial.deliver("a", 109), []);
    assert_eq!((trial.deliver("a", 110), trial.deliver("a", 300)), (vec![What::Happened], vec![]));
    // What happened while it was told is told the next day.
    trial.book.happened(key(Kind::Gap), "third".to_owned(), at(61));
    assert_eq!((trial.due("a", 1000), trial.due("a", 1500)), (vec![], vec![What::Happened]));
}

#[test]
fn what_is_out_of_sight_is_forgotten_and_what_is_unknown_stays() {
    let mut trial = Trial::new(manner());
    trial.holds(0);
    trial.deliver("a", 2);
    trial.look(10, Kind::Lag, Known::Unknown);
    assert_eq!((trial.due("a", 50), trial.book.alerts().len()), (vec![], 1));
    trial.book.look(BTreeMap::new(), &trial.manner, at(51));
    assert!(trial.book.alerts().is_empty());
}

#[test]
fn a_clock_that_was_set_back_by_years_delays_nothing_for_years() {
    let mut trial = Trial::new(manner());
    trial.holds(10_000_000);
    trial.holds(0);
    assert_eq!(trial.deliver("a", 2), [What::Raised]);
    trial.over(10_000_000);
    trial.over(10);
    assert_eq!(trial.deliver("a", 12), [What::Over]);
}

#[test]
fn what_can_not_be_read_is_counted_and_lost() {
    let mut trial = Trial::new(manner());
    trial.holds(0);
    let stored: Vec<String> = trial.book.take_changes().into_iter().filter_map(|c| c.1).collect();
    let [text] = stored.as_slice() else { panic!("{stored:?}") };
    let texts = [text.clone(), text[1..].to_owned(), "{}".to_owned(), String::new()];
    let (book, lost) = Book::of(texts);
    assert_eq!((book.alerts(), lost), (trial.book.alerts(), 3));
}

/// What happens in a step.
#[derive(Clone, Debug)]
enum Step {
    Look(u8),
    Happens,
    Wait(u64),
    Deliver(usize, bool),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u8..3).prop_map(Step::Look),
        1 => Just(Step::Happens),
        4 => (1_u64..400).prop_map(Step::Wait),
        5 => (0_usize..2, any::<bool>()).prop_map(|(c, arrives)| Step::Deliver(c, arrives)),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: each channel hears a sensible story, and all of it.
    #[test]
    fn every_channel_hears_a_sensible_story(steps in proptest::collection::vec(step(), 1..120),
                                            quiet: bool) {
        let quiet = Quiet::parse("22:00-07:00").ok().filter(|_| quiet);
        let manner = Manner { quiet, ..manner() };
        let channels = ["a", "b"];
        let (mut book, mut now) = (Book::default(), 0_u64);
        let mut stored: BTreeMap<String, String> = BTreeMap::new();
        let mut heard: [Vec<What>; 2] = Default::default();
        let (mut happened, mut counted) = (0, [0_u64; 2]);
        // Since when it holds without a break of more than `after`, and since when it is over.
        let (mut since, mut over): (Option<u64>, Option<u64>) = (None, None);
        let settle = |book: &mut Book, now| {
            book.settle(channels.into_iter(), |_, _| true, &manner, at(now));
        };
        let remember = |book: &mut Book, stored: &mut BTreeMap<String, String>| {
            for (name, text) in book.take_changes() {
                match text {
                    Some(text) => drop(stored.insert(name, text)),
                    None => drop(stored.remove(&name)),
                }
            }
        };
        let deliver = |book: &mut Book, channel: usize, now: u64, since: Option<u64>,
                           heard: &mut [Vec<What>; 2], counted: &mut [u64; 2]| {
            let due = book.due(channels[channel], |_| true, &manner, at(now));
            if quiet.is_some_and(|quiet| quiet.is_at(at(now), &Zone::Utc)) {
                assert!(due.is_empty());
            }
            for telling in &due {
                let Telling { what, alert, .. } = telling;
                if *what == What::Happened {
                    counted[channel] = alert.count;
                    continue;
                }
                if *what == What::Raised {
                    let since = since.unwrap();
                    assert!(since + 2 <= now, "{since} {now}");
                }
                heard[channel].push(*what);
            }
            book.delivered(channels[channel], &due, at(now));
        };
        for step in steps {
            match step {
                Step::Look(which) => {
                    let known = match which {
                        0 => Known::Unknown,
                        1 => Known::Over,
                        _ => Known::Holds("x".to_owned()),
                    };
                    match &known {
                        Known::Holds(_) => {
                            let is_back = over.is_none_or(|over| over + 2 <= now);
                            if since.is_none() || is_back && over.is_some() { since = Some(now); }
                            over = None;
                        }
                        Known::Over if since.is_some() => { over.get_or_insert(now); }
                        _ => {}
                    }
                    book.look(BTreeMap::from([(key(Kind::Lag), known)]), &manner, at(now));
                }
                Step::Happens => {
                    happened += 1;
                    book.happened(key(Kind::Gap), "gap".to_owned(), at(now));
                }
                Step::Wait(minutes) => now += minutes,
                Step::Deliver(channel, true) => {
                    deliver(&mut book, channel, now, since, &mut heard, &mut counted);
                }
                Step::Deliver(channel, false) => {
                    let due = || book.due(channels[channel], |_| true, &manner, at(now));
                    assert_eq!(due(), due());
                }
                Step::Restart => {
                    let (again, lost) = Book::of(stored.values().cloned());
                    prop_assert_eq!((again.alerts(), lost), (book.alerts(), 0));
                    book = again;
                }
            }
            settle(&mut book, now);
            remember(&mut book, &mut stored);
        }
        // It ends, and everybody is told at noon.
        book.look(BTreeMap::from([(key(Kind::Lag), Known::Over)]), &manner, at(now));
        now = (now / 1440 + 2) * 1440 + 240;
        prop_assert!(book.alerts().len() <= 2);
        for channel in 0..2 {
            deliver(&mut book, channel, now, since, &mut heard, &mut counted);
        }
        settle(&mut book, now);
        prop_assert!(book.alerts().is_empty(), "{:?}", book.alerts());
        for channel in 0..2 {
            let mut is_told = false;
            for what in &heard[channel] {
                match what {
                    What::Raised => { prop_assert!(!is_told); is_told = true; }
                    What::Reminder => prop_assert!(is_told),
                    What::Over => { prop_assert!(is_told); is_told = false; }
                    What::Passed => prop_assert!(!is_told),
                    What::Happened => prop_assert!(false),
                }
            }
            prop_assert!(!is_told, "{:?}", heard[channel]);
            // Counts begin anew once all were told, so none is above what happened.
            prop_assert!(counted[channel] <= happened && (happened == 0) == (counted[channel] == 0));
        }
    }
}
