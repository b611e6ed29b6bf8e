//! What the server tells about itself: log lines, one span per request, and its end.

pub mod logs;
pub mod request;
