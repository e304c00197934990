//! The driver's session: sends statements with timeouts and limits, and classifies their errors.

use std::sync::Arc;
use std::time::Duration;

use scylla::client::execution_profile::{ExecutionProfile, ExecutionProfileHandle};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::deserialize::row::DeserializeRow;
use scylla::errors::{DbError, ExecutionError, PrepareError, RequestAttemptError};
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::retry::DefaultRetryPolicy;
use scylla::policies::speculative_execution::SimpleSpeculativeExecutionPolicy;
use scylla::response::query_result::QueryResult;
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, SerialConsistency};
use scylla::value::CqlValue;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::config::CqlConfig;
#[cfg(any(test, feature = "conformance"))]
use super::faults::Faults;
use crate::store::StoreError;

/// The timeout of a statement that writes.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(2000);
/// The timeout of a statement that only reads: it may be repeated at once.
const READ_TIMEOUT: Duration = Duration::from_millis(1500);
/// The timeout of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The time of silence after which a connection is probed …
const KEEPALIVE_INTERVAL: Duration = Duration::from_millis(1500);
/// … and the timeout of that probe. A node that hangs is not used any more after it.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_millis(1500);
/// The timeout of the first connection, after which the program does not start.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// The time after which a read or an urgent write is sent to a second node.
const SPECULATE_AFTER: Duration = Duration::from_millis(100);
/// The largest number of operations under way. The next one fails with [`StoreError::Busy`].
pub(super) const OPERATIONS: usize = 2048;
/// The largest number of statements at the database.
pub(super) const STATEMENTS: usize = 256;
/// The wait for one of the [`STATEMENTS`] turns, after which the operation fails with [`StoreError::Busy`]. While the database hangs all
/// turns are taken, and this is shorter than the timeout of a statement.
const TURN_WAIT: Duration = Duration::from_millis(500);

/// The kind of a statement, which decides how it is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// LOCAL_QUORUM; retried, and sent to a second node when the first is slow.
    Read,
    /// SERIAL: includes every conditional write that was acknowledged, and completes or discards those that are half done.
    SerialRead,
    /// LOCAL_QUORUM; retried, because doing it twice does no harm.
    Write,
    /// As `Write`, and sent to two nodes when the first is slow. The second may be done late, after other writes.
    UrgentWrite,
    /// Decided at SERIAL, committed at LOCAL_QUORUM; never repeated by the driver.
    Conditional,
}

/// The error of a statement.
#[derive(Debug)]
pub(super) struct Failure {
    /// The error for the caller.
    pub(super) error: StoreError,
    /// Whether it is certain that nothing was changed. Else the statement may have been done, or may still be.
    pub(super) nothing_done: bool,
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// The connection to the database.
pub(super) struct Db {
    pub(super) session: Session,
    /// The profile with speculative execution.
    speculative: ExecutionProfileHandle,
    operations: Semaphore,
    statements: Semaphore,
    #[cfg(any(test, feature = "conformance"))]
    pub(super) faults: Faults,
}

impl Db {
    /// Connects to the nodes.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if none answers within 10 s, or TLS or the login is wrong.
    pub(super) async fn connect(config: &CqlConfig) -> Result<Self, StoreError> {
        let mut policy = DefaultPolicy::builder().token_aware(true);
        if let Some(datacenter) = &config.datacenter {
            policy = policy.prefer_datacenter(datacenter.clone());
        }
        let profile = ExecutionProfile::builder()
            .consistency(Consistency::LocalQuorum)
            .serial_consistency(Some(SerialConsistency::Serial))
            .request_timeout(Some(REQUEST_TIMEOUT))
            .load_balancing_policy(policy.build())
            .retry_policy(Arc::new(DefaultRetryPolicy::new()));
        let speculative = profile.clone().speculative_execution_policy(Some(Arc::new(
            SimpleSpeculativeExecutionPolicy {
                max_retry_count: 1,
                retry_interval: SPECULATE_AFTER,
            },
        )));
        let mut builder = SessionBuilder::new()
            .known_nodes(&config.address.nodes)
            .connection_timeout(CONNECT_TIMEOUT)
            .keepalive_interval(KEEPALIVE_INTERVAL)
            .keepalive_timeout(KEEPALIVE_TIMEOUT)
            .keyspaces_to_fetch([config.address.keyspace.as_str()])
            .default_execution_profile_handle(profile.build().into_handle());
        if let Some(login) = &config.login {
            builder = builder.user(login.user.as_str(), login.password.as_str());
        }
        if let Some(tls) = &config.tls {
            builder = builder.tls_context(Some(tls.client_config()?));
        }
        let nodes = config.address.nodes.join(", ");
        let session = match tokio::time::timeout(OPEN_TIMEOUT, Box::pin(builder.build())).await {
            Ok(Ok(session)) => session,
            Ok(Err(error)) => {
                return Err(StoreError::Unavailable(format!(
                    "no node of {nodes} lets this server in ({error}): check --store, that they run, and user, password \
                     and TLS"
                )));
            }
            Err(_) => {
                return Err(StoreError::Unavailable(format!(
                    "no node of {nodes} answers within {} s: check --store and that they run",
                    OPEN_TIMEOUT.as_secs()
                )));
            }
        };
        Ok(Self {
            session,
            speculative: speculative.build().into_handle(),
            operations: Semaphore::new(OPERATIONS),
            statements: Semaphore::new(STATEMENTS),
            #[cfg(any(test, feature = "conformance"))]
            faults: Faults::default(),
        })
    }

