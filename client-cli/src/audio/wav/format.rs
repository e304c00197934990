//! How a sample is written in a WAV file.

/// How a sample is written; little-endian. Fewer bits than its bytes hold are its highest ones, as in 24 bits in 4 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Unsigned in 1 byte, 128 is silence.
    U8,
    /// Signed in 2 bytes.
    I16,
    /// Signed in 3 bytes.
    I24,
    /// Signed in 4 bytes.
    I32,
    /// 32-bit float, ±1.0.
    F32,
    /// 64-bit float, ±1.0.
    F64,
}

impl Format {
    /// Bytes of a sample.
    pub const fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::I16 => 2,
            Self::I24 => 3,
            Self::I32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// `bytes` has [`bytes`](Self::bytes) bytes. What is not a number is silence; floats are held within ±1.0.
    pub(super) fn read(self, bytes: &[u8]) -> f32 {
        let value = match (self, bytes) {
            (Self::U8, [a]) => (f32::from(*a) - 128.0) / 128.0,
            (Self::I16, [a, b]) => f32::from(i16::from_le_bytes([*a, *b])) / 32_768.0,
            (Self::I24, [a, b, c]) => {
                (i32::from_le_bytes([0, *a, *b, *c]) as f64 / 2_147_483_648.0) as f32
            }
            (Self::I32, [a, b, c, d]) => {
                (i32::from_le_bytes([*a, *b, *c, *d]) as f64 / 2_147_483_648.0) as f32
            }
            (Self::F32, [a, b, c, d]) => f32::from_le_bytes([*a, *b, *c, *d]),
            (Self::F64, bytes) => bytes
                .try_into()
                .map_or(0.0, |bytes| f64::from_le_bytes(bytes) as f32),
            _ => 0.0,
        };
        if value.is_finite() {
            value.clamp(-1.0, 1.0)
        } else {
            0.0
        }
    }
}
