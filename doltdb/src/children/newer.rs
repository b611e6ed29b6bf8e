//! Messages with fields that we do not know, as a newer Dolt may write them.

use super::tests::{message, told};
use super::*;

/// A message of a kind whose fields are all there, and two more.
fn with_more(kind: MessageKind) -> Vec<u8> {
    let known = kind.known_fields().unwrap();
    let mut fields = vec![None; known];
    fields.push(None);
    fields.push(Some(&[9; 20][..]));
    message(kind, &fields)
}

#[test]
fn a_kind_that_holds_no_address_may_have_more_fields() {
    for kind in [
        MessageKind::TableSchema,
        MessageKind::ForeignKeys,
        MessageKind::Tuple,
    ] {
        let chunk = with_more(kind);
        assert_eq!(told(&chunk), Ok(vec![]), "{kind}");
        assert_eq!(embedded(&chunk), Ok([None, None]), "{kind}");
    }
}

#[test]
fn a_kind_that_may_hold_one_is_refused_by_its_name_and_the_field() {
    for &kind in MessageKind::KNOWN {
        let known = kind.known_fields().unwrap();
        let Err(error) = told(&with_more(kind)) else {
            continue;
        };
        let text = error.to_string();
        let field = format!("field {}", known + 2);
        assert!(text.contains(&field), "{kind}: {text}");
        assert!(text.contains(&kind.to_string()), "{kind}: {text}");
    }
    assert!(told(&with_more(MessageKind::Table)).is_err());
}
