//! Messages that stay well formed while what they say changes: lengths, counts, numbers, names, order.

use holdfast_chunkstore::testing::mutate::NUMBERS;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::inputs::{noise, one_of};

/// Names that no repository has, or that are not what they look like.
const NAMES: [&str; 18] = [
    "",
    "/",
    "//",
    "acme",
    "acme/",
    "/prod",
    "acme/prod/",
    "acme/prod/x",
    "acme/../prod",
    "acme/./prod",
    "../..",
    "ACME/prod",
    "acme/prod\0",
    "acme/prod\n",
    "acme/ü",
    "acme/prod.darc",
    "a/b",
    ".darc",
];

/// One field of a message. Messages of the API have no fields of a fixed width.
#[derive(Clone)]
struct Field {
    number: u64,
    value: Value,
}

#[derive(Clone)]
enum Value {
    Varint(u64),
    Bytes(Vec<u8>),
}

/// Changes what a message says in one to three places. The fields of messages in it count as well.
pub(super) fn changed(message: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut fields = read(message).expect("the message that is changed is well formed");
    for _ in 0..random.random_range(1..4) {
        change(&mut fields, random);
    }
    write(&fields)
}

fn change(fields: &mut Vec<Field>, random: &mut StdRng) {
    if fields.is_empty() {
        return fields.push(stranger(random));
    }
    let at = random.random_range(0..fields.len());
    match random.random_range(0..16) {
        0 | 1 => drop(fields.remove(at)),
        2 => {
            let copies = *one_of(&[1, 1, 2, 20, 200], random);
            let copies = vec![fields[at].clone(); copies];
            fields.splice(at..at, copies);
        }
        3 => {
            let other = random.random_range(0..fields.len());
            fields.swap(at, other);
        }
        4 => fields.push(stranger(random)),
        5 => fields[at].number = random.random_range(1..16),
        _ => change_value(&mut fields[at].value, random),
    }
}

fn change_value(value: &mut Value, random: &mut StdRng) {
    match value {
        Value::Varint(number) => {
            *number = match random.random_range(0..3) {
                0 => random.random_range(0..100),
                _ => *one_of(&NUMBERS, random),
            }
        }
        Value::Bytes(bytes) => match (random.random_range(0..6), read(bytes)) {
            (0, _) => bytes.resize(random.random_range(0..45), 7),
            (1, _) => *bytes = one_of(&NAMES, random).as_bytes().to_vec(),
            (2, _) => {
                *bytes = noise(64, random);
                // Half of the time it is text.
                let mask = *one_of(&[0x7f, 0xff], random);
                bytes.iter_mut().for_each(|byte| *byte &= mask);
            }
            (3, _) if !bytes.is_empty() => {
                let at = random.random_range(0..bytes.len());
                bytes[at] ^= 1 << random.random_range(0..7);
            }
            (_, Some(mut fields)) if !fields.is_empty() => {
                change(&mut fields, random);
                *bytes = write(&fields);
            }
            _ => bytes.push(b'x'),
        },
    }
}

/// A field that no message has.
fn stranger(random: &mut StdRng) -> Field {
    let number = *one_of(&[90, 1000, (1 << 29) - 1], random);
    let value = match random.random_range(0..2) {
        0 => Value::Varint(*one_of(&NUMBERS, random)),
        _ => Value::Bytes(noise(200, random)),
    };
    Field { number, value }
}

fn read(mut bytes: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = read_varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Value::Varint(read_varint(&mut bytes)?),
            2 => {
                let len = usize::try_from(read_varint(&mut bytes)?).ok()?;
                Value::Bytes(bytes.split_off(..len)?.to_vec())
            }
            _ => return None,
        };
        let number = key >> 3;
        fields.push(Field { number, value });
    }
    Some(fields)
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes.split_off_first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn write(fields: &[Field]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Field { number, value } in fields {
        match value {
            Value::Varint(value) => {
                write_varint(&mut bytes, number << 3);
                write_varint(&mut bytes, *value);
            }
            Value::Bytes(value) => {
                write_varint(&mut bytes, number << 3 | 2);
                write_varint(&mut bytes, value.len() as u64);
                bytes.extend_from_slice(value);
            }
        }
    }
    bytes
}

fn write_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

#[test]
fn a_message_is_written_as_it_was_read() {
    let message = [&b"\x08\xac\x02\x1a\x03abc"[..], b"\xd2\x06\x00"].concat();
    assert_eq!(write(&read(&message).unwrap()), message);
}
