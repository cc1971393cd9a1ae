//! Servers of a test: one that takes requests of HTTP, one that takes mail.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// How a server behaves.
#[derive(Clone, Debug, PartialEq)]
pub enum Manner {
    /// It answers with a status, and says where else to go.
    Answers(u16, Option<String>),
    /// It takes the request and says nothing.
    Hangs,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Request {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A server that takes requests.
#[derive(Clone)]
pub struct Receiver {
    pub port: u16,
    got: Arc<Mutex<Vec<Request>>>,
    manner: Arc<Mutex<Manner>>,
}

impl Receiver {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (got, manner) = (Arc::default(), Arc::new(Mutex::new(Manner::Answers(200, None))));
        let receiver = Self { port, got, manner };
        let server = receiver.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let server = server.clone();
                std::thread::spawn(move || server.serve(stream.unwrap()));
            }
        });
        receiver
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    pub fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// The requests that were answered well, or not at all.
    pub fn got(&self) -> Vec<Request> {
        self.got.lock().unwrap().clone()
    }

    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let path = line.split(' ').nth(1).unwrap().to_owned();
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").map_or(0, |n| n.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        let manner = self.manner.lock().unwrap().clone();
        let (status, location) = match manner {
            Manner::Answers(status, location) => (status, location),
            Manner::Hangs => {
                self.got.lock().unwrap().push(Request { path, headers, body });
                // Until the other side gives up.
                let _ = reader.read(&mut [0]);
                return;
            }
        };
        if status < 300 {
            self.got.lock().unwrap().push(Request { path, headers, body });
        }
        let location = location.map_or(String::new(), |url| format!("location: {url}\r\n"));
        let answer = format!(
            "HTTP/1.1 {status} X\r\n{location}content-length: 8\r\nconnection: close\r\n\r\nreceived"
        );
        let _ = (&stream).write_all(answer.as_bytes());
    }
}

/// A server that takes mail; each is all that its client said.
#[derive(Clone)]
pub struct MailServer {
    pub port: u16,
    got: Arc<Mutex<Vec<String>>>,
}

impl MailServer {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Self { port, got: Arc::default() };
        let thread = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                thread.serve(&stream.unwrap());
            }
        });
        server
    }

    pub fn got(&self) -> Vec<String> {
        self.got.lock().unwrap().clone()
    }

    fn serve(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let say = |text: &str| (&*stream).write_all(format!("{text}\r\n").as_bytes()).unwrap();
        say("220 test ESMTP");
        let (mut all, mut line) = (String::new(), String::new());
        let mut in_text = false;
        while reader.read_line(&mut line).unwrap_or(0) > 0 {
            all.push_str(&line);
            let word = line.trim_end().to_owned();
            line.clear();
            match &*word {
                "." if in_text => {
                    in_text = false;
                    self.got.lock().unwrap().push(std::mem::take(&mut all));
                    say("250 2.0.0 queued as 42");
                }
                _ if in_text => {}
                "DATA" => {
                    in_text = true;
                    say("354 go on");
                }
                "QUIT" => return say("221 bye"),
                word if word.starts_with("EHLO") => {
                    say("250-test\r\n250-AUTH PLAIN\r\n250 8BITMIME")
                }
                word if word.starts_with("AUTH") => say("235 2.7.0 accepted"),
                _ => say("250 ok"),
            }
        }
    }
}
