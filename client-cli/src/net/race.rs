//! Attempts side by side, each with a head start before the next (as RFC 8305 §5 does it for addresses).

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;

/// Makes `attempts` in turn, and gives what the first that succeeds does; the others are dropped.
///
/// The next one begins when the newest has had its head start, or as soon as one has failed. `head_start` is told how
/// many have begun, one at least. When all have failed, their errors come in the order in which they failed.
pub(super) async fn race<T, E, F>(
    attempts: impl IntoIterator<Item = F>,
    head_start: impl Fn(u32) -> Duration,
) -> Result<T, Vec<E>>
where
    T: Send + 'static,
    E: Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
{
    let mut waiting = attempts.into_iter().peekable();
    let mut running = JoinSet::new();
    let mut begun = 0;
    let mut errors = Vec::new();
    loop {
        if let Some(attempt) = waiting.next() {
            running.spawn(attempt);
            begun += 1;
        } else if running.is_empty() {
            return Err(errors);
        }
        let are_more = waiting.peek().is_some();
        let next = async {
            if !are_more {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(head_start(begun)).await;
        };
        tokio::select! {
            Some(ended) = running.join_next() => match ended {
                Ok(Ok(won)) => return Ok(won),
                Ok(Err(error)) => errors.push(error),
                // It panicked, and has said so.
                Err(_) => {}
            },
            () = next => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::Pin;

    const LONG: Duration = Duration::from_secs(3600);

    type Attempt = Pin<Box<dyn Future<Output = Result<u32, &'static str>> + Send>>;

    fn failing(error: &'static str) -> Attempt {
        Box::pin(async move { Err(error) })
    }

    fn hanging() -> Attempt {
        Box::pin(std::future::pending())
    }

    fn winning(value: u32) -> Attempt {
        Box::pin(async move { Ok(value) })
    }

    #[tokio::test]
    async fn the_next_begins_at_once_when_one_has_failed() {
        let won = race([failing("a"), failing("b"), winning(3)], |_| LONG).await;
        assert_eq!(won, Ok(3));
    }

    #[tokio::test]
    async fn an_attempt_that_hangs_delays_the_next_by_its_head_start() {
        let head_start = |begun| {
            assert!(begun < 3, "nobody waits for the last");
            Duration::from_millis(1)
        };
        assert_eq!(
            race([hanging(), hanging(), winning(3)], head_start).await,
            Ok(3)
        );
    }

    #[tokio::test]
    async fn when_all_have_failed_all_errors_are_told() {
        let lost = race([failing("a"), failing("b")], |_| LONG).await;
        assert_eq!(lost, Err(vec!["a", "b"]));
        let none: Result<u32, Vec<&str>> = race(Vec::<Attempt>::new(), |_| LONG).await;
        assert_eq!(none, Err(Vec::new()));
    }
}
