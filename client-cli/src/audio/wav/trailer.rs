//! Metadata behind the samples of a WAV file whose header does not give their length.

/// Chunks that programs write behind the samples.
const TRAILERS: [&[u8; 4]; 25] = [
    b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"fact", b"JUNK", b"junk", b"PAD ", b"FLLR",
    b"smpl", b"inst", b"iXML", b"axml", b"bxml", b"sxml", b"_PMX", b"PEAK", b"levl", b"cart",
    b"chna", b"plst", b"acid", b"strc", b"DISP",
];

/// Longest chunk that is taken for a trailer in bytes: metadata with a large picture.
const MAX_TRAILER: u32 = 64 << 20;

/// True for the head of a chunk that programs write behind the samples.
pub(super) fn is_trailer(head: &[u8]) -> bool {
    let Some(([id @ .., a, b, c, d], _)) = head.split_first_chunk::<8>() else {
        return false;
    };
    TRAILERS.iter().any(|known| known[..] == *id)
        && u32::from_le_bytes([*a, *b, *c, *d]) <= MAX_TRAILER
}
