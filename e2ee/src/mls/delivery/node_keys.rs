//! The public keys of a tree's nodes and of a commit's path, which openmls does not give out.
//!
//! openmls compares new keys with those of leaves alone when it checks a commit, and with those of all nodes when it checks a
//! Welcome's tree. So a key that is in the tree twice would pass, and from then on nobody could join.

/// `NodeType` of a leaf and of a parent (RFC 9420 §7.8).
const LEAF: u8 = 1;
const PARENT: u8 = 2;
/// `LeafNodeSource` (RFC 9420 §7.2).
const SOURCE_KEY_PACKAGE: u8 = 1;
const SOURCE_COMMIT: u8 = 3;
/// `not_before` and `not_after`.
const LIFETIME_LEN: usize = 16;
/// Lists in a leaf's capabilities.
const CAPABILITIES: usize = 5;
/// `ProtocolVersion` and `WireFormat` before a message.
const MESSAGE_HEADER: usize = 4;
/// Epoch, type of the sender, and its leaf (RFC 9420 §6).
const EPOCH_AND_SENDER: usize = 8 + 1 + 4;

/// A node's public key; the leaf's index, if it is one.
pub(super) type NodeKey<'a> = (Option<u32>, &'a [u8]);

/// The keys of a ratchet tree in the form of RFC 9420 §7.8; `None` if it is not in that form.
pub(super) fn of_tree(tree: &[u8]) -> Option<Vec<NodeKey<'_>>> {
    let mut nodes = Reader(Reader(tree).vector()?);
    let mut keys = Vec::new();
    let mut index = 0;
    while !nodes.0.is_empty() {
        if nodes.byte()? != 0 {
            keys.push(match nodes.byte()? {
                LEAF => (Some(index / 2), nodes.leaf()?),
                PARENT => {
                    let key = nodes.vector()?;
                    nodes.skip_vectors(2)?;
                    (None, key)
                }
                _ => return None,
            });
        }
        index += 1;
    }
    Some(keys)
}

/// The keys of the path of a commit by a member, as PublicMessage: its leaf's, then those of its parents.
pub(super) fn of_path(commit: &[u8]) -> Option<Vec<&[u8]>> {
    let mut reader = Reader(commit);
    reader.take(MESSAGE_HEADER)?;
    reader.skip_vectors(1)?;
    reader.take(EPOCH_AND_SENDER)?;
    // Authenticated data; content type; proposals; whether there is a path.
    reader.skip_vectors(1)?;
    reader.take(1)?;
    reader.skip_vectors(1)?;
    if reader.byte()? == 0 {
        return None;
    }
    let mut keys = vec![reader.leaf()?];
    let mut nodes = Reader(reader.vector()?);
    while !nodes.0.is_empty() {
        keys.push(nodes.vector()?);
        nodes.skip_vectors(1)?;
    }
    Some(keys)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// A vector; the first two bits of its length say how many bytes the length has (RFC 9420 §2.1.2).
    fn vector(&mut self) -> Option<&'a [u8]> {
        let first = self.byte()?;
        let more = match first >> 6 {
            0 => 0,
            1 => 1,
            2 => 3,
            _ => return None,
        };
        let start = usize::from(first & 0x3f);
        let length = self.take(more)?.iter();
        let length = length.fold(start, |length, byte| length << 8 | usize::from(*byte));
        self.take(length)
    }

    fn skip_vectors(&mut self, count: usize) -> Option<()> {
        (0..count).try_for_each(|_| self.vector().map(drop))
    }

    /// A `LeafNode` (RFC 9420 §7.2); gives its encryption key.
    fn leaf(&mut self) -> Option<&'a [u8]> {
        let key = self.vector()?;
        // Signature key; type of the credential; credential.
        self.skip_vectors(1)?;
        self.take(2)?;
        self.skip_vectors(1 + CAPABILITIES)?;
        match self.byte()? {
            SOURCE_KEY_PACKAGE => drop(self.take(LIFETIME_LEN)?),
            SOURCE_COMMIT => self.skip_vectors(1)?,
            _ => {}
        }
        // Extensions; signature.
        self.skip_vectors(2)?;
        Some(key)
    }
}
