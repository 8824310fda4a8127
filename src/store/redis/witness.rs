//! One of those who say where the primary is: a sentinel, or a node of a cluster.

use std::sync::Mutex;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionAddr, Value};

use super::failure::Failure;
use super::named::Address;
use super::slots;

/// For a connection, if there is none, and the answer. Shorter than a lease by far, so that one who is silent costs none.
const ASK: Duration = Duration::from_secs(1);

/// What is asked.
pub(super) enum Question {
    /// The address of the primary that they call so.
    Sentinels { primary: String },
    /// The address of the primary that serves a slot.
    Cluster { slot: u16 },
}

/// One who is asked. Its connection is kept, and given up after any trouble.
pub(super) struct Witness {
    client: Client,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl Witness {
    pub(super) fn new(client: Client) -> Self {
        Self { client, connection: Mutex::new(None) }
    }

    /// Whom it names as the primary. If this is dropped half-way, the driver drops the answer when it comes.
    pub(super) async fn names(&self, question: &Question) -> Result<Address, Failure> {
        let answer = tokio::time::timeout(ASK, self.ask(question)).await;
        let answer = answer.map_err(|_| Failure::TimedOut(ASK)).flatten();
        if answer.is_err() {
            *self.kept() = None;
        }
        answer
    }

    async fn ask(&self, question: &Question) -> Result<Address, Failure> {
        let kept = self.kept().clone();
        let mut connection = match kept {
            Some(connection) => connection,
            None => {
                let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
                let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
                *self.kept() = Some(connection.clone());
                connection
            }
        };
        let answer: Value = question.command().query_async(&mut connection).await?;
        question.read(&answer, self.host()).ok_or_else(|| Failure::Unsuitable(question.unanswered()))
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<MultiplexedConnection>> {
        self.connection.lock().expect("nobody panics while holding this")
    }

    fn host(&self) -> &str {
        match self.client.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host,
            _ => "",
        }
    }
}

impl Question {
    fn command(&self) -> Cmd {
        match self {
            Self::Sentinels { primary } => {
                let mut command = redis::cmd("SENTINEL");
                command.arg("GET-MASTER-ADDR-BY-NAME").arg(primary);
                command
            }
            Self::Cluster { .. } => {
                let mut command = redis::cmd("CLUSTER");
                command.arg("SLOTS");
                command
            }
        }
    }

    /// What an answer of the witness at `host` says.
    fn read(&self, answer: &Value, host: &str) -> Option<Address> {
        match self {
            Self::Sentinels { .. } => {
                let (host, port): (String, u16) = redis::from_redis_value_ref(answer).ok()?;
                Some(Address { host, port })
            }
            Self::Cluster { slot } => slots::owner(answer, *slot, host),
        }
    }

    fn unanswered(&self) -> String {
        match self {
            Self::Sentinels { primary } => format!("a sentinel knows no primary called {primary:?}"),
            Self::Cluster { slot } => format!("a node of the cluster knows nobody who serves slot {slot}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentinel_names_an_address_or_nobody() {
        let question = Question::Sentinels { primary: "main".to_owned() };
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let named = question.read(&Value::Array(vec![text("10.0.0.5"), text("6379")]), "s");
        assert_eq!(named, Some(Address { host: "10.0.0.5".to_owned(), port: 6379 }));
        for nobody in [Value::Nil, Value::Array(Vec::new()), Value::Array(vec![text("10.0.0.5"), text("many")])] {
            assert_eq!(question.read(&nobody, "s"), None, "{nobody:?}");
        }
    }
}