    /// A permit for an operation.
    ///
    /// # Errors
    ///
    /// [`StoreError::Busy`] if [`OPERATIONS`] are under way.
    pub(super) fn admit(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        self.operations.try_acquire().map_err(|_| StoreError::Busy)
    }

    /// The permits of operations and of statements.
    #[cfg(test)]
    pub(super) fn limits(&self) -> (&Semaphore, &Semaphore) {
        (&self.operations, &self.statements)
    }

    /// Prepares a statement on a partition.
    pub(super) async fn prepare(
        &self,
        cql: &str,
        kind: Kind,
    ) -> Result<PreparedStatement, StoreError> {
        let statement = self.prepare_any(cql, kind).await?;
        debug_assert!(
            statement.is_token_aware(),
            "the driver finds its replicas: {cql}"
        );
        Ok(statement)
    }

    /// Prepares a statement that reads rows of many partitions, in the order of their tokens.
    pub(super) async fn prepare_scan(&self, cql: &str) -> Result<PreparedStatement, StoreError> {
        self.prepare_any(cql, Kind::Read).await
    }

    async fn prepare_any(&self, cql: &str, kind: Kind) -> Result<PreparedStatement, StoreError> {
        let mut statement =
            Box::pin(self.session.prepare(cql))
                .await
                .map_err(|error| match error {
                    PrepareError::AllAttemptsFailed { first_attempt } => {
                        classify_attempt(&first_attempt).error
                    }
                    error => StoreError::Unavailable(error.to_string()),
                })?;
        statement.set_is_idempotent(kind != Kind::Conditional);
        if matches!(kind, Kind::Read | Kind::SerialRead) {
            statement.set_request_timeout(Some(READ_TIMEOUT));
        }
        match kind {
            Kind::Read | Kind::UrgentWrite => {
                statement.set_execution_profile_handle(Some(self.speculative.clone()));
            }
            Kind::SerialRead => statement.set_consistency(Consistency::Serial),
            Kind::Write | Kind::Conditional => {}
        }
        Ok(statement)
    }

    /// Sends a statement that answers with no rows.
    pub(super) async fn execute(
        &self,
        statement: &PreparedStatement,
        values: impl IntoIterator<Item = impl Into<Option<CqlValue>>>,
    ) -> Result<(), Failure> {
        let values = values.into_iter().map(Into::into).collect();
        self.send(statement, values).await.map(drop)
    }

