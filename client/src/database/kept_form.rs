//! The form of what transfers that were cut off leave to go on with.
//!
//! What this version leaves is of the first form, and has no mark. A later version that leaves something else writes the
//! number of its form into the file `form` beside it, and what this version does not know it neither reads nor removes.

use std::path::Path;

use super::{DatabaseError, io};

/// The file that tells the form.
const NAME: &str = "form";

/// The form that is left and read here.
const FORM: u32 = 1;

/// Refuses a folder in which a later version left something. Blocks.
pub(crate) fn check_form(folder: &Path) -> Result<(), DatabaseError> {
    let path = folder.join(NAME);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io("read", &path)(error)),
    };
    match text.trim().parse::<u32>() {
        Ok(form) if form <= FORM => Ok(()),
        _ => Err(DatabaseError::NewerForm {
            path: folder.to_owned(),
            form: text.trim().chars().take(16).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use holdfast_chunkstore::ErrorKind;
    use holdfast_chunkstore::objects::durable;

    use super::*;

    #[test]
    fn what_a_later_version_left_is_refused_by_its_form() {
        let folder = tempfile::tempdir().unwrap();
        check_form(folder.path()).unwrap();
        check_form(&folder.path().join("nowhere")).unwrap();
        let write = |text: &str| {
            let path = folder.path().join(NAME);
            durable::write_over(&path, "new-", 0o644, text.as_bytes()).unwrap();
            check_form(folder.path())
        };
        write("1\n").unwrap();
        for newer in ["2\n", "17", "something else"] {
            let error = write(newer).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(error.to_string().contains(newer.trim()), "{error}");
        }
    }
}
