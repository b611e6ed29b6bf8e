//! What the server tells about itself: log lines, one span per request, and its end.

#[cfg(test)]
pub(crate) mod lines;
pub mod logs;
pub mod request;
pub mod strangers;
