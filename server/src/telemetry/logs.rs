//! Log lines on stderr.
//!
//! A filter chooses which, but has no say over what some crates print of every request and answer that passes
//! through them: keys, signatures, and bodies with secrets in them.

use tracing::{Dispatch, Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{ParseError, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::settings::{LogFormat, LogSettings};

/// The most that is written of what comes from such crates; the first that their name begins with counts.
const CAPS: &[(&str, Level)] = &[
    ("aws_sigv4", Level::INFO),
    ("aws_runtime", Level::INFO),
    ("aws_sdk_", Level::INFO),
    ("aws_", Level::DEBUG),
    ("h2", Level::DEBUG),
    ("hyper", Level::DEBUG),
    ("rustls", Level::DEBUG),
    ("tokio_rustls", Level::DEBUG),
    ("tonic", Level::DEBUG),
    ("tower", Level::DEBUG),
];

/// Begins to write log lines to stderr. Only the first call of a process has an effect.
pub fn begin(settings: &LogSettings) -> Result<(), ParseError> {
    if dispatch(settings, std::io::stderr)?.try_init().is_err() {
        tracing::debug!("log lines are written already");
    }
    Ok(())
}

/// Makes log lines for a writer.
fn dispatch<W>(settings: &LogSettings, writer: W) -> Result<Dispatch, ParseError>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder().parse(&settings.filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(false);
    Ok(match settings.format {
        LogFormat::Text => builder.finish().with(filter_fn(is_within_caps)).into(),
        LogFormat::Json => {
            let builder = builder.json();
            builder.finish().with(filter_fn(is_within_caps)).into()
        }
    })
}

fn is_within_caps(metadata: &Metadata<'_>) -> bool {
    let mut caps = CAPS.iter();
    let cap = caps.find(|(name, _)| metadata.target().starts_with(name));
    cap.is_none_or(|(_, most)| metadata.level() <= most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::lines::Lines;

    /// What is written of a few lines with this filter.
    fn written(filter: &str, format: LogFormat) -> String {
        let lines = Lines::default();
        let settings = LogSettings {
            format,
            filter: filter.to_owned(),
        };
        let dispatch = dispatch(&settings, lines.clone()).unwrap();
        tracing::dispatcher::with_default(&dispatch, || {
            tracing::trace!(target: "aws_smithy_runtime::client", "line 1");
            tracing::debug!(target: "aws_smithy_runtime::client", "line 2");
            tracing::debug!(target: "aws_sigv4::http_request", "line 3");
            let secret = tracing::trace_span!(target: "hyper::proto", "span", key = "line 4");
            let _entered = secret.enter();
            tracing::trace!(target: "holdfast_server", "line 5");
            tracing::info!(target: "holdfast_server", "line 6");
        });
        lines.text()
    }

    #[test]
    fn no_filter_passes_the_caps() {
        let all = "aws_sigv4::http_request=trace,aws_smithy_runtime=trace,hyper[span]=trace,trace";
        for format in [LogFormat::Text, LogFormat::Json] {
            for filter in ["trace", all] {
                let written = written(filter, format);
                for (number, is_there) in [
                    (1, false),
                    (2, true),
                    (3, false),
                    (4, false),
                    (5, true),
                    (6, true),
                ] {
                    let line = format!("line {number}");
                    assert_eq!(written.contains(&line), is_there, "{filter}: {written}");
                }
            }
        }
    }

    #[test]
    fn below_the_caps_the_filter_chooses() {
        let written = written("info", LogFormat::Text);
        assert_eq!(written.lines().count(), 1, "{written}");
        assert!(written.contains("line 6"), "{written}");
    }
}
