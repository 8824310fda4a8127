//! A mail server: the protocol is mailin's, the sockets are ours. It takes what it is sent and shows it.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use mailin::{Action, AuthMechanism, Handler, Response, SessionBuilder, response};

use super::eventually;

/// What it knows its clients by.
pub(crate) const USER: &str = "portcullis";
pub(crate) const PASSWORD: &str = "let-me-send-mail";

/// A running mail server; it ends with the test.
#[derive(Debug, Clone)]
pub(crate) struct MailServer {
    address: SocketAddr,
    desk: Arc<Mutex<Desk>>,
}

/// What came in.
#[derive(Debug, Default)]
struct Desk {
    mails: Vec<String>,
    /// Every line that was said to it, of all connections.
    heard: String,
}

/// One connection's mail.
struct Clerk {
    desk: Arc<Mutex<Desk>>,
    signed_in: bool,
    mail: Vec<u8>,
}

impl Handler for Clerk {
    fn auth_plain(&mut self, _: &str, user: &str, password: &str) -> Response {
        self.signed_in = user == USER && password == PASSWORD;
        if self.signed_in { response::AUTH_OK } else { response::INVALID_CREDENTIALS }
    }

    fn mail(&mut self, _: IpAddr, _: &str, _: &str) -> Response {
        if self.signed_in { response::OK } else { response::AUTHENTICATION_REQUIRED }
    }

    fn rcpt(&mut self, to: &str) -> Response {
        if to.starts_with("nobody") { response::NO_MAILBOX } else { response::OK }
    }

    fn data(&mut self, piece: &[u8]) -> io::Result<()> {
        self.mail.extend_from_slice(piece);
        Ok(())
    }

    fn data_end(&mut self) -> Response {
        let mail = String::from_utf8(std::mem::take(&mut self.mail)).expect("mail is text");
        self.desk.lock().expect("nobody panics while holding this").mails.push(mail);
        response::OK
    }
}

impl MailServer {
    /// Starts on a free port.
    pub(crate) fn start() -> Self {
        Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// Starts on this address.
    pub(crate) fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("a free address");
        let address = listener.local_addr().expect("a bound socket");
        let desk = Arc::<Mutex<Desk>>::default();
        let server = Self { address, desk: Arc::clone(&desk) };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let desk = Arc::clone(&desk);
                // A client that hangs up ends its conversation, and nothing else.
                std::thread::spawn(move || drop(converse(stream, desk)));
            }
        });
        server
    }

    /// An address on which one may be started later.
    pub(crate) fn reserve() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.local_addr().expect("a bound socket")
    }

    /// As the gateway is told it.
    pub(crate) fn url(&self) -> String {
        Self::url_of(self.address)
    }

    pub(crate) fn url_of(address: SocketAddr) -> String {
        format!("smtp://{USER}:{PASSWORD}@{address}")
    }

    /// Everything that was taken so far.
    pub(crate) fn mails(&self) -> Vec<String> {
        self.desk.lock().expect("nobody panics while holding this").mails.clone()
    }

    /// Every line that was said to it.
    pub(crate) fn heard(&self) -> String {
        self.desk.lock().expect("nobody panics while holding this").heard.clone()
    }

    /// The mails, once there are `count`.
    pub(crate) async fn received(&self, count: usize) -> Vec<String> {
        eventually("mail", async || Some(self.mails()).filter(|mails| mails.len() >= count)).await
    }
}

fn converse(mut stream: TcpStream, desk: Arc<Mutex<Desk>>) -> io::Result<()> {
    let peer = stream.peer_addr()?.ip();
    let clerk = Clerk { desk: Arc::clone(&desk), signed_in: false, mail: Vec::new() };
    let mut builder = SessionBuilder::new("mail.test");
    builder.enable_auth(AuthMechanism::Plain).insecure_enable_plaintext_auth();
    let mut session = builder.build(peer, clerk);
    stream.write_all(&session.greeting().buffer()?)?;
    let mut lines = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = Vec::new();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        desk.lock().expect("nobody panics while holding this").heard.push_str(&String::from_utf8_lossy(&line));
        let answer = session.process(&line);
        match answer.action {
            Action::NoReply => {}
            Action::Close => return stream.write_all(&answer.buffer()?),
            Action::Reply | Action::UpgradeTls => stream.write_all(&answer.buffer()?)?,
        }
    }
}