    /// Sends a statement, and reads the rows of its answer.
    pub(super) async fn rows<R>(
        &self,
        statement: &PreparedStatement,
        values: impl IntoIterator<Item = impl Into<Option<CqlValue>>>,
    ) -> Result<Vec<R>, Failure>
    where
        R: for<'frame, 'meta> DeserializeRow<'frame, 'meta>,
    {
        let values = values.into_iter().map(Into::into).collect();
        let result = self.send(statement, values).await?;
        if !result.is_rows() {
            return Ok(Vec::new());
        }
        let result = result
            .into_rows_result()
            .map_err(|error| uncertain(StoreError::Unavailable(error.to_string())))?;
        let rows = result
            .rows::<R>()
            .map_err(|_| uncertain(StoreError::Corrupt("the columns of an answer")))?;
        rows.collect::<Result<_, _>>()
            .map_err(|_| uncertain(StoreError::Corrupt("a value of an answer")))
    }

    async fn send(
        &self,
        statement: &PreparedStatement,
        values: Vec<Option<CqlValue>>,
    ) -> Result<QueryResult, Failure> {
        let busy = |_| Failure {
            error: StoreError::Busy,
            nothing_done: true,
        };
        let _turn = tokio::time::timeout(TURN_WAIT, self.statements.acquire())
            .await
            .map_err(busy)?;
        #[cfg(any(test, feature = "conformance"))]
        self.faults.hold_here().await;
        #[cfg(any(test, feature = "conformance"))]
        let is_lost = self
            .faults
            .before(|| (statement.clone(), values.clone()))
            .map_err(uncertain)?;
        let result = Box::pin(self.session.execute_unpaged(statement, values))
            .await
            .map_err(|error| classify(&error))?;
        #[cfg(any(test, feature = "conformance"))]
        Faults::after(is_lost).map_err(uncertain)?;
        Ok(result)
    }
}

/// A failure after which the statement may have been done.
pub(super) fn uncertain(error: StoreError) -> Failure {
    Failure {
        error,
        nothing_done: false,
    }
}

/// Classifies the error of a statement.
pub(super) fn classify(error: &ExecutionError) -> Failure {
    let unavailable = |text: String, nothing_done| Failure {
        error: StoreError::Unavailable(text),
        nothing_done,
    };
    match error {
        ExecutionError::LastAttemptError(error) => classify_attempt(error),
        ExecutionError::EmptyPlan => unavailable(
            "no node can be asked: check that nodes of --store-datacenter run".to_owned(),
            true,
        ),
        ExecutionError::ConnectionPoolError(error) => unavailable(
            format!(
                "no node is connected ({error}): check that they run; it goes on by itself once they do"
            ),
            true,
        ),
        ExecutionError::RequestTimeout(after) => unavailable(
            format!(
                "no answer within {} ms: check the database's load",
                after.as_millis()
            ),
            false,
        ),
        error => unavailable(error.to_string(), false),
    }
}

fn classify_attempt(error: &RequestAttemptError) -> Failure {
    let certain = |text: String| Failure {
        error: StoreError::Unavailable(text),
        nothing_done: true,
    };
    match error {
        RequestAttemptError::UnableToAllocStreamId
        | RequestAttemptError::DbError(DbError::Overloaded, _) => Failure {
            error: StoreError::Busy,
            nothing_done: true,
        },
        RequestAttemptError::DbError(
            DbError::Unavailable {
                required, alive, ..
            },
            _,
        ) => certain(format!(
            "{required} replicas of a row are needed and {alive} run: start the others"
        )),
        RequestAttemptError::DbError(DbError::IsBootstrapping, _) => {
            certain("the node is still starting".to_owned())
        }
        RequestAttemptError::DbError(DbError::Unauthorized, text) => certain(format!(
            "the database does not allow it ({text}): grant its user ALL on the keyspace"
        )),
        RequestAttemptError::DbError(
            error @ (DbError::SyntaxError | DbError::Invalid | DbError::ConfigError),
            text,
        ) => certain(format!(
            "the database does not know such a statement ({error}: {text})"
        )),
        error => uncertain(StoreError::Unavailable(error.to_string())),
    }
}
