//! What a server waits for while it starts: said after a while, and given up in the end.

use std::time::Duration;

/// How long nothing is said, and between two times that it is.
const EVERY: Duration = Duration::from_secs(3);
/// How long it is waited for.
const LIMIT: Duration = Duration::from_secs(60);

/// It did not come.
#[derive(Debug, thiserror::Error)]
#[error("no answer came within {} seconds: check the address, the network and a firewall", LIMIT.as_secs())]
pub struct NoAnswer;

/// Waits for what a store answers, and says in the log that it is waited for.
pub async fn said<T>(store: &str, answer: impl Future<Output = T>) -> Result<T, NoAnswer> {
    let mut answer = std::pin::pin!(answer);
    let mut waited = Duration::ZERO;
    while waited < LIMIT {
        if let Ok(answer) = tokio::time::timeout(EVERY, &mut answer).await {
            return Ok(answer);
        }
        waited += EVERY;
        let seconds = waited.as_secs();
        tracing::warn!(seconds, "waiting for {store}: it has not answered yet");
    }
    Err(NoAnswer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_answers_at_once_is_not_waited_for() {
        assert!(matches!(
            said("s3://b/", std::future::ready(7)).await,
            Ok(7)
        ));
    }
}
