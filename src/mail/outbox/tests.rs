//! What becomes of letters, with a mail server that does as it is told, on tokio's paused clock.

use std::collections::VecDeque;

use super::*;
use crate::clock::{ManualClock, SystemEntropy};
use crate::mail::LetterKind;

/// Answers with what it was told, in order; then takes everything.
#[derive(Default)]
struct Server {
    answers: Mutex<VecDeque<NotCarried>>,
    taken: Mutex<Vec<String>>,
}

#[async_trait]
impl Transport for Server {
    async fn carry(&self, mail: &Mail) -> Result<(), NotCarried> {
        if let Some(refusal) = self.answers.lock().unwrap().pop_front() {
            return Err(refusal);
        }
        self.taken.lock().unwrap().push(String::from_utf8(mail.bytes()).unwrap());
        Ok(())
    }
}

struct Post {
    outbox: Outbox,
    server: Arc<Server>,
    clock: Arc<ManualClock>,
    metrics: Arc<Metrics>,
}

fn post(answers: Vec<NotCarried>) -> Post {
    let server = Arc::new(Server { answers: Mutex::new(answers.into()), ..Server::default() });
    let clock = Arc::new(ManualClock::at(Timestamp::from_second(1_800_000_000).unwrap()));
    let metrics = Arc::new(Metrics::new());
    let settings = OutboxSettings {
        sender: Sender::parse("no-reply@example.com").unwrap(),
        templates: Templates::built_in(),
        service: "app.example.com".to_owned(),
        letters_max: 3,
        each_hourly_max: 5,
    };
    let (transport, entropy) = (server.clone(), Arc::new(SystemEntropy));
    let parts = OutboxParts { transport, clock: clock.clone(), entropy, metrics: metrics.clone(), settings };
    Post { outbox: Outbox::new(parts), server, clock, metrics }
}

impl Post {
    fn write(&self, to: &str) -> Result<(), NoPostage> {
        let postage = self.outbox.reserve(&Email::parse(to).unwrap())?;
        postage.send(Letter {
            kind: LetterKind::PasswordReset,
            name: Some("Ada".to_owned()),
            link: "https://app.example.com/reset#token=abc".into(),
            expires_at: self.clock.now() + Duration::from_secs(3600),
        });
        Ok(())
    }

    fn taken(&self) -> usize {
        self.server.taken.lock().unwrap().len()
    }

    /// Waits until no letter is on its way, without hurrying any.
    async fn done(&self) {
        while self.outbox.waiting() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn counted(&self, result: MailResult, times: u64) {
        use crate::telemetry::labels::Label as _;
        let line = format!("portcullis_mail_total{{result=\"{}\"}} {times}\n", result.word());
        let text = self.metrics.encode();
        assert!(text.contains(&line), "{line}{text}");
    }
}

fn not_yet() -> NotCarried {
    NotCarried::Yet("nobody is there".into())
}

#[tokio::test(start_paused = true)]
async fn a_letter_is_tried_until_the_server_takes_it() {
    let post = post((0..8).map(|_| not_yet()).collect());
    post.write("ada@example.com").unwrap();
    post.done().await;
    assert_eq!(post.taken(), 1);
    assert!(post.server.taken.lock().unwrap()[0].contains("To: Ada <ada@example.com>"));
    post.counted(MailResult::Sent, 1);
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_its_server_refuses_is_not_tried_again() {
    let post = post(vec![NotCarried::Refused("no such mailbox".into())]);
    post.write("ada@example.com").unwrap();
    post.done().await;
    assert_eq!(post.taken(), 0);
    post.counted(MailResult::Failed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_letter_whose_link_has_expired_is_given_up() {
    let post = post((0..100).map(|_| not_yet()).collect());
    post.write("ada@example.com").unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(post.outbox.waiting(), 1);
    post.clock.advance(Duration::from_secs(3600));
    post.done().await;
    assert_eq!(post.taken(), 0);
    post.counted(MailResult::Dropped, 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_hurries_what_waits_and_then_lets_it_go() {
    let post = post(vec![not_yet(), not_yet(), not_yet(), not_yet()]);
    for name in ["a", "b"] {
        post.write(&format!("{name}@example.com")).unwrap();
    }
    // Each fails once, and waits; then once more while the gateway stops, which was its last try.
    while post.server.answers.lock().unwrap().len() > 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(post.outbox.finish().await, 2);
    assert_eq!((post.taken(), post.outbox.waiting()), (0, 0));
    post.counted(MailResult::Dropped, 2);
}

#[tokio::test(start_paused = true)]
async fn one_address_is_written_to_so_often_and_no_more() {
    let post = post(Vec::new());
    for _ in 0..5 {
        post.write("ada@example.com").unwrap();
        post.done().await;
    }
    assert_eq!(post.write("ADA@example.com"), Err(NoPostage::TooMany));
    assert_eq!(post.write("eve@example.com"), Ok(()));
    post.clock.advance(Duration::from_secs(3600));
    assert_eq!(post.write("ada@example.com"), Ok(()));
    post.counted(MailResult::Dropped, 1);
}

#[tokio::test(start_paused = true)]
async fn no_more_letters_wait_than_there_are_places() {
    let post = post((0..100).map(|_| not_yet()).collect());
    for name in ["a", "b", "c"] {
        assert_eq!(post.write(&format!("{name}@example.com")), Ok(()));
    }
    assert_eq!(post.write("d@example.com"), Err(NoPostage::Full));
    post.outbox.finish().await;
    let unused = post.outbox.reserve(&Email::parse("d@example.com").unwrap());
    assert!(unused.is_ok(), "places are given back");
}
