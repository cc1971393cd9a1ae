//! The example in `examples/ledger.rs`, as its first lines describe it: clients over TCP, restore points, a rewind while they stay
//! connected, and a kill.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::example;

struct Ledger {
    child: Child,
    address: String,
}

impl Ledger {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(example::binary("ledger"))
            .args([folder.to_str().unwrap(), "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { child, address }
    }

    fn client(&self) -> Client {
        let stream = TcpStream::connect(&self.address).unwrap();
        Client { answers: BufReader::new(stream.try_clone().unwrap()), stream }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Client {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
}

impl Client {
    fn ask(&mut self, request: &str) -> String {
        writeln!(self.stream, "{request}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

#[test]
fn the_ledger_keeps_its_books_through_a_mistake_and_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::start(dir.path());
    let (mut one, mut two) = (ledger.client(), ledger.client());
    assert!(one.ask("open alice").starts_with("alice is open (durable, seq:"));
    assert!(one.ask("deposit alice 100").starts_with("alice has 100 (durable"));
    assert!(two.ask("transfer alice bob 30").starts_with("alice has 70 (durable"));
    assert_eq!(two.ask("transfer alice bob 300"), "error: alice does not have 300");
    assert!(one.ask("snapshot \"before the audit\"").starts_with("seq:"));
    assert!(one.ask("transfer alice mallory 70").starts_with("alice has 0"));
    assert!(two.ask("rewind \"before the audit\"").starts_with("rewound to seq:"));
    assert_eq!((one.ask("balance alice"), one.ask("balance bob")), ("70".into(), "30".into()));
    assert_eq!(one.ask("balance mallory"), "error: there is no account mallory");
    assert!(one.ask("status").starts_with("following, "));

    assert!(one.ask("deposit bob 5").starts_with("bob has 35 (durable"));
    drop(ledger);
    let ledger = Ledger::start(dir.path());
    let mut client = ledger.client();
    assert_eq!(client.ask("balance bob"), "35");
    assert!(client.ask("dance").starts_with("error: open, deposit"));
    assert!(client.ask("points").starts_with("seq:"));
}
