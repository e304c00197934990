//! Secrets that a person reads and types.

use data_encoding::BASE32_NOPAD;
use zeroize::Zeroizing;

/// Characters of a group.
const GROUP: usize = 4;

/// Random bytes as characters of `a-z 2-7`, in groups of four with hyphens between them.
pub fn as_typed(bytes: &[u8]) -> Zeroizing<String> {
    let text = Zeroizing::new(BASE32_NOPAD.encode(bytes).to_ascii_lowercase());
    let groups = (0..text.len()).step_by(GROUP);
    let groups: Vec<&str> = groups
        .filter_map(|at| text.get(at..text.len().min(at + GROUP)))
        .collect();
    Zeroizing::new(groups.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_group_may_be_shorter() {
        assert_eq!(as_typed(&[]).as_str(), "");
        assert_eq!(as_typed(&[0; 5]).as_str(), "aaaa-aaaa");
        assert_eq!(as_typed(&[255; 6]).as_str(), "7777-7777-74");
    }
}
