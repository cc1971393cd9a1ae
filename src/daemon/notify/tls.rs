//! Which cryptography TLS uses: one for the whole process. Without it, requests and mail would each
//! look for one, and fail where there are two.

/// Has all of TLS use ring. Called once, before anything connects; calls after the first change
/// nothing.
pub(crate) fn prepare() {
    // It fails where it was done before.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::super::deliver::deliver;
    use super::super::message::Message;
    use crate::daemon::config::{Channel, Mail, TextSource, Tls, Way};
    use crate::progress::Silent;
    use crate::types::Timestamp;

    /// A server that takes the first bytes and hangs up; answers what it got.
    fn greeted(way: impl FnOnce(u16) -> Way) -> (Vec<u8>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut first = [0; 6];
            stream.read_exact(&mut first).unwrap();
            first.to_vec()
        });
        let channel = Channel { way: way(port), allow_private: true };
        let message = Message::test("a", "box", Timestamp(0));
        let error = deliver(&channel, &message, &Silent).unwrap_err();
        (server.join().unwrap(), error.to_string())
    }

    #[test]
    fn everybody_who_uses_tls_begins_a_handshake() {
        super::prepare();
        super::prepare();
        let requests = |port| Way::Ntfy {
            url: TextSource::Plain(format!("https://127.0.0.1:{port}/topic")),
            token: None,
        };
        let mail = |port| {
            Way::Mail(Mail {
                server: "127.0.0.1".to_owned(),
                port,
                tls: Tls::Always,
                login: None,
                from: "a@example.com".to_owned(),
                to: vec!["b@example.com".to_owned()],
            })
        };
        for (first, error) in [greeted(requests), greeted(mail)] {
            // A record of a handshake, and in it the greeting of a client.
            assert_eq!((first[0], first[1], first[5]), (0x16, 3, 1), "{first:?} {error}");
        }
    }
}
