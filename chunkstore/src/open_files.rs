//! How many files a process may have open.

use std::io;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the limit of open files to the highest one that this process may have, as Go programs do when they start.
/// The usual limit of 1,024 is one for programs that use select(2), which ours do not.
pub fn raise_limit() -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return Ok(());
    }
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_highest_one() {
        raise_limit().unwrap();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
