//! What the supervisor has at hand: the databases, the repositories, the threads, and the messages
//! that others send.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::clerks::Clerks;
use super::config::{Config, RepositoryConfig};
use super::copying::Copied;
use super::files::{Files, Touch};
use super::grouped::Keeping;
use super::http::Server;
use super::http::api::state::{Api, Means};
use super::job::{Control, Ended, Outcome};
use super::kept::{Kept, Whose};
use super::kind::Kind;
use super::ledger::{Ledger, Memory};
use super::opened::{Opened, Place};
use super::overview::Board;
use super::pace::Pace;
use super::print::Print;
use super::progress::Progress;
use super::room::Gauges;
use super::shelf::Shelf;
use super::systemd::Systemd;
use super::tested::Found;
use super::wanted::{Wish, Wisher};
use crate::capture::follow::Follower;
use crate::error::Result;
use crate::policy::verdict::Standing;
use crate::repo::Repository;
use crate::repo::history::handle::History;

/// What part of the time the supervisor looks at everything, and for new files, where there is a
/// lot of it: one in so many.
const LOOKING: u32 = 500;
const FINDING: u32 = 1000;

/// What a daemon did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    /// Databases that it kept at the end.
    pub(crate) databases: u64,
    /// Commits that its followers stored.
    pub(crate) commits: u64,
    /// Jobs that it began.
    pub(crate) jobs: u64,
    /// Databases of which not all was stored when it ended, as far as it knows.
    pub(crate) unstored: u64,
}

/// What others tell the supervisor.
#[derive(Debug)]
pub(super) enum Message {
    /// Somebody tried to open a repository, as one configuration had it.
    Opened(String, RepositoryConfig, Result<(Repository, Vec<History>)>),
    /// Somebody tried to take a database up.
    Began(Whose, Result<Taken>),
    /// Somebody stopped following a database, whose files looked so before.
    Left(Whose, Print, Result<Rest>),
    /// Somebody asked the repository how a history stands.
    Judged(Whose, Result<(History, Standing)>),
    /// Files were written to, or came, or went.
    Touched(Vec<Touch>),
    /// Somebody copied a database's history to the mirror of that name, or could not: who was told
    /// to by this control.
    Copied(Whose, String, Arc<Control>, Result<Copied>),
    /// Somebody made one moment of the group of that name, or could not.
    Moment(String, u64, Outcome),
    /// What the job of that number, a test, found of each commit.
    Found(u64, Vec<Found>),
    /// A job ended.
    Done(Whose, u64, Outcome),
    /// Somebody wants something.
    Wished(Wish),
}

/// How a database was taken up.
#[derive(Debug)]
pub(super) enum Taken {
    /// It is followed.
    Followed(History, Follower),
    /// Nothing changed since it was last followed.
    Rests(History, Print),
}

/// How a database was left.
#[derive(Debug, Default)]
pub(super) struct Rest {
    pub(super) print: Print,
    /// Whether the file proves by itself that all of it is captured.
    pub(super) is_proven: bool,
}

/// Those who are at work on a file by an earlier configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Departing {
    /// How many have not told yet that they ended.
    pub(super) left: usize,
    /// Until when they are waited for.
    pub(super) until: Instant,
}

/// The daemon at work.
pub(super) struct Supervisor {
    pub(super) config: Config,
    pub(super) place: Place,
    pub(super) repositories: BTreeMap<String, Opened>,
    pub(super) kept: BTreeMap<PathBuf, Kept>,
    /// The groups, by name.
    pub(super) groups: BTreeMap<String, Keeping>,
    /// Who is at work on a file by an earlier configuration.
    pub(super) departing: BTreeMap<PathBuf, Departing>,
    /// The number of the next database that is kept.
    pub(super) next: u64,
    /// Whether the daemon ends.
    pub(super) stop: Arc<AtomicBool>,
    pub(super) ledger: Ledger,
    pub(super) memory: Memory,
    /// The threads of each repository.
    pub(super) clerks: BTreeMap<String, Clerks>,
    /// Databases whose turn for a job has come, by their repositories, the one that waits longest
    /// first.
    pub(super) turns: BTreeMap<String, VecDeque<PathBuf>>,
    pub(super) mailbox: Sender<Message>,
    pub(super) inbox: Receiver<Message>,
    pub(super) systemd: Systemd,
    /// Where others see how everything stands.
    pub(super) board: Board,
    /// Answers to monitors, and to whoever has a token.
    pub(super) http: Server,
    /// Answers to commands of this user.
    pub(super) commands: Server,
    /// The repositories, for those who read them beside.
    pub(super) shelf: Shelf,
    /// Which followers move, and whether it was told of those that do not.
    pub(super) progress: Progress,
    /// The room where the daemon keeps what it remembers.
    pub(super) gauges: Gauges,
    /// How many jobs ended, by kind and end.
    pub(super) jobs_ended: BTreeMap<(Kind, Ended), u64>,
    pub(super) done: Done,
    pub(super) files: Files,
    /// When to look again at what nobody tells of.
    pub(super) looks: Pace,
    /// When to look again for files that nobody tells of.
    pub(super) finds: Pace,
    /// Names that two files have, told once.
    pub(super) told: BTreeSet<String>,
}

impl Supervisor {
    /// Prepares to keep what a configuration names.
    pub(super) fn new(config: Config, place: Place, ledger: (Ledger, Memory)) -> Self {
        let (mailbox, inbox) = unbounded();
        let (ledger, memory) = ledger;
        let (board, shelf) = (Board::default(), Shelf::default());
        let api = Api::of(Means {
            board: board.clone(),
            shelf: shelf.clone(),
            wisher: Wisher::new({
                let mailbox = mailbox.clone();
                move |wish| mailbox.send(Message::Wished(wish)).is_ok()
            }),
            file: config.file.clone(),
            ledger: place.ledger(),
            clock: place.clock.clone(),
        });
        Self {
            clerks: BTreeMap::new(),
            repositories: BTreeMap::new(),
            kept: BTreeMap::new(),
            groups: BTreeMap::new(),
            departing: BTreeMap::new(),
            next: 0,
            stop: Arc::default(),
            turns: BTreeMap::new(),
            systemd: Systemd::default(),
            http: Server::of(board.clone(), api.clone()),
            commands: Server::of(board.clone(), api),
            shelf,
            board,
            progress: Progress::default(),
            gauges: Gauges::default(),
            jobs_ended: BTreeMap::new(),
            done: Done::default(),
            files: Files::listen({
                let mailbox = mailbox.clone();
                move |touches| drop(mailbox.send(Message::Touched(touches)))
            }),
            looks: Pace::of_share(LOOKING),
            finds: Pace::of_share(FINDING),
            told: BTreeSet::new(),
            config,
            place,
            ledger,
            memory,
            mailbox,
            inbox,
        }
    }
}
