//! Counts the fields of a protobuf message before it is decoded: an empty element of a list takes two bytes on the wire, and hundreds in memory.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// The fields of a message with their numbers, and the content of those that are length-delimited. Ends where the bytes are no
/// field any more.
pub(super) fn fields(message: &[u8]) -> impl Iterator<Item = (u32, Option<&[u8]>)> {
    let mut rest = message;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (field, kind) = decode_key(&mut rest).ok()?;
        if kind != WireType::LengthDelimited {
            skip_field(kind, field, &mut rest, DecodeContext::default()).ok()?;
            return Some((field, None));
        }
        let len = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
        let (content, after) = rest.split_at_checked(len)?;
        rest = after;
        Some((field, Some(content)))
    })
}

/// Fields of a message and of what is length-delimited in it, one level down. Fields of a `bytes` that happens to read as a message count, too.
pub(super) fn count_two_levels(message: &[u8]) -> usize {
    let inside = |(_, content): (u32, Option<&[u8]>)| {
        1 + content.map_or(0, |content| fields(content).count())
    };
    fields(message).map(inside).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::wire;

    #[test]
    fn every_field_is_seen_with_its_content() {
        let message = wire::GroupEpoch {
            group_id: vec![7; 200].into(),
            epoch: 300,
        };
        let bytes = message.encode_to_vec();
        let seen: Vec<_> = fields(&bytes).collect();
        assert_eq!(seen, [(1, Some(&[7; 200][..])), (2, None)]);
    }

    #[test]
    fn fields_of_all_parts_with_one_number_are_counted() {
        let part = wire::CommitWanted {
            at: None,
            proposals: vec![Vec::new().into(); 100],
        };
        let whole = wire::ToGroup {
            kind: Some(wire::to_group::Kind::CommitWanted(part)),
            ..wire::ToGroup::default()
        };
        let mut bytes = whole.encode_to_vec();
        let once = count_two_levels(&bytes);
        assert_eq!(once, 101);
        bytes.extend_from_within(..);
        assert_eq!(count_two_levels(&bytes), 2 * once);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(count_two_levels(&bytes) <= bytes.len());
        }
    }
}
